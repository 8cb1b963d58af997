"""Parquet, of any column types: every value becomes the text a person would have typed."""

from __future__ import annotations

import datetime as dt
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from manifests.table import Flaw, Records, header_flaws

_ROWS_AT_ONCE = 1 << 14
CODED_FROM_ROWS = 1 << 14
CODED_BYTES_MAX = 3
"""A place takes two bytes at most where words are few; text by itself takes four for its length alone."""

_EXACT_FLOAT = 2.0**53
"""Below this a float that is whole is exactly the integer it looks like."""


@dataclass(frozen=True, slots=True)
class ParquetFile:
    """A Parquet file that is open and whose header can be used; its `count` rows are read when asked for."""

    file: str
    folder: Path
    columns: tuple[str, ...]
    count: int
    _reader: Any

    @classmethod
    def open(cls, path: Path, name: str = "", content: bytes | None = None) -> ParquetFile | Records:
        """Open a file, or its content; what stands in its way is returned as Records without rows.

        `name` is what messages call it.
        """
        import pyarrow as pa  # noqa: PLC0415  # a CSV manifest does not pay the 0.1 s of its import
        import pyarrow.parquet as pq  # noqa: PLC0415

        try:
            reader = pq.ParquetFile(path if content is None else pa.BufferReader(content), pre_buffer=False)
            names = reader.schema_arrow.names
            repeating = _repeating(reader)
            if content is None and repeating:
                reader = pq.ParquetFile(
                    path, read_dictionary=repeating, metadata=reader.metadata, pre_buffer=False
                )
        except (pa.ArrowException, OSError) as error:
            return Records((), (), (_not_whole(error),))
        columns = tuple(name.strip() for name in names)
        flaws = header_flaws(columns, 0)
        if flaws:
            return Records(columns, (), tuple(flaws))
        return cls(name or str(path), path.resolve().parent, columns, reader.metadata.num_rows, reader)

    def batches(self, rows: int) -> Iterator[Any]:
        """Yield Arrow record batches of at most so many rows. Raises Damaged where a page cannot be read."""
        import pyarrow as pa  # noqa: PLC0415

        try:
            yield from self._reader.iter_batches(batch_size=rows)
        except (pa.ArrowException, OSError) as error:
            raise Damaged(_not_whole(error)) from error

    def records(self) -> Records:
        """Read all rows as text. Missing values and NaN (pandas' word for them) become empty cells."""
        rows: list[tuple[int, dict[str, str]]] = []
        try:
            for batch in self.batches(_ROWS_AT_ONCE):
                texts = [[value_text(value) for value in column.to_pylist()] for column in batch.columns]
                found = (dict(zip(self.columns, cells, strict=True)) for cells in zip(*texts, strict=True))
                rows += enumerate(found, len(rows) + 1)
        except Damaged as error:
            return Records((), (), (error.flaw,))
        return Records(self.columns, tuple(rows))


def _repeating(reader: Any) -> list[str]:
    """Return the columns of text that the file keeps as few words and their places; so they are read.

    Such a column is cut where a row group ends, so that small groups are read as plain text.
    """
    import pyarrow as pa  # noqa: PLC0415

    metadata = reader.metadata
    if not metadata.num_row_groups or metadata.row_group(0).num_rows < min(
        CODED_FROM_ROWS, metadata.num_rows
    ):
        return []
    texts = {field.name for field in reader.schema_arrow if pa.types.is_string(field.type)}
    chunks = [metadata.row_group(0).column(at) for at in range(metadata.num_columns)]
    return [
        chunk.path_in_schema
        for chunk in chunks
        if chunk.path_in_schema in texts
        and chunk.has_dictionary_page
        and chunk.total_uncompressed_size < CODED_BYTES_MAX * chunk.num_values
    ]


def read_parquet(content: bytes) -> Records:
    """Read a Parquet file that is in memory."""
    opened = ParquetFile.open(Path(), content=content)
    return opened if isinstance(opened, Records) else opened.records()


class Damaged(Exception):
    """A file that opened well and then could not be read; `flaw` says why."""

    def __init__(self, flaw: Flaw) -> None:
        self.flaw = flaw
        super().__init__(flaw.message)


def _not_whole(error: Exception) -> Flaw:
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    return Flaw(0, "", "", f"this is not a whole Parquet file: {reason}")


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
