"""The storyboard of a prompt: one shot for each instruction in [brackets], with its caption and camera."""

from __future__ import annotations

import math
from typing import NamedTuple

from callsheet.sandbox.endpoints import INSTRUCTION


class Move(NamedTuple):
    """A movement: the zoom (1 or above) goes from `start` to `end` while the view slides `across` and `down`.

    Slides are from -1 to 1: at 1 the view goes from the left (or upper) end of the picture to the other end.
    """

    name: str
    start: float
    end: float
    across: float = 0.0
    down: float = 0.0

    def at(self, t: float) -> tuple[float, float, float]:
        """Return (zoom, x, y) at t from 0 to 1; x and y are from -1 to 1."""
        if self.name == "shake":
            return self.start, 0.9 * math.sin(61 * t), 0.9 * math.sin(53 * t + 2)
        slide = 2 * t - 1
        return self.start + (self.end - self.start) * t, self.across * slide, self.down * slide


# Seedance's own words for camera movement (https://fal.ai/models/fal-ai/bytedance/seedance/v1/lite/image-to-video).
MOVES = (
    Move("push in", 1.0, 1.18),
    Move("zoom in", 1.0, 1.26),
    Move("pull out", 1.18, 1.0),
    Move("zoom out", 1.26, 1.0),
    *(Move(f"{word} left", zoom, zoom, across=-1) for word, zoom in (("pan", 1.16), ("truck", 1.2))),
    *(Move(f"{word} right", zoom, zoom, across=1) for word, zoom in (("pan", 1.16), ("truck", 1.2))),
    *(Move(f"{word} up", zoom, zoom, down=-1) for word, zoom in (("tilt", 1.16), ("pedestal", 1.2))),
    *(Move(f"{word} down", zoom, zoom, down=1) for word, zoom in (("tilt", 1.16), ("pedestal", 1.2))),
    Move("tracking shot", 1.2, 1.2, across=1),
    Move("shake", 1.06, 1.06),
    Move("static", 1.0, 1.0),
)
STATIC, SLOW_PUSH = MOVES[-1], Move("slow push in", 1.0, 1.1)


class Shot(NamedTuple):
    """One shot: the instruction as it is written (or empty), what is said of the shot, and the camera."""

    instruction: str
    caption: str
    move: Move


def shots_of(prompt: str, *, fixed: bool = False) -> list[Shot]:
    """Cut a prompt into shots, one at least. An instruction that names no movement is a slow push in.

    What stands before the first instruction belongs to the first shot; a shot without words has those of the
    one before.
    """
    opening, *parts = INSTRUCTION.split(prompt)
    shots: list[Shot] = []
    for instruction, text in zip(parts[::2] or [""], parts[1::2] or [""], strict=True):
        caption = " ".join((text if shots else f"{opening} {text}").split())
        named = (move for move in MOVES if move.name in instruction.lower())
        move = STATIC if fixed else next(named, SLOW_PUSH)
        shots.append(
            Shot(" ".join(instruction.split()), caption or (shots and shots[-1].caption) or "", move)
        )
    return shots
