"""Rows in batches of columns, from whatever holds them; at most so many rows are in memory at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc

from manifests.campaign import Campaign
from manifests.columnar.arrow import Numbers, mask_array, same_text, text_scalar, texts_of
from manifests.columnar.texts import Texts, text_array
from manifests.expand import factor_of
from manifests.readers.parquet import ParquetFile, value_text
from manifests.table import Row, Table

BATCH_ROWS = 1 << 16


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows of one file and one header. `columns` holds Arrow arrays of any type, by our names.

    `rows` are numbers as Problem counts them. `unwritable` holds rows that are no text at all (lone
    surrogates, which JSON can spell): Arrow cannot hold them, and they are read one by one.
    """

    file: str
    folder: Path
    rows: Numbers
    columns: Mapping[str, Any]
    unwritable: tuple[Row, ...] = field(default=())

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def header(self) -> tuple[str, ...]:
        """The columns' names, in order."""
        return tuple(self.columns)

    def row(self, at: int) -> Row:
        """Return one row as the reader of single rows takes it."""
        cells = {name: value_text(column[at].as_py()) for name, column in self.columns.items()}
        return Row(self.file, self.folder, int(self.rows[at]), cells)


def batches_of_parquet(file: ParquetFile, campaign: Campaign) -> Iterator[Batch]:
    """Read a Parquet file piece by piece, with the campaign's defaults."""
    number = 1
    for piece in file.batches(_source_rows(campaign)):
        columns = dict(zip(file.columns, piece.columns, strict=True))
        rows = np.arange(number, number + piece.num_rows, dtype=np.int64)
        number += piece.num_rows
        yield Batch(file.file, file.folder, rows, _prepared(columns, len(rows), campaign))


def batches_of_table(table: Table, campaign: Campaign) -> Iterator[Batch]:
    """Cut a table that was read whole, with the campaign's defaults."""
    at_once = _source_rows(campaign)
    for start in range(0, table.count, at_once):
        numbers = np.array(table.numbers[start : start + at_once], np.int64)
        cells = zip(*table.cells[start : start + at_once], strict=True)
        columns = dict(zip(table.columns, map(texts_of, cells), strict=True))
        yield Batch(table.file, table.folder, numbers, _prepared(columns, len(numbers), campaign))


def _source_rows(campaign: Campaign) -> int:
    """How many rows become a batch when they are expanded."""
    return max(1, BATCH_ROWS // factor_of(campaign))


def batch_of_rows(file: str, folder: Path, rows: list[Row], names: tuple[str, ...]) -> Batch:
    """Make columns of rows that have the same header."""
    try:
        columns = _columns(rows, names)
        unwritable: tuple[Row, ...] = ()
    except UnicodeEncodeError:
        unwritable = tuple(row for row in rows if not _is_writable(row))
        rows = [row for row in rows if _is_writable(row)]
        columns = _columns(rows, names)
    numbers = np.fromiter((row.row for row in rows), np.int64, len(rows))
    return Batch(file, folder, numbers, columns, unwritable)


def _columns(rows: list[Row], names: tuple[str, ...]) -> dict[str, Any]:
    return {name: texts_of([row.cells.get(name, "") for row in rows]) for name in names}


def _is_writable(row: Row) -> bool:
    try:
        "".join(row.cells.values()).encode()
    except UnicodeEncodeError:
        return False
    return True


def _prepared(columns: Mapping[str, Any], count: int, campaign: Campaign) -> dict[str, Any]:
    """Fill columns that are absent or empty with the campaign's defaults."""
    ready = dict(columns)
    for name, value in campaign.defaults.items():
        ready[name] = _filled(ready[name], value) if name in ready else same_text(value, count)
    return ready


def _filled(column: Any, value: str) -> Any:
    texts = text_array(column)
    blank = Texts.of(texts).stripped().lengths == 0
    return pc.if_else(mask_array(blank), text_scalar(value), texts) if blank.any() else column
