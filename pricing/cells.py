"""Price cells: jobs that fal must bill by the same numbers."""

from __future__ import annotations

from typing import NamedTuple

from pricing.quotes import Shot


class PriceCell(NamedTuple):
    """What decides a price apart from the aspect ratio. `length` is frames or whole seconds, in words."""

    endpoint_id: str
    resolution: str
    length: str
    audio: bool

    def __str__(self) -> str:
        sound = ", with sound" if self.audio else ""
        return f"{self.endpoint_id} {self.resolution} {self.length}{sound}"


def cell_of(shot: Shot) -> PriceCell:
    """Return the price cell of a shot."""
    length = f"{shot.num_frames} frames" if shot.num_frames else f"{shot.duration_s} s"
    return PriceCell(shot.endpoint.id, shot.resolution, length, shot.audio)
