"""The camera: instructions in [brackets] as paths over a still picture."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass

Path = Callable[[float], tuple[float, float, float]]


@dataclass(frozen=True, slots=True)
class Move:
    """A path: `at(t)` for t from 0 to 1 gives (zoom, x, y).

    `zoom` is 1 or above; x and y from -1 to 1 say where in the room that the zoom leaves the frame stands.
    `max_zoom` is the largest zoom on the way.
    """

    name: str
    max_zoom: float
    at: Path


def _zoom(start: float, end: float) -> Path:
    return lambda t: (start + (end - start) * t, 0.0, 0.0)


def _slide(zoom: float, across: float, down: float) -> Path:
    return lambda t: (zoom, across * (2 * t - 1), down * (2 * t - 1))


def _shake(t: float) -> tuple[float, float, float]:
    across = 0.6 * math.sin(61 * t) + 0.4 * math.sin(97 * t + 1)
    down = 0.6 * math.sin(53 * t + 2) + 0.4 * math.sin(89 * t)
    return (1.06, across, down)


# Seedance's own words for camera movement (https://fal.ai/models/fal-ai/bytedance/seedance/v1/lite/image-to-video).
# What the camera shows when it moves left lies to the left: the frame travels over the picture.
MOVES = (
    Move("push in", 1.18, _zoom(1.0, 1.18)),
    Move("zoom in", 1.26, _zoom(1.0, 1.26)),
    Move("pull out", 1.18, _zoom(1.18, 1.0)),
    Move("zoom out", 1.26, _zoom(1.26, 1.0)),
    Move("pan left", 1.16, _slide(1.16, -1, 0)),
    Move("pan right", 1.16, _slide(1.16, 1, 0)),
    Move("truck left", 1.20, _slide(1.20, -1, 0)),
    Move("truck right", 1.20, _slide(1.20, 1, 0)),
    Move("tilt up", 1.16, _slide(1.16, 0, -1)),
    Move("tilt down", 1.16, _slide(1.16, 0, 1)),
    Move("pedestal up", 1.20, _slide(1.20, 0, -1)),
    Move("pedestal down", 1.20, _slide(1.20, 0, 1)),
    Move("tracking shot", 1.20, _slide(1.20, 1, 0)),
    Move("shake", 1.06, _shake),
    Move("static", 1.0, _zoom(1.0, 1.0)),
)
SLOW_PUSH = Move("slow push in", 1.10, _zoom(1.0, 1.10))


def move_of(prompt: str, *, fixed: bool) -> Move:
    """Return the first instruction in brackets that is known; a slow push in without one."""
    by_name = {move.name: move for move in MOVES}
    if fixed:
        return by_name["static"]
    for instruction in re.findall(r"\[([^\]]*)\]", prompt.lower()):
        for name, move in by_name.items():
            if name in instruction:
                return move
    return SLOW_PUSH
