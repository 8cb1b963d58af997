"""Which jobs of a run a person has chosen: ids, or a table with a `custom_id` and perhaps a `verdict`.

A selection.csv that `callsheet review` wrote is both: what `finish` keeps, and a manifest of the retakes. The
column `callsheet_run` says that a table is one.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from callsheet.errors import ManifestError, Problem, UsageError
from manifests.error_file import may_be_ours, restored
from manifests.readers import as_table, local_files, open_manifests
from manifests.spellings import flag
from manifests.table import ReadOptions, Row, Table, shown

VERDICTS = ("keep", "retake", "reject")
"""The words of the column `verdict`; an empty cell says nothing so far."""

_ALLOWED = f"allowed are {', '.join(VERDICTS)}, or nothing"

RUN_COLUMN = "callsheet_run"
"""Names the run that a selection.csv is about. Its rows are planned only where they are to be retaken."""

REVIEW_COLUMNS = ("verdict", "review_note", RUN_COLUMN)
"""Columns of a selection.csv that are about the clip that was looked at, and not about its retake."""


@dataclass(frozen=True, slots=True)
class Kept:
    """A job that is kept, by its `custom_id`, and where that is said, as in `callsheet.errors.Problem`."""

    custom_id: str
    file: str
    row: int


def read_kept(chosen: str | Path | Iterable[str | Path], *, option: str, drafts: bool = False) -> list[Kept]:
    """Return the jobs that are kept: each of `chosen` is a file that exists, or ids separated by commas.

    An id that has a comma itself must be given in a file. With `drafts`, kept rows of a selection.csv that
    are no drafts are passed over. Raises UsageError for a file that cannot be read and where nothing is
    named, ManifestError with every mistake in a file.
    """
    kept: list[Kept] = []
    if not isinstance(chosen, str | Iterable | Path):
        raise UsageError(f"{option}: found {chosen!r}: give ids or a file with the column custom_id")
    named = [str(each) for each in ([chosen] if isinstance(chosen, str | Path) else chosen)]
    if not any(each.strip(" ,") for each in named):
        raise UsageError(f"{option} names nothing: give ids or a file with the column custom_id")
    for each in named:
        if Path(each).is_file():
            for manifest in open_manifests(each, Path(), ReadOptions()):
                kept += _of_table(as_table(manifest), drafts=drafts)
        elif "/" in each or each.lower().endswith((".csv", ".parquet", ".jsonl", ".xlsx")):
            raise UsageError(f"there is no file {each}")
        else:
            kept += [Kept(name.strip(), option, 0) for name in each.split(",") if name.strip()]
    return kept


def meant_id(written: str, known: Container[str]) -> str:
    """Return the id that a person has written down.

    The results have an apostrophe before an id that begins like a formula, and it may be taken from there.
    """
    plain = restored(written)
    return plain if written not in known and plain in known else written


def _of_table(table: Table, *, drafts: bool) -> list[Kept]:
    problems = list(table.problems)
    if "custom_id" not in table.columns:
        problems.append(Problem(table.file, 0, "custom_id", "", "the file has no such column"))
        raise ManifestError(problems)
    rows = table.rows()
    if drafts and RUN_COLUMN in table.columns:
        rows = filter(is_draft, rows)
    kept = list(_rows(rows, verdict_column(table), problems))
    if problems:
        raise ManifestError(problems)
    return kept


def is_draft(row: Row) -> bool:
    """Say whether a row of a selection.csv is a draft, as a spreadsheet may write it."""
    return flag(row.cells.get("draft", "").strip()) is True


def tables_of_run(source: Path) -> list[Table]:
    """Return what an errors.csv or a selection.csv holds, in whatever format it was saved.

    Nothing of any other file, and of one that cannot be read.
    """
    with suppress(OSError, UsageError):
        files = [] if source.is_dir() else local_files(source.name, source.parent)
        if len(files) == 1 and may_be_ours(files[0][0]):
            tables = map(as_table, open_manifests(source.name, source.parent, ReadOptions()))
            return [table for table in tables if table.campaign]
    return []


def campaign_of(source: Path) -> str:
    """Return the campaign that such a file belongs to; "" for any other."""
    return next((table.campaign for table in tables_of_run(source)), "")


def verdict_column(table: Table) -> str | None:
    """Return the name of the column of verdicts, None where there is none."""
    return next((name for name in table.columns if name.strip().casefold() == "verdict"), None)


def run_of(table: Table) -> str:
    """Return the run that a selection.csv is about; "" for any other table."""
    if RUN_COLUMN not in table.columns or not table.count:
        return ""
    return table.cells[0][table.columns.index(RUN_COLUMN)].strip()


def retakes_of(table: Table) -> Table:
    """Return what a selection.csv orders: the rows that are to be retaken. Any other table is unchanged.

    Rows that are kept or rejected are left out, and so are the columns about the clip that was looked at.
    """
    verdict = verdict_column(table)
    if RUN_COLUMN not in table.columns or verdict is None:
        return table
    at = table.columns.index(verdict)
    said = [row[at].strip().casefold() for row in table.cells]
    problems = [
        Problem(table.file, number, "verdict", shown(word), _ALLOWED)
        for number, word in zip(table.numbers, said, strict=True)
        if word and word not in VERDICTS
    ]
    rows = [place for place, word in enumerate(said) if word == "retake"]
    kept = [place for place, name in enumerate(table.columns) if name not in {*REVIEW_COLUMNS, verdict}]
    return replace(
        table,
        header=tuple(table.header[place] for place in kept),
        columns=tuple(table.columns[place] for place in kept),
        numbers=[table.numbers[row] for row in rows],
        cells=[[table.cells[row][place] for place in kept] for row in rows],
        problems=(*table.problems, *problems),
    )


def _rows(rows: Iterator[Row], verdict: str | None, problems: list[Problem]) -> Iterator[Kept]:
    """Yield the rows that are kept: all of them where the file has no verdicts."""
    for row in rows:
        said = "keep" if verdict is None else row.cells[verdict].strip().casefold()
        custom_id = row.cells["custom_id"].strip()
        if said and said not in VERDICTS:
            problems.append(Problem(row.file, row.row, "verdict", shown(said), _ALLOWED))
        elif said == "keep" and not custom_id:
            problems.append(Problem(row.file, row.row, "custom_id", "", "this cell must not be empty"))
        elif said == "keep":
            yield Kept(custom_id, row.file, row.row)
