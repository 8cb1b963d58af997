"""Rows in memory as a manifest: a Parquet file in a temporary folder."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from callsheet.errors import UsageError


def written_rows(rows: Any, name: str) -> Path:
    """Write a pyarrow Table, a DataFrame or mappings to `<name>.parquet` in a folder of its own.

    The folder is the caller's to remove. Raises UsageError for rows that are no table.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        if isinstance(rows, pa.Table):
            table = rows
        elif hasattr(rows, "to_parquet"):
            table = pa.Table.from_pandas(rows, preserve_index=False)
        else:
            names = dict.fromkeys(name for row in rows for name in row)
            table = pa.table({name: [row.get(name) for row in rows] for name in names})
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise UsageError(f"the rows are no table: {error}") from error
    path = Path(tempfile.mkdtemp(prefix="callsheet-")) / f"{name}.parquet"
    pq.write_table(table, path)
    return path
