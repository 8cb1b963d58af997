"""Which jobs of a run a person has chosen: ids, or a table with a `custom_id` and perhaps a `verdict`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from callsheet.errors import ManifestError, Problem, UsageError
from manifests.readers import as_table, open_manifests
from manifests.table import ReadOptions, Row, Table, shown

VERDICTS = ("keep", "retake", "reject")
"""What the `verdict` column may say; an empty cell says nothing so far."""


@dataclass(frozen=True, slots=True)
class Kept:
    """A job that is kept, by its `custom_id`, and where that is said, as in `callsheet.errors.Problem`."""

    custom_id: str
    file: str
    row: int


def read_kept(chosen: Sequence[str], *, option: str) -> list[Kept]:
    """Return the jobs that are kept: each of `chosen` is a file that exists, or ids separated by commas.

    An id that has a comma itself must be given in a file. Raises UsageError for a file that cannot be read,
    ManifestError with every mistake in it.
    """
    kept: list[Kept] = []
    for each in chosen:
        if Path(each).is_file():
            for manifest in open_manifests(each, Path(), ReadOptions()):
                kept += _of_table(as_table(manifest))
        elif "/" in each or each.lower().endswith((".csv", ".parquet", ".jsonl", ".xlsx")):
            raise UsageError(f"there is no file {each}")
        else:
            kept += [Kept(name.strip(), option, 0) for name in each.split(",") if name.strip()]
    return kept


def _of_table(table: Table) -> list[Kept]:
    problems = list(table.problems)
    if "custom_id" not in table.columns:
        problems.append(Problem(table.file, 0, "custom_id", "", "the file has no such column"))
        raise ManifestError(problems)
    verdict = next((name for name in table.columns if name.strip().casefold() == "verdict"), None)
    kept = list(_rows(table.rows(), verdict, problems))
    if problems:
        raise ManifestError(problems)
    return kept


def _rows(rows: Iterator[Row], verdict: str | None, problems: list[Problem]) -> Iterator[Kept]:
    """Yield the rows that are kept: all of them where the file has no verdicts."""
    for row in rows:
        said = "keep" if verdict is None else row.cells[verdict].strip().casefold()
        custom_id = row.cells["custom_id"].strip()
        if said and said not in VERDICTS:
            message = f"allowed are {', '.join(VERDICTS)}, or nothing"
            problems.append(Problem(row.file, row.row, "verdict", shown(said), message))
        elif said == "keep" and not custom_id:
            problems.append(Problem(row.file, row.row, "custom_id", "", "this cell must not be empty"))
        elif said == "keep":
            yield Kept(custom_id, row.file, row.row)
