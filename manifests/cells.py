"""Reading one cell. Form and length are checked before any conversion: "9" x 5,000 and 1e5000000 are text."""

from __future__ import annotations

import re

_WHOLE = re.compile(r"([+-]?[0-9]{1,12})(?:\.0{1,6})?", re.ASCII)
_SECONDS = re.compile(r"([0-9]{1,6})(?:\.0{1,6})?\s?(?:s|sec|seconds)?", re.ASCII | re.IGNORECASE)
_FLAGS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
_CLOCK = re.compile(r"(\d{1,2}):(\d{2})(?::00)?", re.ASCII)
_BETWEEN_PICTURES = re.compile(r"\s*(?:\n|\s\|\s)\s*")


def whole_number(text: str) -> int | None:
    """Read `7`, `-7`, `+7` or `7.0` (as spreadsheets and pandas write it); None for anything else."""
    match = _WHOLE.fullmatch(text)
    return int(match[1]) if match else None


def whole_seconds(text: str) -> int | None:
    """Read `5`, `5.0`, `5s`, `5 s`, `5 sec` or `5 seconds`; None for anything else."""
    match = _SECONDS.fullmatch(text)
    return int(match[1]) if match else None


def flag(text: str) -> bool | None:
    """Read true/false, yes/no or 1/0 in any case; None for anything else."""
    return _FLAGS.get(text.lower())


def ratio_of_clock(text: str) -> str:
    """Return the ratio that a spreadsheet may have made a time of (16:09 or 16:09:00 for 16:9), or ""."""
    match = _CLOCK.fullmatch(text)
    return f"{int(match[1])}:{int(match[2])}" if match else ""


def picture_list(text: str) -> list[str]:
    """Split a cell of several pictures at line breaks and at ` | `; empty parts are dropped."""
    return [part for part in _BETWEEN_PICTURES.split(text.strip()) if part]
