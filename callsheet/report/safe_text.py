"""Text that comes from anywhere, made safe for what shows it: spreadsheets, pages and pictures. Pure.

`clean` drops control characters, and those that hide text or turn its direction.

A spreadsheet runs a cell that begins like a formula, and prompts come from anywhere. Such cells get a leading
apostrophe, as OWASP advises (owasp.org/www-community/attacks/CSV_Injection, which names = + - @, tab, CR, LF
and the full-width forms), and every cell is quoted, so that a separator inside a text cannot begin a new
cell. results.parquet has the same table unchanged; errors.csv is read back unchanged (manifests.error_file).
"""

from __future__ import annotations

import csv
import io
import unicodedata
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, TextIO

from manifests.error_file import PLAIN_NUMBER

if TYPE_CHECKING:  # a database library, which a list of mistakes can do without
    from callsheet.report.rows import Value

_FORMULA_STARTS = tuple("=+-@\t\r\n＝＋－＠")  # noqa: RUF001  (the full-width forms are meant)
BOM = "\ufeff"
"""Begins a CSV file for people that has more than ASCII: without it Excel reads the local code page.

Files that programs read have none. Plain ASCII is the same in every code page.
"""

_KEPT = "\n\u200c\u200d"
"""Line breaks, and the joiners that Persian, Hindi and family emoji are written with."""


def clean(text: str) -> str:
    """Drop what has no picture of its own. Spaces, joiners and line breaks stay; tabs become spaces."""
    if text.isprintable():
        return text
    return "".join(char for char in text.replace("\t", " ") if _has_picture(char))


def clean_line(text: str) -> str:
    """Return a clean text as one line."""
    return " ".join(clean(text).split())


def _has_picture(char: str) -> bool:
    return char.isprintable() or char in _KEPT or unicodedata.category(char) == "Zs"


def csv_text(header: Sequence[str], rows: Iterable[Sequence[Value]]) -> str:
    """Write a table as RFC 4180 CSV with every cell quoted."""
    text = io.StringIO(newline="")
    write_csv(text, header, rows)
    return text.getvalue()


def spreadsheet_csv(header: Sequence[str], rows: Iterable[Sequence[Value]]) -> str:
    """Write the same for people who open it in a spreadsheet: see `BOM`."""
    text = csv_text(header, rows)
    return text if text.isascii() else BOM + text


def write_csv(file: TextIO, header: Sequence[str], rows: Iterable[Sequence[Value]]) -> None:
    """Write the same into a file, row by row."""
    writer = csv.writer(file, quoting=csv.QUOTE_ALL, lineterminator="\r\n")
    writer.writerow(header)
    writer.writerows([value if type(value) is str else cell_text(value) for value in row] for row in rows)


def cell_text(value: Value) -> str:
    """Write one value: nothing for None, `true` and `false`, numbers as Python writes them."""
    if value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)


def guarded(value: Value) -> Value:
    """Put an apostrophe before a text that a spreadsheet could take for a formula.

    Numbers stay numbers, also those that a manifest holds as text: `-5` calculates nothing.
    """
    if isinstance(value, str) and value.startswith(_FORMULA_STARTS) and not PLAIN_NUMBER.fullmatch(value):
        return f"'{value}"
    return value
