"""Colours: a calm pair and an accent, chosen by the prompt and tinted by the seed."""

from __future__ import annotations

import colorsys
import hashlib
from dataclasses import dataclass

RGB = tuple[int, int, int]

PAPER: RGB = (244, 240, 232)
"""Type and the light stripes: a warm white."""


@dataclass(frozen=True, slots=True)
class Palette:
    """Two dark neighbours for the gradient and a light accent; `turn` (0 to 1) is where the light begins."""

    deep: RGB
    warm: RGB
    accent: RGB
    turn: float


def palette_of(prompt: str, seed_text: str) -> Palette:
    """Choose colours; one prompt keeps its family of colours over all its seeds."""
    by_prompt = hashlib.sha256(prompt.encode()).digest()
    by_seed = hashlib.sha256(f"{prompt}|{seed_text}".encode()).digest()
    hue = by_prompt[0] / 256 + (by_seed[0] / 256 - 0.5) * 0.08
    distance = 0.10 + by_prompt[1] / 256 * 0.10
    return Palette(
        deep=_rgb(hue, 0.17, 0.46),
        warm=_rgb(hue + distance, 0.37, 0.42),
        accent=_rgb(hue + distance + 0.12, 0.74, 0.58),
        turn=by_seed[1] / 256,
    )


def _rgb(hue: float, lightness: float, saturation: float) -> RGB:
    red, green, blue = colorsys.hls_to_rgb(hue % 1.0, lightness, saturation)
    return (round(red * 255), round(green * 255), round(blue * 255))
