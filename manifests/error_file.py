"""errors.csv: the failed rows of a run, written so that they are a manifest of the same campaign. Pure.

A spreadsheet runs a cell that begins like a formula (owasp.org/www-community/attacks/CSV_Injection names
= + - @, tab, CR, LF and the full-width forms), so such cells are written with an apostrophe in front. A
column of its own, `callsheet_campaign`, says that the file is ours: only there the apostrophe is taken away
again, because elsewhere it is part of what the person wrote.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from manifests.table import Table

CAMPAIGN_COLUMN = "callsheet_campaign"
_FORMULA = re.compile(r"'*[=+\-@\t\r\n＝＋－＠]")  # noqa: RUF001  (the full-width forms are meant)
_PLAIN_NUMBER = re.compile(r"[+-]?\d{1,30}(?:\.\d{1,30})?", re.ASCII)
_START_CHARS = 1 << 20


def escaped(text: str) -> str:
    """Put an apostrophe before a text that a spreadsheet could run, and before one that `restored` would cut.

    A plain number such as `-5` calculates nothing and stays as it is.
    """
    return f"'{text}" if _FORMULA.match(text) and not _PLAIN_NUMBER.fullmatch(text) else text


def restored(text: str) -> str:
    """Return the text that `escaped` was given."""
    return text[1:] if text.startswith("'") and _FORMULA.match(text) else text


def without_marks(table: Table) -> Table:
    """Return the table as it was before it was written to errors.csv; any other table is unchanged."""
    if CAMPAIGN_COLUMN not in table.header:
        return table
    place = table.header.index(CAMPAIGN_COLUMN)
    return replace(
        table,
        header=_restored_but(place, table.header),
        columns=_restored_but(place, table.columns),
        cells=[_restored_but(place, row) for row in table.cells],
    )


def campaign_of(path: Path) -> str:
    """Return the campaign that an errors.csv belongs to; "" for any other or an unreadable file."""
    if path.suffix.lower() != ".csv":
        return ""
    try:
        if not path.is_file():  # a named pipe would keep the plan waiting
            return ""
        with path.open(encoding="utf-8-sig", newline="") as file:
            start = file.read(_START_CHARS)
        if CAMPAIGN_COLUMN not in start:
            return ""
        separator = ";" if start.partition("\n")[0].count(";") > start.partition("\n")[0].count(",") else ","
        first = next(csv.DictReader(io.StringIO(start, newline=""), delimiter=separator), {})
    except (OSError, UnicodeError, csv.Error):
        return ""
    return restored(first.get(CAMPAIGN_COLUMN) or "").strip()


def _restored_but(place: int, cells: Sequence[str]) -> tuple[str, ...]:
    """Return restored cells without the one at `place`."""
    return tuple(restored(cell) for index, cell in enumerate(cells) if index != place)
