"""All rows checked, all mistakes together, before anything is spent."""

from __future__ import annotations

from collections.abc import Iterable

from callsheet.errors import Problem
from manifests.columns import COLUMNS, likely_column
from manifests.identity import Entry, identified
from manifests.parse_cells import Context
from manifests.problems import Problems
from manifests.rows import read_row
from manifests.table import Row, shown


def check_rows(rows: Iterable[Row], context: Context, notes: Problems) -> list[Entry]:
    """Check every row against the columns' declaration and against the other rows.

    Every mistake goes into `notes`. Where it gets any, what is returned is only part of the manifest.
    """
    headers: set[tuple[str, tuple[str, ...]]] = set()
    pairs = []
    for row in rows:
        header = (row.file, tuple(row.cells))
        if header not in headers:
            headers.add(header)
            check_header(row, notes)
        job = read_row(row, context, notes)
        if job is not None:
            pairs.append((row, job))
    return identified(pairs, notes, context.naming)


def check_header(row: Row, notes: Problems) -> None:
    """Note the columns that must be there and are not, and those that look like one of ours misspelt."""
    names = [column.name for column in COLUMNS]
    meant = {name: likely_column(name, row.cells) for name in row.cells if name not in names}
    for column in COLUMNS:
        if column.required and column.name not in row.cells:
            near = next((name for name, ours in meant.items() if ours == column.name), None)
            hint = (
                f"is {near!r} meant? Rename it"
                if near
                else "add it, or set it under [defaults] of a campaign"
            )
            notes.add(Problem(row.file, 0, column.name, "", f"the manifest has no such column; {hint}"))
    for name, ours in meant.items():
        if ours:
            message = f"no column of Callsheet's, so it is only carried to the results; is {ours} meant?"
            notes.add_warning(Problem(row.file, 0, shown(name), "", message))
