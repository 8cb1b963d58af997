"""The two tables a run leaves: what became of every job, and what can be run again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from callsheet.report.inputs import manifest_cells
from callsheet.report.rows import RESULT_COLUMNS, ResultRow, Value, carried_names

if TYPE_CHECKING:  # pyarrow takes 0.13 s to import; only a finished run pays for it
    import pyarrow as pa

RUN_AGAIN = frozenset({"failed", "cancelled", "skipped_budget"})
"""What errors.csv holds. An `unknown` job may be paid for already: running it from a file would risk paying
twice, so it stays with the ledger, where `reconcile` finds out."""

ERROR_NAMES = ("status", "error_type", "error", "charged", "request_id")
"""Added to errors.csv for the person who reads it; a manifest's reader carries them without a meaning."""


def results_table(manifest: pa.Table, rows: Sequence[ResultRow]) -> pa.Table:
    """Return every manifest column, then `RESULT_COLUMNS`: one row per job in the order of `rows`.

    `manifest` holds one row per job, known by its `custom_id`; a job that it lacks gets empty cells.
    """
    import pyarrow as pa  # noqa: PLC0415

    types = {"text": pa.string(), "int": pa.int64(), "float": pa.float64(), "bool": pa.bool_()}
    carried = _matched(manifest, rows)
    arrays = [carried.column(column) for column in carried.column_names]
    arrays += [
        pa.array([_sound(column.value(row)) for row in rows], type=types[column.kind])
        for column in RESULT_COLUMNS
    ]
    return pa.table(arrays, names=[*carried.column_names, *(column.name for column in RESULT_COLUMNS)])


def _sound(value: Value) -> Value:
    """Replace what UTF-8 cannot hold: a provider's JSON may carry half of a surrogate pair."""
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else value


def _matched(manifest: pa.Table, rows: Sequence[ResultRow]) -> pa.Table:
    """Return the manifest's own columns, renamed as in the results, in the order of `rows`."""
    import pyarrow as pa  # noqa: PLC0415

    position = {name: index for index, name in enumerate(manifest.column("custom_id").to_pylist())}
    order = pa.array([position.get(row.custom_id) for row in rows], type=pa.int64())
    names = carried_names(tuple(manifest.column_names))
    return manifest.select(list(names)).take(order).rename_columns(list(names.values()))


def errors_table(manifest: pa.Table, rows: Sequence[ResultRow]) -> tuple[list[str], list[list[str]]]:
    """Return the header and the rows of errors.csv.

    The manifest's own columns come first, as they were; those that Callsheet knows are written out from the
    job, so that the file can be run alone, without the campaign's defaults, templates and expansion.
    """
    failed = [row for row in rows if row.status in RUN_AGAIN]
    own = [name for name in manifest.column_names if name not in ERROR_NAMES]
    cells = {record["custom_id"]: record for record in manifest.select([*own]).to_pylist()} if failed else {}
    known = [manifest_cells(row.job) for row in failed]
    used = {name for row in known for name, text in row.items() if text}
    header = [*own, *(name for name in (known[0] if known else ()) if name in used and name not in own)]
    return [*header, *ERROR_NAMES], [
        [*_cells(header, cells.get(row.custom_id, {}), row_known), *_error_cells(row)]
        for row, row_known in zip(failed, known, strict=True)
    ]


def _cells(header: list[str], given: dict[str, str | None], known: dict[str, str]) -> list[str]:
    return [known[name] if name in known else (given.get(name) or "") for name in header]


def _error_cells(row: ResultRow) -> list[str]:
    return [row.status, row.error_type, row.error, row.charged, row.request_id]
