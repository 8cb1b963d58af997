"""The storyboard of a prompt: one shot for each instruction in [brackets], with its caption and camera."""

from __future__ import annotations

from typing import NamedTuple

from callsheet.sandbox.endpoints import INSTRUCTION

Move = tuple[str, str, str]
"""A camera movement as expressions of {t}, from 0 to 1: the zoom, 1 or above, and the view's place from left
to right and from top to bottom, each from 0 to 1."""

_SLIDES, _MIDDLE = (("pan", "1.16"), ("truck", "1.2"), ("tilt", "1.16"), ("pedestal", "1.2")), "0.5"
STATIC, SLOW_PUSH = ("1", _MIDDLE, _MIDDLE), ("1+0.1*{t}", _MIDDLE, _MIDDLE)
# Seedance's own words for camera movement (https://fal.ai/models/fal-ai/bytedance/seedance/v1/lite/image-to-video).
MOVES: dict[str, Move] = {
    "push in": ("1+0.18*{t}", _MIDDLE, _MIDDLE),
    "zoom in": ("1+0.26*{t}", _MIDDLE, _MIDDLE),
    "pull out": ("1.18-0.18*{t}", _MIDDLE, _MIDDLE),
    "zoom out": ("1.26-0.26*{t}", _MIDDLE, _MIDDLE),
    **{f"{word} left": (zoom, "1-{t}", _MIDDLE) for word, zoom in _SLIDES[:2]},
    **{f"{word} right": (zoom, "{t}", _MIDDLE) for word, zoom in _SLIDES[:2]},
    **{f"{word} up": (zoom, _MIDDLE, "1-{t}") for word, zoom in _SLIDES[2:]},
    **{f"{word} down": (zoom, _MIDDLE, "{t}") for word, zoom in _SLIDES[2:]},
    "tracking shot": ("1.2", "{t}", _MIDDLE),
    "shake": ("1.06", "0.5+0.45*sin(61*{t})", "0.5+0.45*sin(53*{t}+2)"),
    "static": STATIC,
}


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
        named = (move for name, move in MOVES.items() if name in instruction.lower())
        move = STATIC if fixed else next(named, SLOW_PUSH)
        caption = caption or (shots[-1].caption if shots else "")
        shots.append(Shot(" ".join(instruction.split()), caption, move))
    return shots
