"""Camera instructions in [brackets]: passed on untouched; an unknown one is only worth a warning."""

from __future__ import annotations

import re

INSTRUCTIONS = (
    "Truck left",
    "Truck right",
    "Pan left",
    "Pan right",
    "Push in",
    "Pull out",
    "Pedestal up",
    "Pedestal down",
    "Tilt up",
    "Tilt down",
    "Zoom in",
    "Zoom out",
    "Shake",
    "Tracking shot",
    "Static shot",
    "Low-angle shot",
    "Overhead shot",
)
"""fal's page for Seedance lists the movements; its examples use the last two."""

_KNOWN = frozenset(name.lower() for name in INSTRUCTIONS)
_BRACKETS = re.compile(r"\[([^\[\]]{1,80})\]")


def unknown_instructions(prompt: str) -> list[str]:
    """Return the instructions in brackets that Seedance's page does not list, each once."""
    if "[" not in prompt:
        return []
    parts = (part.strip() for group in _BRACKETS.findall(prompt) for part in group.split(","))
    return list(dict.fromkeys(part for part in parts if part and part.lower() not in _KNOWN))


def unlisted() -> str:
    """Return the warning's words."""
    return f"no camera instruction that Seedance lists; known are {', '.join(INSTRUCTIONS)}"
