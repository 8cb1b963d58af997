"""CSV, strictly: what a spreadsheet would show differently from what we read is refused, with its row."""

from __future__ import annotations

import csv
import io
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from callsheet.errors import Problem
from manifests.table import CELL_LIMIT_BYTES, HEADER_ROWS, ReadOptions, Sheet, Table

SEPARATORS = (",", ";", "\t", "|")
_QUOTED = re.compile(r'"[^"]*"?')
_HINT = re.compile(rb'"?sep=([^\r\n"])"?[^\S\n]*(?:\n|$)', re.IGNORECASE)
"""Excel's own first line, which names the separator; Excel shows the table without it."""

_BOM, _UTF_16 = b"\xef\xbb\xbf", (b"\xff\xfe", b"\xfe\xff")
_START_BYTES = 1 << 16
_LIMIT = threading.Lock()


def read_csv(content: bytes, file: str, folder: Path, options: ReadOptions) -> Table:
    """Read CSV in UTF-8, or in UTF-16 with a byte order mark, separated by commas, semicolons, tabs or bars.

    Blank rows are skipped but counted, so that numbers agree with the spreadsheet. A row with too few or too
    many cells, an unclosed quote and bytes that are not UTF-8 are problems that name their row.
    """
    if content.startswith(_UTF_16):
        try:
            content = content.decode("utf-16").encode()
        except UnicodeError:
            message = "the file begins like UTF-16 and is not; save it as “CSV UTF-8”"
            return Table(file, folder, problems=(Problem(file, 0, "", "", message),))
    while content.startswith(_BOM):
        content = content[len(_BOM) :]
    hint = _HINT.match(content)
    if hint:
        content, separator = content[hint.end() :], hint[1].decode("latin-1")
    else:
        separator = separator_of(content[:_START_BYTES].decode(errors="replace"), options)
    sheet = Sheet(file, folder, iter(()))
    sheet.rows = _rows(content, separator, sheet)
    with _field_limit(CELL_LIMIT_BYTES):
        return sheet.table(options)


def _rows(content: bytes, separator: str, sheet: Sheet) -> Iterator[tuple[int, list[str]]]:
    """Yield the rows that are not blank, up to the first that cannot be read."""
    text = io.TextIOWrapper(io.BytesIO(content), encoding="utf-8", newline="\n")
    reader = csv.reader(text, delimiter=separator, strict=True)
    number = 0
    try:
        for number, cells in enumerate(reader, 1):
            if (cells and cells[0].strip()) or any(map(str.strip, cells)):
                yield number, cells
    except UnicodeDecodeError:
        row, byte = _first_bad_byte(content, separator)
        sheet.wrong(row, "", f"byte 0x{byte:02x}", "the file is not UTF-8; save it as “CSV UTF-8”")
    except csv.Error as error:
        sheet.wrong(number + 1, "", "", _in_words(str(error)))


def _first_bad_byte(content: bytes, separator: str) -> tuple[int, int]:
    """Return the first byte that is not UTF-8, and before it its row, as a spreadsheet counts."""
    try:
        content.decode()
    except UnicodeDecodeError as error:
        before = io.StringIO(content[: error.start].decode() + "?", newline="\n")
        row = 0
        try:
            for _ in csv.reader(before, delimiter=separator):
                row += 1
        except csv.Error:
            row += 1
        return row, content[error.start]
    raise AssertionError("the content was not UTF-8 a moment ago")


def separator_of(text: str, options: ReadOptions) -> str:
    """Return the separator that finds most known headers in the first rows; a comma when none does.

    Of equal ones it is the one that cuts the first row into most cells.
    """
    if options.header_row is not None:
        lines = text.split("\n", options.header_row)[options.header_row - 1 : options.header_row]
    else:
        lines = [line for line in text.split("\n", 2 * HEADER_ROWS)[: 2 * HEADER_ROWS] if line.strip()]
    first = _QUOTED.sub("", lines[0]) if lines else ""

    def suits(separator: str) -> tuple[int, int]:
        cells = ([cell.strip().strip('"') for cell in line.split(separator)] for line in lines[:HEADER_ROWS])
        return max((options.known(row) for row in cells), default=0), first.count(separator)

    return max(SEPARATORS, key=suits)


def _in_words(reason: str) -> str:
    if "field larger" in reason:
        return (
            "a cell is longer than 1 MiB; is a closing quote missing? Keep pictures in files beside this one"
        )
    if "new-line character" in reason:
        return "a carriage return stands alone; save the file with ordinary line ends (LF or CRLF)"
    if "end of data" in reason:
        return "a quote opened in this row is never closed; the rows after it cannot be read"
    return f"quotes are out of place in this row ({reason}); the rows after it cannot be read"


@contextmanager
def _field_limit(limit: int) -> Iterator[None]:
    """Set the csv module's limit, which it keeps for the whole process, and put it back. One at a time."""
    with _LIMIT:
        before = csv.field_size_limit(limit)
        try:
            yield
        finally:
            csv.field_size_limit(before)
