"""One table in the form that fits: aligned or row by row for a terminal, CSV for a spreadsheet."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

from callsheet.cli.console import printable, result
from callsheet.cli.terminal import display_width, show_folded, terminal_width
from callsheet.report.csv_text import cell_text, csv_text, guarded
from callsheet.report.rows import Value

CSV_ROWS_AT_ONCE = 1_000


def show_table(
    header: Sequence[str],
    rows: Iterable[Sequence[Value]],
    *,
    right: frozenset[str] = frozenset(),
    below: Sequence[str] = (),
) -> None:
    """Print a table with aligned columns; those named in `right` are aligned to the right.

    A table that is wider than the terminal loses its empty columns and, if that is not enough, is printed row
    by row, each cell on a line of its own. `below` holds a sentence for each row, or nothing.
    """
    lines = [[printable(cell_text(value)) for value in row] for row in rows]
    told = list(below) or [""] * len(lines)
    width = terminal_width()
    if width is not None and _width(header, lines) > width:
        kept = [at for at in range(len(header)) if not lines or any(line[at] for line in lines)]
        header = [header[at] for at in kept]
        lines = [[line[at] for at in kept] for line in lines]
        if _width(header, lines) > width:
            _show_pairs(header, lines, told, width)
            return
    _show_aligned(header, lines, told, right)


def _show_aligned(
    header: Sequence[str], lines: list[list[str]], below: Sequence[str], right: frozenset[str]
) -> None:
    widths = _widths(header, lines)
    for line, sentence in zip([list(header), *lines], ["", *below], strict=True):
        cells = (
            _padded(text, width, to_the_right=name in right)
            for name, text, width in zip(header, line, widths, strict=True)
        )
        result("  ".join(cells).rstrip())
        if sentence:
            result(f"    {sentence}")


def _show_pairs(header: Sequence[str], lines: list[list[str]], below: Sequence[str], width: int) -> None:
    names = max(map(display_width, header))
    for at, (line, sentence) in enumerate(zip(lines, below, strict=True)):
        if at:
            result("")
        for name, text in zip(header, line, strict=True):
            if text:
                show_folded(f"{name:<{names}}  {text}", width, indent=names + 2)
        if sentence:
            show_folded(sentence, width, indent=0)


def _widths(header: Sequence[str], lines: list[list[str]]) -> list[int]:
    return [max(map(display_width, column)) for column in zip(header, *lines, strict=True)]


def _width(header: Sequence[str], lines: list[list[str]]) -> int:
    widths = _widths(header, lines)
    return sum(widths) + 2 * (len(widths) - 1)


def write_csv(header: Sequence[str], rows: Iterable[Sequence[Value]]) -> None:
    """Write a table as CSV to standard output, a thousand rows at a time; no cell is a formula."""
    sys.stdout.write(csv_text(header, ()))
    remaining: Iterator[Sequence[Value]] = iter(rows)
    while piece := list(islice(remaining, CSV_ROWS_AT_ONCE)):
        guarded_rows = ([guarded(value) for value in row] for row in piece)
        sys.stdout.write(csv_text(header, guarded_rows).partition("\r\n")[2])


def _padded(text: str, width: int, *, to_the_right: bool) -> str:
    blank = " " * (width - display_width(text))
    return blank + text if to_the_right else text + blank
