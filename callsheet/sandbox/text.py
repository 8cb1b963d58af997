"""Text in Pillow's own font, wrapped to fit a box."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from functools import lru_cache
from math import ceil

from PIL import ImageFont
from PIL.ImageDraw import ImageDraw

LINE_HEIGHT = 1.28
"""Distance of base lines in font sizes."""

ELLIPSIS = "…"


@lru_cache(maxsize=64)
def font(size_px: int) -> ImageFont.FreeTypeFont:
    """Return the font in a size."""
    found = ImageFont.load_default(max(6, size_px))
    if not isinstance(found, ImageFont.FreeTypeFont):
        raise TypeError("Pillow was built without FreeType, which the sandbox needs to draw text")
    return found


@dataclass(frozen=True, slots=True)
class Block:
    """Lines of one size."""

    lines: tuple[str, ...]
    size_px: int

    @property
    def height_px(self) -> int:
        """Height of the whole block."""
        return round(len(self.lines) * self.size_px * LINE_HEIGHT)

    def draw(self, canvas: ImageDraw, x: int, y: int, fill: int) -> None:
        """Draw with the top left corner at (x, y)."""
        for number, line in enumerate(self.lines):
            top_px = y + round(number * self.size_px * LINE_HEIGHT)
            canvas.text((x, top_px), line, fill=fill, font=font(self.size_px))


def fitted(text: str, width_px: int, height_px: int, sizes_px: tuple[int, ...]) -> Block:
    """Set text in the largest of the sizes that fits; in the smallest it is cut with an ellipsis."""
    words = " ".join(text.split())[:2000]
    for size_px in sizes_px:
        block = Block(tuple(_wrapped(words, width_px, size_px)), size_px)
        if block.height_px <= height_px:
            return block
    most = max(1, int(height_px // (sizes_px[-1] * LINE_HEIGHT)))
    lines = _wrapped(words, width_px, sizes_px[-1])[:most]
    while len(lines[-1]) > 1 and font(sizes_px[-1]).getlength(lines[-1] + ELLIPSIS) > width_px:
        lines[-1] = lines[-1][:-1].rstrip()
    return Block((*lines[:-1], lines[-1] + ELLIPSIS), sizes_px[-1])


def _wrapped(text: str, width_px: int, size_px: int) -> list[str]:
    """Cut text into lines at its spaces, and within a word that is wider than the box."""
    measure = font(size_px).getlength
    lines = []
    while measure(text) > width_px:
        fits = max(
            1, bisect_right(range(len(text)), width_px, key=lambda count: ceil(measure(text[:count]))) - 1
        )
        space = text.rfind(" ", 0, fits + 1)
        end = space if space > 0 else fits
        lines.append(text[:end])
        text = text[end:].lstrip()
    return [*lines, text]
