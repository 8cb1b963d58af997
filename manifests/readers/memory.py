"""Rows that are in memory: they are written to a Parquet file and read from there."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

from callsheet.errors import UsageError
from manifests.campaign import NAME_MAX_CHARS, is_name
from manifests.table import shown


def written_rows(rows: Any, name: str, folder: Path) -> Path:
    """Write rows to `<name>.parquet` in a folder.

    They are a pyarrow Table, a DataFrame, another table with Arrow's PyCapsule interface, or mappings. Raises
    UsageError for rows that are no table, and for a name that cannot be a campaign's: it could name a place
    outside of the folder.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not is_name(name):
        raise UsageError(
            f"campaign: found {shown(name)}; allowed are 1 to {NAME_MAX_CHARS} printable characters "
            "without / and \\"
        )
    try:
        if isinstance(rows, pa.Table):
            table = rows
        elif hasattr(rows, "to_parquet"):
            table = pa.Table.from_pandas(rows, preserve_index=False)
        elif hasattr(rows, "__arrow_c_stream__"):
            table = pa.table(rows)
        else:
            rows = list(rows)  # an iterator could be read once only
            names = dict.fromkeys(name for row in rows for name in row)
            table = pa.table({name: _column(name, [row.get(name) for row in rows]) for name in names})
    except (pa.ArrowException, AttributeError, TypeError, ValueError) as error:
        raise UsageError(f"the rows are no table: {error}") from error
    path = folder / f"{name}.parquet"
    try:
        pq.write_table(table, path)
    except (pa.ArrowException, OSError) as error:
        raise UsageError(f"the rows cannot be kept as Parquet: {error}") from error
    return path


def _column(name: str, values: list[Any]) -> Any:
    """Return values as an Arrow array: numbers beside text become text. Raises UsageError for other kinds."""
    import pyarrow as pa

    try:
        return pa.array(values)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError) as error:
        if not all(value is None or isinstance(value, str | int | float | Decimal) for value in values):
            raise UsageError(f"column {name} holds values of different kinds: {error}") from error
        return pa.array([None if value is None else str(value) for value in values])
