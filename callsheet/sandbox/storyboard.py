"""The storyboard of a prompt: one shot for each instruction in [brackets], with its caption and camera."""

from __future__ import annotations

import math
from dataclasses import dataclass

from callsheet.sandbox.endpoints import INSTRUCTION


@dataclass(frozen=True, slots=True)
class Move:
    """A movement: the zoom goes from `start` to `end` while the view slides `across` and `down`.

    Zooms are 1 or above. Slides are from -1 to 1: at 1 the view goes from the left (or upper) end of what
    the zoom leaves outside the frame to the other end.
    """

    name: str
    start: float
    end: float
    across: float = 0.0
    down: float = 0.0
    shakes: bool = False

    @property
    def max_zoom(self) -> float:
        """The largest zoom on the way."""
        return max(self.start, self.end)

    def at(self, t: float) -> tuple[float, float, float]:
        """Return (zoom, x, y) at t from 0 to 1; x and y are from -1 to 1."""
        if self.shakes:
            return self.start, 0.9 * math.sin(61 * t), 0.9 * math.sin(53 * t + 2)
        slide = 2 * t - 1
        return self.start + (self.end - self.start) * t, self.across * slide, self.down * slide


# Seedance's own words for camera movement (https://fal.ai/models/fal-ai/bytedance/seedance/v1/lite/image-to-video).
# When the camera moves left, the view travels to the left of the picture.
MOVES = (
    Move("push in", 1.0, 1.18),
    Move("zoom in", 1.0, 1.26),
    Move("pull out", 1.18, 1.0),
    Move("zoom out", 1.26, 1.0),
    Move("pan left", 1.16, 1.16, across=-1),
    Move("pan right", 1.16, 1.16, across=1),
    Move("truck left", 1.20, 1.20, across=-1),
    Move("truck right", 1.20, 1.20, across=1),
    Move("tilt up", 1.16, 1.16, down=-1),
    Move("tilt down", 1.16, 1.16, down=1),
    Move("pedestal up", 1.20, 1.20, down=-1),
    Move("pedestal down", 1.20, 1.20, down=1),
    Move("tracking shot", 1.20, 1.20, across=1),
    Move("shake", 1.06, 1.06, shakes=True),
    Move("static", 1.0, 1.0),
)
STATIC = MOVES[-1]
SLOW_PUSH = Move("slow push in", 1.0, 1.10)


@dataclass(frozen=True, slots=True)
class Shot:
    """One shot: the instruction as it is written (or empty), what is said of the shot, and the camera."""

    instruction: str
    caption: str
    move: Move


def shots_of(prompt: str, *, fixed: bool = False) -> tuple[Shot, ...]:
    """Cut a prompt into shots, one at least.

    What stands before the first instruction belongs to the first shot; a shot without words has those of the
    one before. An instruction that names no movement is a slow push in.
    """
    opening, *parts = INSTRUCTION.split(prompt)
    instructions, texts = parts[::2] or [""], parts[1::2] or [""]
    texts[0] = f"{opening} {texts[0]}"
    shots: list[Shot] = []
    for instruction, text in zip(instructions, texts, strict=True):
        caption = " ".join(text.split()) or (shots[-1].caption if shots else "")
        shots.append(Shot(" ".join(instruction.split()), caption, STATIC if fixed else _move(instruction)))
    return tuple(shots)


def _move(instruction: str) -> Move:
    named = (move for move in MOVES if move.name in instruction.lower())
    return next(named, SLOW_PUSH)
