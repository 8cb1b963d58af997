"""One table, three forms: aligned for a terminal, CSV for a spreadsheet, JSON for a script."""

from __future__ import annotations

import sys
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

from callsheet.cli.console import printable, result
from callsheet.report.csv_text import cell_text, csv_text, guarded
from callsheet.report.rows import Value

CSV_ROWS_AT_ONCE = 1_000


def show_table(header: Sequence[str], rows: Iterable[Sequence[Value]], *, right: frozenset[str]) -> None:
    """Print a table with aligned columns; those named in `right` are aligned to the right."""
    lines = [[printable(cell_text(value)) for value in row] for row in rows]
    widths = [max(map(display_width, column)) for column in zip(header, *lines, strict=True)]
    for line in [list(header), *lines]:
        cells = (
            _padded(text, width, to_the_right=name in right)
            for name, text, width in zip(header, line, widths, strict=True)
        )
        result("  ".join(cells).rstrip())


def write_csv(header: Sequence[str], rows: Iterable[Sequence[Value]]) -> None:
    """Write a table as CSV to standard output, a thousand rows at a time; no cell is a formula."""
    sys.stdout.write(csv_text(header, ()))
    remaining: Iterator[Sequence[Value]] = iter(rows)
    while piece := list(islice(remaining, CSV_ROWS_AT_ONCE)):
        guarded_rows = ([guarded(value) for value in row] for row in piece)
        sys.stdout.write(csv_text(header, guarded_rows).partition("\r\n")[2])


def display_width(text: str) -> int:
    """Return how many columns of a terminal a text takes: East Asian letters take two, accents none."""
    return sum(
        0 if unicodedata.combining(letter) else 1 + (unicodedata.east_asian_width(letter) in "WF")
        for letter in text
    )


def _padded(text: str, width: int, *, to_the_right: bool) -> str:
    blank = " " * (width - display_width(text))
    return blank + text if to_the_right else text + blank
