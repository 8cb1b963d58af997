"""How wide the terminal is, and lines that are broken where it ends."""

from __future__ import annotations

import re
import sys
import unicodedata

from callsheet.cli.console import result

USUAL = 80
NARROWEST = 20
"""Nothing is folded into fewer columns than these."""


def terminal_width() -> int | None:
    """Return the columns that there are; None where nothing is folded.

    A pipe has as many as it needs, unless COLUMNS says that few are wanted; job runners set it to the usual
    80 for nobody in particular.
    """
    import shutil  # noqa: PLC0415 -- it brings every packer of archives with it

    columns = max(NARROWEST, shutil.get_terminal_size().columns)
    return columns if sys.stdout.isatty() or columns < USUAL else None


def show_folded(text: str, width: int | None, *, indent: int) -> None:
    """Print a line that is broken where the terminal ends, what follows `indent` columns to the right."""
    if width is None or display_width(text) <= width:
        result(text)
        return
    # A name column that takes most of a narrow terminal leaves nothing to fold into.
    behind = " " * (indent if indent <= width // 2 else 2)
    line = ""
    for word in re.findall(r"\s*\S+", text):
        if display_width(line + word) > width and line.strip():
            result(line)
            line, word = behind, word.lstrip()  # noqa: PLW2901 -- what is left of it
        for letter in word:
            if display_width(line + letter) > width:
                result(line)
                line = behind
            line += letter
    result(line)


def show_line(text: str) -> None:
    """Print a sentence, broken where the terminal ends."""
    show_folded(text, terminal_width(), indent=2)


def display_width(text: str) -> int:
    """Return how many columns of a terminal a text takes: East Asian letters take two, accents none."""
    return sum(
        0 if unicodedata.combining(letter) else 1 + (unicodedata.east_asian_width(letter) in "WF")
        for letter in text
    )
