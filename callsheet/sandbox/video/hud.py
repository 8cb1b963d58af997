"""What moves on top of every picture: the running time code and the progress bar."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw

from callsheet.sandbox.pixels import FPS
from callsheet.sandbox.video.palette import RGB
from callsheet.sandbox.video.planes import WHITE_Y, Plane, Planes, yuv_of
from callsheet.sandbox.video.type import font

_GLYPHS = "0123456789:"


def timecode(frame: int) -> str:
    """Return HH:MM:SS:FF at 24 frames a second, as film people count."""
    seconds, frames = divmod(frame, FPS)
    minutes, seconds = divmod(seconds, 60)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{seconds:02d}:{frames:02d}"


class Hud:
    """Draws onto frames of one size. `right_px`, `top_px` is the upper right corner of the time code."""

    def __init__(
        self, width_px: int, height_px: int, frames: int, *, accent: RGB, right_px: int, top_px: int
    ) -> None:
        self._size = (width_px, height_px)
        self._frames = frames
        self._bar_px = max(2, round(min(width_px, height_px) * 0.009) // 2 * 2)
        self._accent = yuv_of(accent)
        self._glyphs = _glyphs(round(min(width_px, height_px) * 0.032))
        self._cell_px = self._glyphs["0"].shape[1]
        self._left_px = right_px - self._cell_px * len(timecode(0))
        self._top_px = top_px

    def draw(self, planes: Planes, frame: int) -> None:
        """Draw the time code and the bar of one frame."""
        x = self._left_px
        for letter in timecode(frame):
            glyph = self._glyphs[letter]
            cell = planes.y[self._top_px : self._top_px + glyph.shape[0], x : x + self._cell_px]
            np.maximum(cell, glyph, out=cell)
            x += self._cell_px
        self._bar(planes, frame)

    def _bar(self, planes: Planes, frame: int) -> None:
        width_px, height_px = self._size
        done_px = max(2, round(width_px * (frame + 1) / self._frames / 2) * 2)
        top_px = height_px - self._bar_px
        luma, blue, red = self._accent
        planes.y[top_px:] //= 2
        planes.y[top_px:, :done_px] = luma
        planes.u[top_px // 2 :, : done_px // 2] = blue
        planes.v[top_px // 2 :, : done_px // 2] = red


def _glyphs(size_px: int) -> dict[str, Plane]:
    """Digits in cells of one width, so that the time code stands still while it counts."""
    face = font(size_px)
    cell_px = round(max(face.getlength(letter) for letter in _GLYPHS) * 1.04)
    found: dict[str, Plane] = {}
    for letter in _GLYPHS:
        cell = Image.new("L", (cell_px, round(size_px * 1.3)))
        pen = ImageDraw.Draw(cell)
        pen.text(((cell_px - face.getlength(letter)) / 2, 0), letter, fill=WHITE_Y, font=face)
        found[letter] = np.asarray(cell)
    return found
