"""Results go to standard output, everything that is said to a person goes to standard error.

Texts of a manifest or of a provider reach a terminal here and nowhere else, so here they lose what a terminal
would obey: control characters (an escape sequence can write the clipboard) and changes of direction.
"""

from __future__ import annotations

import json
import os
import sys
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_KEPT = "\n\t\u200c\u200d"
"""Line breaks and tabs, and the joiners that Persian, Hindi and family emoji are written with."""


def printable(text: str) -> str:
    r"""Return `text` with every control and direction character made visible as `\x1b` or `\u202e`.

    Line breaks, tabs and joiners stay.
    """
    if text.isprintable():
        return text
    return "".join(
        letter
        if letter in _KEPT or unicodedata.category(letter) not in {"Cc", "Cf", "Cs"}
        else _shown(letter)
        for letter in text
    )


def _shown(letter: str) -> str:
    return (
        letter.encode("ascii", "backslashreplace").decode() if ord(letter) > 127 else f"\\x{ord(letter):02x}"
    )


def result(text: str) -> None:
    """Write a line of the result."""
    _write(printable(text) + "\n")


def document(value: Any) -> None:
    """Write the result as one JSON document."""
    _write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def flush() -> None:
    """Hand everything over to whoever reads."""
    with _gone_reader():
        sys.stdout.flush()


def write_no_more() -> None:
    """Let everything that is still written go nowhere, the interpreter's last flush too."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _write(text: str) -> None:
    with _gone_reader():
        sys.stdout.write(text)


@contextmanager
def _gone_reader() -> Iterator[None]:
    """Go on where the reader has seen enough (`| head -1`): the exit code tells what was done, not that."""
    try:
        yield
    except BrokenPipeError:
        write_no_more()


def say(text: str) -> None:
    """Tell the person something."""
    sys.stderr.write(printable(text) + "\n")
    sys.stderr.flush()


def ask(question: str) -> bool:
    """Ask for a yes. Anything else, and no terminal to ask at, is a no."""
    if not sys.stdin.isatty():
        return False
    sys.stderr.write(f"{printable(question)} [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in {"y", "yes"}
