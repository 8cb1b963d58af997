"""errors.csv: the failed rows of a run, written so that they are a manifest of the same campaign. Pure.

A spreadsheet runs a cell that begins like a formula (owasp.org/www-community/attacks/CSV_Injection names
= + - @, tab, CR, LF and the full-width forms), so such cells are written with an apostrophe in front. A
column of its own, `callsheet_campaign`, says that the file is ours, in whatever format a person saves it.
Only there the apostrophe is taken away again: elsewhere it is part of what the person wrote.
"""

from __future__ import annotations

import re
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from callsheet.errors import Problem
from manifests.table import Table, shown

CAMPAIGN_COLUMN = "callsheet_campaign"
RESULTS_ONLY = frozenset({"custom_id", "status", "charged", "request_id", "actual_usd", "output_path"})
"""Columns that all stand in the results of a run, and in no manifest."""

_FORMULA = re.compile(r"'*[=+\-@\t\r\n＝＋－＠]")  # noqa: RUF001  (the full-width forms are meant)
PLAIN_NUMBER = re.compile(r"[+-]?\d{1,30}(?:\.\d{1,30})?", re.ASCII)
"""Begins like a formula, and calculates nothing."""

_END_BYTES = 1 << 20


def escaped(text: str) -> str:
    """Put an apostrophe before a text that a spreadsheet could run, and before one that `restored` would cut.

    A plain number such as `-5` calculates nothing and stays as it is.
    """
    return f"'{text}" if _FORMULA.match(text) and not PLAIN_NUMBER.fullmatch(text) else text


def restored(text: str) -> str:
    """Return the text that `escaped` was given."""
    return text[1:] if text.startswith("'") and _FORMULA.match(text) else text


def without_marks(table: Table) -> Table:
    """Return the table as it was before it was written to errors.csv, and whose campaign it is.

    Any other table is unchanged. A row that a person has added may leave the campaign empty.
    """
    if CAMPAIGN_COLUMN not in table.header:
        return table
    place = table.header.index(CAMPAIGN_COLUMN)
    rows = {
        restored(row[place]).strip(): row_number
        for row_number, row in zip(table.numbers, table.cells, strict=True)
    }
    rows.pop("", None)
    problems = table.problems
    if len(rows) > 1:
        (first, _), (other, number), *_rest = rows.items()
        why = f"rows above are of the campaign {shown(first)}; a file belongs to one campaign: split it"
        problems = (*problems, Problem(table.file, number, CAMPAIGN_COLUMN, shown(other), why))
    return replace(
        table,
        header=_restored_but(place, table.header),
        columns=_restored_but(place, table.columns),
        cells=[_restored_but(place, row) for row in table.cells],
        problems=problems,
        campaign=next(iter(rows), ""),
    )


def may_be_ours(path: Path) -> bool:
    """Say whether a file has the words `callsheet_campaign` where its header may be, in whatever format.

    Looks at the ends of a text file and of Parquet, and into the parts of a workbook. Raises OSError.
    """
    marks = [CAMPAIGN_COLUMN.encode(coding) for coding in ("utf-8", "utf-16-le", "utf-16-be")]
    return any(mark in piece for piece in _ends(path) for mark in marks)


def _ends(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        start = file.read(_END_BYTES)
        if not start.startswith(b"PK"):
            yield start
            file.seek(max(0, path.stat().st_size - _END_BYTES))
            yield file.read()
            return
        with suppress(zipfile.BadZipFile, RuntimeError, NotImplementedError, zlib.error):
            book = zipfile.ZipFile(file)
            for name in book.namelist():
                if name.startswith("xl/") and name.endswith(".xml"):
                    with book.open(name) as part:
                        yield part.read(_END_BYTES)


def _restored_but(place: int, cells: Sequence[str]) -> tuple[str, ...]:
    """Return restored cells without the one at `place`."""
    return tuple(restored(cell) for index, cell in enumerate(cells) if index != place)
