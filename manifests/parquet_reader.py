"""Parquet, of any column types: every value becomes the text a person would have typed."""

from __future__ import annotations

import datetime as dt
import json
import math
from decimal import Decimal
from typing import Any

from manifests.table import Flaw, Records, header_flaws

_EXACT_FLOAT = 2.0**53
"""Below this a float that is whole is exactly the integer it looks like."""


def read_parquet(content: bytes) -> Records:
    """Read a Parquet file. Missing values and NaN (pandas writes it for "missing") become empty cells."""
    import pyarrow as pa  # noqa: PLC0415  # a CSV manifest does not pay the 0.1 s of its import
    import pyarrow.parquet as pq  # noqa: PLC0415

    try:
        table = pq.ParquetFile(pa.BufferReader(content)).read()
    except (pa.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0]
        return Records((), (), (Flaw(0, "", "", f"this is not a whole Parquet file: {reason}"),))
    columns = tuple(name.strip() for name in table.column_names)
    flaws = header_flaws(columns, 0)
    if flaws:
        return Records(columns, (), tuple(flaws))
    texts = [[value_text(value) for value in column.to_pylist()] for column in table.columns]
    rows = (
        (number, dict(zip(columns, cells, strict=True)))
        for number, cells in enumerate(zip(*texts, strict=True), 1)
    )
    return Records(columns, tuple(rows))


def value_text(value: Any) -> str:
    """Write one value as the text a person would have typed: 5 for 5.0, true for True, "" for none."""
    if value is None or isinstance(value, str):
        return value or ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return _float_text(value)
    if isinstance(value, list):
        return "\n".join(value_text(item) for item in value)
    return _other_text(value)


def _float_text(value: float) -> str:
    if math.isnan(value):
        return ""
    return str(int(value)) if value.is_integer() and abs(value) < _EXACT_FLOAT else repr(value)


def _other_text(value: Any) -> str:
    if isinstance(value, Decimal):
        return f"{value:f}"
    if isinstance(value, dt.date | dt.time | dt.datetime):
        return value.isoformat()
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    if isinstance(value, dict):
        return json.dumps({key: value_text(item) for key, item in value.items()}, ensure_ascii=False)
    return str(value)
