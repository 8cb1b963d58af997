"""Text in a font that has its letters, wrapped to fit a box.

DejaVu Sans comes along; for scripts that it does not have a font of the system is looked for.
"""

from __future__ import annotations

import textwrap
import unicodedata
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from PIL import ImageFont

LINE_HEIGHT, ELLIPSIS = 1.28, "…"
OWN_FONT = Path(__file__).parent / "fonts" / "DejaVuSans.ttf"
_FOLDERS = "/usr/share/fonts /usr/local/share/fonts /System/Library/Fonts /Library/Fonts ~/.fonts"
_NAMES = (
    *("NotoSans*CJK*", "SourceHanSans*", "wqy-*", "DroidSansFallback*", "PingFang*", "Hiragino*", "Symbola*"),
    "Noto*",
)
_EAST_ASIAN = ("CJK ", "HIRAGANA ", "KATAKANA", "HANGUL ", "BOPOMOFO ", "IDEOGRAPHIC ", "FULLWIDTH ")
"""How Unicode's names of letters begin that fonts for Chinese, Japanese and Korean have."""


@lru_cache(maxsize=1)
def system_fonts() -> list[Path]:
    """Return the system's fonts with many scripts, the widest first."""
    return fonts_in([Path(name).expanduser() for name in _FOLDERS.split()])


def fonts_in(folders: Sequence[Path]) -> list[Path]:
    """Return the fonts with many scripts in folders, without bitmap fonts, which have one size alone."""
    found = (p for name in _NAMES for folder in folders for p in sorted(folder.rglob(f"{name}.[to]t[cf]")))
    return [path for path in found if _is_usable(path)]


def _is_usable(path: Path) -> bool:
    try:
        ImageFont.truetype(path, 16)
    except OSError:
        return False
    return True


@lru_cache(maxsize=128)
def font(size_px: int, path: Path = OWN_FONT) -> ImageFont.FreeTypeFont:
    """Return a font in a size."""
    return ImageFont.truetype(path, size_px)


@lru_cache(maxsize=4096)
def _has(path: Path, letter: str) -> bool:
    """Say whether a font has a letter: it does not look like one that no font has."""
    return bytes(font(16, path).getmask(letter)) != bytes(font(16, path).getmask("\U0010fffe"))


@lru_cache(maxsize=256)
def font_for(text: str) -> tuple[Path, bool]:
    """Return the font that has most letters of a text, and whether it has all of them."""
    letters = _letters(text)
    path = OWN_FONT
    if not all(_has(path, letter) for letter in letters):
        path = max((path, *system_fonts()), key=lambda each: sum(_has(each, letter) for letter in letters))
    return path, all(_has(path, letter) for letter in letters)


def _letters(text: str) -> set[str]:
    return {letter for letter in text if letter.isprintable() and not letter.isspace()}


def packages_for(text: str, fonts: Sequence[Path]) -> list[str]:
    """Return Debian's packages with the letters of a text that none of these fonts has."""
    lacking = [letter for letter in _letters(text) if not any(_has(path, letter) for path in fonts)]
    return sorted(set(map(_package, lacking)))


def _package(letter: str) -> str:
    if unicodedata.category(letter) in ("So", "Sk"):  # emoji, and the colours of their skin
        return "fonts-symbola"
    is_east_asian = unicodedata.name(letter, "").startswith(_EAST_ASIAN)
    return "fonts-noto-cjk" if is_east_asian else "fonts-noto-core"


class Block(NamedTuple):
    """Lines in one font."""

    lines: list[str]
    face: ImageFont.FreeTypeFont

    @property
    def height_px(self) -> int:
        """Height of the whole block."""
        return round(len(self.lines) * self.face.size * LINE_HEIGHT)


def fitted(text: str, width_px: int, height_px: int, sizes_px: Iterable[int]) -> Block:
    """Set text in the largest of the sizes that fits; in the smallest it is cut with an ellipsis."""
    words, block = " ".join(text.split())[:2000], Block([], font(16))
    for face in (font(size_px, font_for(words)[0]) for size_px in sizes_px):
        rows = max(1, int(height_px / (face.size * LINE_HEIGHT)))
        most = max(1, int(width_px * len(words) / max(1, face.getlength(words))))
        for letters in range(most, 0, -1):
            block = Block(_wrapped(words, letters, rows), face)
            if all(face.getlength(line) <= width_px for line in block.lines):
                break
        if "".join(block.lines).replace(" ", "") == words.replace(" ", ""):
            break
    return block


def _wrapped(words: str, letters: int, rows: int) -> list[str]:
    """Break text into lines. What does not fit is cut between words, or within one that would leave a gap."""
    lines = textwrap.wrap(words, letters, max_lines=rows, placeholder=ELLIPSIS)
    if lines and lines[-1].endswith(ELLIPSIS) and len(lines[-1]) <= letters // 2:
        cut = textwrap.wrap(words, letters, break_on_hyphens=False)
        if len(cut) > rows:
            lines = [*cut[: rows - 1], cut[rows - 1][: max(1, letters - 1)] + ELLIPSIS]
    return lines
