"""CSV, strictly: what a spreadsheet would show differently from what we read is refused, with its row."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from contextlib import contextmanager

from manifests.table import CELL_LIMIT_BYTES, Flaw, Grid, Records, header_flaws

SEPARATORS = (",", ";", "\t")
_QUOTED = re.compile(r'"[^"]*"?')


def read_csv(content: bytes) -> Records:
    """Read UTF-8 CSV with a header in row 1, separated by commas, semicolons or tabs.

    Blank rows are skipped but counted, so that numbers agree with the spreadsheet. A row with too few or too
    many cells, an unclosed quote and bytes that are not UTF-8 are flaws that name their row.
    """
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        found = f"byte 0x{content[error.start]:02x}"
        return Records((), (), (Flaw(line, "", found, "the file is not UTF-8; save it as “CSV UTF-8”"),))
    with _field_limit(CELL_LIMIT_BYTES):
        return _read(text)


def _read(text: str) -> Records:
    reader = csv.reader(io.StringIO(text, newline="\n"), delimiter=separator_of(text), strict=True)
    flaws: list[Flaw] = []
    columns: tuple[str, ...] = ()
    numbers: list[int] = []
    rows: list[list[str]] = []
    number = 0
    try:
        for number, cells in enumerate(reader, 1):
            if not (cells and cells[0].strip()) and not any(map(str.strip, cells)):
                continue
            if not columns:
                columns = tuple(cell.strip() for cell in cells)
                flaws += header_flaws(columns, number)
            elif len(cells) != len(columns):
                message = f"the header has {len(columns)}; is a separator or a quote missing?"
                flaws.append(Flaw(number, "", f"{len(cells)} cells", message))
            else:
                numbers.append(number)
                rows.append(cells)
    except csv.Error as error:
        flaws.append(Flaw(number + 1, "", "", _in_words(str(error))))
    return Records(columns, Grid(columns, numbers, rows), tuple(flaws))


def separator_of(text: str) -> str:
    """Return the separator that cuts the header into most columns; a comma when none does."""
    header = next((line for line in text.split("\n", 20)[:20] if line.strip()), "")
    bare = _QUOTED.sub("", header)
    return max(SEPARATORS, key=bare.count)


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
    """Set the csv module's limit, which it keeps for the whole process, and put it back."""
    before = csv.field_size_limit(limit)
    try:
        yield
    finally:
        csv.field_size_limit(before)
