"""What the command line prints: results on standard output, messages on standard error.

Texts from a manifest or a provider reach the terminal only through this module, which makes control
characters and direction marks visible: an escape sequence could write the clipboard.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any

from rich.cells import cell_len, set_cell_size

from callsheet.cli.logs import MESSAGES, printable
from callsheet.report.safe_text import cell_text, csv_text, guarded

DEFAULT_WIDTH = 80
"""The width that `shutil` and job runners assume where none is set."""

NARROWEST = 20
"""Text is never folded into fewer columns than these."""

CSV_ROWS_AT_ONCE = 1_000

_NOT_SHOWN = re.compile(
    "[\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff\U000e0000-\U000e007f]"
)
"""Control characters, direction marks and characters without width; joiners are kept, as in messages."""

Cell = str | int | float | bool | None


def result(text: str) -> None:
    """Print a line of the result."""
    _write(printable(text) + "\n")


def document(value: Any) -> None:
    """Print the result as one JSON document; what a terminal would obey or hide is escaped."""
    text = json.dumps(value, indent=2, ensure_ascii=False)
    _write(_NOT_SHOWN.sub(lambda found: json.dumps(found[0])[1:-1], text) + "\n")


def say(text: str) -> None:
    """Print a warning, an error or the answer to a question on standard error."""
    MESSAGES.warning("%s", printable(text))


def note(text: str) -> None:
    """Print a message that `--quiet` leaves out on standard error."""
    MESSAGES.info("%s", printable(text))


def ask(question: str) -> bool:
    """Ask for a yes. Any other answer is a no, and so is a standard input that is not a terminal."""
    if not sys.stdin.isatty():
        return False
    sys.stderr.write(f"{printable(question)} [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in {"y", "yes"}


def first_of(what: str, lines: Iterable[object], count: int, *, most: int, where: str = "") -> Iterator[str]:
    """Yield the first `most` of `count` lines, each after `what`, then how many more there are `where`."""
    yield from (f"{what}: {line}" for line in islice(lines, most))
    if count > most:
        yield f"{what}: and {count - most:,} more{where}"


def flush() -> None:
    """Flush standard output."""
    with _ignoring_a_closed_pipe():
        sys.stdout.flush()


def discard_output() -> None:
    """Send everything that is still to be printed to /dev/null, including the interpreter's last flush."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _write(text: str) -> None:
    with _ignoring_a_closed_pipe():
        sys.stdout.write(text)


@contextmanager
def _ignoring_a_closed_pipe() -> Iterator[None]:
    """Continue after the reader has closed the pipe (`| head -1`); the exit code still reports the work."""
    try:
        yield
    except BrokenPipeError:
        discard_output()


def terminal_width() -> int | None:
    """Return the terminal's columns; None where nothing is folded.

    Output to a pipe is folded only if COLUMNS is below 80: job runners set it to 80 by default.
    """
    columns = max(NARROWEST, shutil.get_terminal_size().columns)
    return columns if sys.stdout.isatty() or columns < DEFAULT_WIDTH else None


def show_line(text: str, *, indent: int = 2) -> None:
    """Print a line, folded at the terminal's width; continuation lines are indented by `indent` columns."""
    _show_folded(text, terminal_width(), indent)


def _show_folded(text: str, width: int | None, indent: int) -> None:
    if width is None or cell_len(text) <= width:
        result(text)
        return
    # An indent of more than half of a narrow terminal would leave no space for the text.
    margin = " " * (indent if indent <= width // 2 else 2)
    line = ""
    for word in re.findall(r"\s*\S+", text):
        if cell_len(line + word) > width and line.strip():
            result(line)
            line, word = margin, word.lstrip()  # noqa: PLW2901 -- the rest of the same word
        while cell_len(line + word) > width:
            head = _head(word, width - cell_len(line))
            result(line + head)
            line, word = margin, word[len(head) :]  # noqa: PLW2901 -- as above
        line += word
    result(line)


def _head(word: str, columns: int) -> str:
    """Return as many letters as fit into `columns`, at least one."""
    end = 1
    while end < len(word) and cell_len(word[: end + 1]) <= columns:
        end += 1
    return word[:end]


def show_table(
    header: Sequence[str],
    rows: Iterable[Sequence[Cell]],
    *,
    right: frozenset[str] = frozenset(),
    below: Sequence[str] = (),
) -> None:
    """Print a table with aligned columns; those named in `right` are aligned to the right.

    A table wider than the terminal loses its empty columns first. If that is not enough, it is printed row by
    row, one cell a line. `below` has a sentence for each row, or is empty.
    """
    lines = [[printable(cell_text(value)) for value in row] for row in rows]
    sentences = list(below) or [""] * len(lines)
    width = terminal_width()
    if width is not None and _table_width(header, lines) > width:
        kept = [at for at in range(len(header)) if not lines or any(line[at] for line in lines)]
        header = [header[at] for at in kept]
        lines = [[line[at] for at in kept] for line in lines]
        if _table_width(header, lines) > width:
            _show_pairs(header, lines, sentences, width)
            return
    _show_aligned(header, lines, sentences, right)


def _show_aligned(
    header: Sequence[str], lines: list[list[str]], below: Sequence[str], right: frozenset[str]
) -> None:
    widths = _widths(header, lines)
    for line, sentence in zip([list(header), *lines], ["", *below], strict=True):
        cells = (
            " " * (width - cell_len(text)) + text if name in right else set_cell_size(text, width)
            for name, text, width in zip(header, line, widths, strict=True)
        )
        result("  ".join(cells).rstrip())
        if sentence:
            result(f"    {sentence}")


def _show_pairs(header: Sequence[str], lines: list[list[str]], below: Sequence[str], width: int) -> None:
    names = max(map(cell_len, header))
    for at, (line, sentence) in enumerate(zip(lines, below, strict=True)):
        if at:
            result("")
        for name, text in zip(header, line, strict=True):
            if text:
                _show_folded(f"{name:<{names}}  {text}", width, names + 2)
        if sentence:
            _show_folded(sentence, width, 0)


def _widths(header: Sequence[str], lines: list[list[str]]) -> list[int]:
    return [max(map(cell_len, column)) for column in zip(header, *lines, strict=True)]


def _table_width(header: Sequence[str], lines: list[list[str]]) -> int:
    widths = _widths(header, lines)
    return sum(widths) + 2 * (len(widths) - 1)


def write_csv(header: Sequence[str], rows: Iterable[Sequence[Cell]]) -> None:
    """Print a table as CSV, a thousand rows at a time. No cell begins like a spreadsheet formula."""
    sys.stdout.write(csv_text(header, ()))
    remaining: Iterator[Sequence[Cell]] = iter(rows)
    while piece := list(islice(remaining, CSV_ROWS_AT_ONCE)):
        guarded_rows = ([guarded(value) for value in row] for row in piece)
        sys.stdout.write(csv_text(header, guarded_rows).partition("\r\n")[2])
