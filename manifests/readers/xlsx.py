"""XLSX sheets. The archive is measured before anything of it is unpacked into memory."""

from __future__ import annotations

import io
import re
import zipfile
import zlib
from typing import Any

from manifests.readers.parquet import value_text
from manifests.table import Flaw, Records, header_flaws

EXPANDED_MAX_BYTES = 512 << 20
RATIO_MAX = 200
"""Sheets of a hundred thousand equal rows reach about 60 to 1; a bomb reaches 1,000 to 1."""

_RATIO_FROM_BYTES = 8 << 20
MEMBERS_MAX = 10_000
CELLS_MAX = 20_000_000
"""A sheet is read as a full rectangle: one cell in its last corner would ask for 17,000,000,000."""

SHARED_MAX_BYTES = 4 << 30
"""One long text that every cell points to is copied for each of them."""

_SHORT_BYTES = 1 << 15
_CHUNK_BYTES = 1 << 20
_OVERLAP_BYTES = 64
_REFERENCE = re.compile(rb'\br\s*=\s*["\']([A-Za-z]{1,7})([0-9]{1,10})["\']')


class _Unreadable(ValueError):
    """The workbook cannot be read; the message says why and what to do."""


def read_xlsx(content: bytes, sheet: str = "") -> Records:
    """Read one sheet of a workbook: the one of that name, or the only one that is visible and not empty.

    Numbers, dates and times become the text that a person would have typed; blank rows are skipped but
    counted. A workbook that would not fit the memory is refused before it is unpacked.
    """
    try:
        _measure(content)
        return _records(_rows_of(content, sheet))
    except _Unreadable as error:
        return Records((), (), (Flaw(0, "", "", str(error)),))


def _measure(content: bytes) -> None:
    """Unpack the archive without keeping it, and count. Raises _Unreadable above a bound."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = archive.infolist()
            longest = _longest_shared(archive)
            if len(members) > MEMBERS_MAX:
                raise _Unreadable(f"the workbook holds {len(members):,} files; {MEMBERS_MAX:,} are allowed")
            expanded = 0
            for member in members:
                expanded = _count(archive, member, expanded, len(content), longest)
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, EOFError, OSError) as error:
        raise _Unreadable(f"this is not a whole XLSX workbook: {error}") from None


def _count(
    archive: zipfile.ZipFile, member: zipfile.ZipInfo, expanded: int, packed: int, longest_bytes: int
) -> int:
    """Return how much is expanded with this member; what an archive says of itself is not believed."""
    is_sheet = "worksheets/" in member.filename.lower()
    rest, width, height, filled = b"", 0, 0, 0
    with archive.open(member) as file:
        while chunk := file.read(_CHUNK_BYTES):
            expanded += len(chunk)
            too_dense = expanded > _RATIO_FROM_BYTES and expanded > RATIO_MAX * packed
            if expanded > EXPANDED_MAX_BYTES or too_dense:
                raise _Unreadable(
                    f"the workbook expands to more than {expanded:,} bytes from {packed:,}; "
                    "save the rows as CSV"
                )
            if is_sheet:
                filled += chunk.count(b"<c ")
                for letters, digits in _REFERENCE.findall(rest + chunk):
                    width, height = max(width, _column(letters)), max(height, int(digits))
                rest = chunk[-_OVERLAP_BYTES:]
    if width * height > CELLS_MAX:
        raise _Unreadable(
            f"{member.filename} reaches to column {width:,} and row {height:,}; "
            "delete what stands far outside the table, or save the rows as CSV"
        )
    if filled * longest_bytes > SHARED_MAX_BYTES:
        raise _Unreadable(
            f"{member.filename} may repeat a text of {longest_bytes:,} bytes in {filled:,} cells; "
            "save the rows as CSV"
        )
    return expanded


def _longest_shared(archive: zipfile.ZipFile) -> int:
    """Return the length in bytes of the longest text that many cells may point to, as far as it is long."""
    longest = since = unpacked = 0
    for name in archive.namelist():
        if name.lower().endswith("sharedstrings.xml"):
            with archive.open(name) as file:
                while (chunk := file.read(_CHUNK_BYTES)) and unpacked <= EXPANDED_MAX_BYTES:
                    unpacked += len(chunk)
                    *ends, tail = chunk.split(b"</si>")
                    longest = max([longest, *(since * (at == 0) + len(end) for at, end in enumerate(ends))])
                    since = len(tail) if ends else since + len(tail)
                    longest = max(longest, since)
    return longest if longest > _SHORT_BYTES else 0


def _column(letters: bytes) -> int:
    number = 0
    for letter in letters.upper():
        number = number * 26 + letter - ord("A") + 1
    return number


def _rows_of(content: bytes, sheet: str) -> list[list[Any]]:
    import python_calamine as calamine  # noqa: PLC0415  # only workbooks need it

    try:
        book = calamine.CalamineWorkbook.from_filelike(io.BytesIO(content))
        visible = [
            each.name
            for each in book.sheets_metadata
            if each.visible == calamine.SheetVisibleEnum.Visible
            and each.typ == calamine.SheetTypeEnum.WorkSheet
        ]
        if sheet:
            visible = [name for name in book.sheet_names if name == sheet]
        found = {name: book.get_sheet_by_name(name).to_python(skip_empty_area=False) for name in visible}
    except (calamine.CalamineError, ValueError, OSError) as error:
        raise _Unreadable(f"this is not a whole XLSX workbook: {error}") from None
    filled = {name: rows for name, rows in found.items() if any(any(_cells(row)) for row in rows)}
    if sheet and not found:
        raise _Unreadable(f"there is no sheet {sheet!r}; there are {', '.join(map(repr, book.sheet_names))}")
    if len(filled) > 1:
        names = ", ".join(map(repr, filled))
        raise _Unreadable(
            f"several sheets are filled ({names}); name one like this: book.xlsx#{next(iter(filled))}"
        )
    return next(iter(filled.values()), [])


def _cells(row: list[Any]) -> list[str]:
    return [value_text(value).strip() for value in row]


def _records(rows: list[list[Any]]) -> Records:
    columns: tuple[str, ...] = ()
    found: list[tuple[int, dict[str, str]]] = []
    width = max((_width(row) for row in rows), default=0)
    flaws: list[Flaw] = []
    for number, row in enumerate(rows, 1):
        cells = [value_text(value) for value in row[:width]]
        if not any(map(str.strip, cells)):
            continue
        if not columns:
            columns = tuple(cell.strip() for cell in cells)
            flaws = header_flaws(columns, number)
        else:
            found.append((number, dict(zip(columns, cells, strict=True))))
    return Records(columns, () if flaws else tuple(found), tuple(flaws))


def _width(row: list[Any]) -> int:
    """Return where the last filled cell stands: sheets carry formatted, empty columns behind the table."""
    return max((at for at, value in enumerate(row, 1) if value_text(value).strip()), default=0)
