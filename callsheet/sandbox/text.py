"""Text in a font that has its letters, wrapped to fit a box.

DejaVu Sans comes along and has Latin, Greek, Cyrillic, Hebrew and Arabic. For other scripts a font of the
system is looked for; where there is none, the picture says so.
"""

from __future__ import annotations

from bisect import bisect_right
from functools import lru_cache
from math import ceil
from pathlib import Path
from typing import NamedTuple

from PIL import ImageFont

LINE_HEIGHT, ELLIPSIS = 1.28, "…"
OWN_FONT = Path(__file__).parent / "fonts" / "DejaVuSans.ttf"
_FOLDERS = (
    "/usr/share/fonts",
    "/usr/local/share/fonts",
    "/System/Library/Fonts",
    "/Library/Fonts",
    "~/.fonts",
)
_NAMES = ("NotoSans*CJK*", "SourceHanSans*", "wqy-*", "DroidSansFallback*", "PingFang*", "Hiragino*", "Noto*")


@lru_cache(maxsize=1)
def system_fonts() -> list[Path]:
    """Return the system's fonts with many scripts, the widest first."""
    folders = [folder for name in _FOLDERS if (folder := Path(name).expanduser()).is_dir()]
    return [p for name in _NAMES for folder in folders for p in sorted(folder.rglob(f"{name}.[to]t[cf]"))]


@lru_cache(maxsize=128)
def font(size_px: int, path: Path = OWN_FONT) -> ImageFont.FreeTypeFont:
    """Return a font in a size."""
    return ImageFont.truetype(path, max(6, size_px))


@lru_cache(maxsize=4096)
def _has(path: Path, letter: str) -> bool:
    """Say whether a font has a letter: it does not look like one that no font has."""
    return bytes(font(16, path).getmask(letter)) != bytes(font(16, path).getmask("\U0010fffe"))


@lru_cache(maxsize=256)
def font_for(text: str) -> tuple[Path, bool]:
    """Return the font that has most letters of a text, and whether it has all of them."""
    letters = {letter for letter in text if letter.isprintable() and not letter.isspace()}
    if all(_has(OWN_FONT, letter) for letter in letters):
        return OWN_FONT, True
    count, path = max(
        ((sum(_has(path, letter) for letter in letters), path) for path in (OWN_FONT, *system_fonts())),
        key=lambda found: found[0],
    )
    return path, count == len(letters)


class Block(NamedTuple):
    """Lines of one size in one font."""

    lines: list[str]
    size_px: int
    path: Path

    @property
    def height_px(self) -> int:
        """Height of the whole block."""
        return round(len(self.lines) * self.size_px * LINE_HEIGHT)


def fitted(text: str, width_px: int, height_px: int, sizes_px: tuple[int, ...]) -> Block:
    """Set text in the largest of the sizes that fits; in the smallest it is cut with an ellipsis."""
    words = " ".join(text.split())[:2000]
    path, _ = font_for(words)
    blocks = (Block(_wrapped(words, width_px, size_px, path), size_px, path) for size_px in sizes_px)
    block = next((each for each in blocks if each.height_px <= height_px), None)
    if block is None:
        smallest = font(sizes_px[-1], path)
        lines = _wrapped(words, width_px, sizes_px[-1], path)
        lines = lines[: max(1, int(height_px // (sizes_px[-1] * LINE_HEIGHT)))]
        while len(lines[-1]) > 1 and smallest.getlength(lines[-1] + ELLIPSIS) > width_px:
            lines[-1] = lines[-1][:-1].rstrip()
        block = Block([*lines[:-1], lines[-1] + ELLIPSIS], sizes_px[-1], path)
    return block


def _wrapped(text: str, width_px: int, size_px: int, path: Path) -> list[str]:
    """Cut text into lines at its spaces, and within a word that is wider than the box."""
    measure = font(size_px, path).getlength
    lines = []
    while measure(text) > width_px:
        fits = bisect_right(range(len(text)), width_px, key=lambda count: ceil(measure(text[:count]))) - 1
        space = text.rfind(" ", 0, max(1, fits) + 1)
        end = space if space > 0 else max(1, fits)
        lines.append(text[:end])
        text = text[end:].lstrip()
    return [*lines, text]
