"""Rows in batches of columns, from whatever holds them, with the campaign's defaults, matrix and templates.

What `manifests.expand` does to one row is done to columns here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from callsheet.errors import Problem
from manifests.campaign import RENDERED_MAX_CHARS, Campaign, Template
from manifests.columnar.arrow import (
    Mask,
    Numbers,
    chars,
    coded,
    coded_text,
    mask_of,
    numbers_of,
    rows_by_place,
    rows_of,
    same_text,
    stripped,
    text_array,
    texts_of,
)
from manifests.expand import NAMING, OVERRIDDEN, combinations_of, factor_of, fill, overridden, suffix_of
from manifests.names import SUFFIX
from manifests.problems import Problems
from manifests.readers.parquet import Manifest, ParquetFile, value_text
from manifests.spellings import whole_number
from manifests.table import Row, Table, printable, shown

BATCH_ROWS = 1 << 16


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows of one file and one header. `columns` holds Arrow arrays of any type, by our names.

    `rows` are numbers as Problem counts them.
    """

    file: str
    folder: Path
    rows: Numbers
    columns: Mapping[str, Any]

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def header(self) -> tuple[str, ...]:
        """The columns' names, in order."""
        return tuple(self.columns)

    def only(self, places: Numbers) -> Batch:
        """Return the rows at these places, which are in ascending order."""
        columns = {name: rows_of(column, places) for name, column in self.columns.items()}
        return Batch(self.file, self.folder, self.rows[places], columns)

    def row(self, at: int) -> Row:
        """Return one row as the reader of single rows takes it."""
        cells = {name: value_text(column[at].as_py()) for name, column in self.columns.items()}
        return Row(self.file, self.folder, int(self.rows[at]), cells)


def batches_of(manifest: Manifest, campaign: Campaign) -> Iterator[Batch]:
    """Cut a manifest into batches, with the campaign's defaults. Raises Damaged for bad Parquet."""
    at_once = max(1, BATCH_ROWS // factor_of(campaign))  # so many rows become a batch when they are expanded
    pieces = _of_table(manifest, at_once) if isinstance(manifest, Table) else _of_parquet(manifest, at_once)
    for rows, columns in pieces:
        yield Batch(manifest.file, manifest.folder, rows, _with_defaults(columns, len(rows), campaign))


def _of_parquet(file: ParquetFile, at_once: int) -> Iterator[tuple[Numbers, dict[str, Any]]]:
    number = 1
    for piece in file.batches(at_once):
        rows = np.arange(number, number + piece.num_rows, dtype=np.int64)
        number += piece.num_rows
        yield rows, dict(zip(file.columns, piece.columns, strict=True))


def _of_table(table: Table, at_once: int) -> Iterator[tuple[Numbers, dict[str, Any]]]:
    for start in range(0, table.count, at_once):
        cells = zip(*table.cells[start : start + at_once], strict=True)
        rows = np.array(table.numbers[start : start + at_once], np.int64)
        yield rows, dict(zip(table.columns, map(texts_of, cells), strict=True))


def _with_defaults(columns: Mapping[str, Any], count: int, campaign: Campaign) -> dict[str, Any]:
    """Fill columns that are absent or empty with the campaign's defaults."""
    ready = dict(columns)
    for name, value in campaign.defaults.items():
        if name in ready:
            texts = text_array(ready[name])
            blank = pc.equal(stripped(texts), "")
            ready[name] = pc.if_else(blank, value, texts) if pc.any(blank).as_py() else ready[name]
        else:
            ready[name] = same_text(value, count)
    return ready


class Expander:
    """Expands batches by a campaign's matrix, takes and templates. Mistakes go into the notes given."""

    def __init__(self, campaign: Campaign) -> None:
        self._campaign = campaign
        self._combinations = combinations_of(campaign)
        self._suffixes = [
            suffix_of(combination, take)
            for combination in self._combinations
            for take in range(1, campaign.takes + 1)
        ]

    def expand(self, batch: Batch, notes: Problems) -> Batch:
        """Return all jobs of a batch, row by row; a row whose template cannot be filled is left out."""
        factor = len(self._suffixes)
        if factor > 1 or self._campaign.matrix:
            self._warn_of_overridden(batch, notes)
            batch = self._multiplied(batch, factor)
        return self._filled(batch, notes) if self._campaign.templates else batch

    def _multiplied(self, batch: Batch, factor: int) -> Batch:
        """Return every row as often as there are combinations and takes."""
        takes = self._campaign.takes
        sources = np.repeat(np.arange(len(batch)), factor)
        which = np.tile(np.arange(factor), len(batch))
        columns = {name: rows_of(_kept_once(column), sources) for name, column in batch.columns.items()}
        columns |= {
            name: coded_text(which // takes, [combination[name] for combination in self._combinations])
            for name in self._campaign.matrix
        }
        for name in NAMING:
            if name in columns and any(self._suffixes):
                columns[name] = _told_apart(columns[name], coded_text(which, self._suffixes))
        if takes > 1:
            columns |= _take_columns(columns, which % takes + 1)
        return Batch(batch.file, batch.folder, batch.rows[sources], columns)

    def _warn_of_overridden(self, batch: Batch, notes: Problems) -> None:
        for name in overridden(self._campaign):
            if name not in batch.columns:
                continue
            texts = stripped(text_array(batch.columns[name]))
            for cell, rows in rows_by_cell(texts, np.flatnonzero(chars(texts))):
                first = int(batch.rows[rows[0]])
                warning = Problem(batch.file, first, shown(name), shown(cell), printable(OVERRIDDEN))
                notes.add_warning(warning, len(rows))

    def _filled(self, batch: Batch, notes: Problems) -> Batch:
        """Write every template's column, and leave out the rows where one cannot be filled."""
        unfilled = np.zeros(len(batch), bool)
        columns = dict(batch.columns)
        for name, template in self._campaign.templates.items():
            columns[name], missing = _rendered(template, batch.columns, len(batch))
            unfilled |= missing
        for at in np.flatnonzero(unfilled).tolist():
            row = batch.row(at)
            fill(self._campaign.templates, row, dict(row.cells), notes)
        return Batch(batch.file, batch.folder, batch.rows, columns).only(np.flatnonzero(~unfilled))


def rows_by_cell(column: Any, rows: Numbers) -> Iterator[tuple[str, Numbers]]:
    """Yield each distinct text that these rows have in a column, with the rows that have it."""
    encoded = text_array(rows_of(column, rows)).dictionary_encode()
    words = encoded.dictionary.to_pylist()
    for place, alike in rows_by_place(numbers_of(encoded.indices), range(len(words))):
        yield words[place], rows[alike]


def _kept_once(column: Any) -> Any:
    """Return text as words and places: however often a cell is repeated, it is in memory once."""
    is_small = pa.types.is_integer(column.type) or pa.types.is_boolean(column.type)
    return column if is_small else coded(text_array(column))


def _told_apart(names: Any, suffixes: Any) -> Any:
    """Add to the names that rows bring what tells their jobs apart."""
    texts, ends = text_array(names), text_array(suffixes)
    bare = stripped(texts)
    made = pc.binary_join_element_wise(pc.replace_substring_regex(bare, SUFFIX, ""), ends, "")
    return pc.if_else(pc.and_(pc.not_equal(bare, ""), pc.not_equal(ends, "")), made, texts)


def _take_columns(columns: Mapping[str, Any], takes: Numbers) -> dict[str, Any]:
    """Number the takes; a seed that a row gives counts up with them."""
    made = {"take": pa.array(takes)}
    if "seed" not in columns:
        return made
    encoded = coded(columns["seed"])
    seeds = [whole_number(text.strip()) for text in text_array(encoded.dictionary).to_pylist()]
    of_words = np.array([-1 if seed is None else seed for seed in seeds], np.int64)
    first = of_words[numbers_of(encoded.indices)]
    counted = pa.array(first + takes - 1).cast(pa.string())
    return {**made, "seed": pc.if_else(pa.array(first >= 0), counted, text_array(columns["seed"]))}


def _rendered(template: Template, columns: Mapping[str, Any], count: int) -> tuple[Any, Mask]:
    """Fill a template for every row; the mask says where that is not possible."""
    unfilled = np.zeros(count, bool)
    if not template.columns:
        return same_text(template.parts[0], count), unfilled
    cells = {name: stripped(text_array(columns[name])) for name in template.columns}
    for texts in cells.values():
        unfilled |= mask_of(pc.equal(texts, ""))
    parts: list[Any] = list(template.parts)
    parts[1::2] = [cells[name] for name in template.parts[1::2]]
    joined = pc.binary_join_element_wise(*parts, "")
    return joined, unfilled | (chars(joined) > RENDERED_MAX_CHARS)
