"""How long renders take, as far as anybody has published it. Seconds; no money here."""

from __future__ import annotations

from collections.abc import Iterable

REFERENCE_RENDER_S = 41.0
"""fal's page for Seedance: "~41 seconds for 5-second 1080p video on L20 GPU"
(https://fal.ai/models/fal-ai/bytedance/seedance/v1/lite/image-to-video)."""

REFERENCE_WORK = 1920 * 1088 * 120
"""The pixels of that video: 1080p at 16:9 in Seedance 1.0, 24 frames a second, 5 seconds."""


def published_render_s(pixels: int, frames: int) -> float:
    """Return the published figure, scaled by how much there is to render."""
    return REFERENCE_RENDER_S * pixels * frames / REFERENCE_WORK


def campaign_s(renders: Iterable[tuple[int, float]], *, concurrency: int) -> float:
    """Return how long many renders take, `concurrency` (1 or more) at a time: [(how many, seconds each)].

    Never less than the longest of them; what fal's queue adds is not known beforehand.
    """
    listed = [(count, render_s) for count, render_s in renders if count]
    longest_s = max((render_s for _, render_s in listed), default=0.0)
    return max(longest_s, sum(count * render_s for count, render_s in listed) / concurrency)


def in_words(seconds: float) -> str:
    """Write a time for people: `40 s`, `12 min`, `3 h 20 min`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 90:
        return f"{minutes} min"
    hours, rest = divmod(minutes, 60)
    return f"{hours} h {rest} min" if hours < 48 else f"{hours / 24:.1f} days"
