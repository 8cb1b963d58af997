"""Rows in batches of columns, from whatever holds them; at most so many rows are in memory at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from callsheet.errors import Problem
from manifests.campaign import Campaign
from manifests.columnar.arrow import (
    Mask,
    Numbers,
    Texts,
    coded,
    coded_text,
    mask_array,
    number_array,
    numbers_of,
    rows_of,
    same_text,
    text_array,
    text_scalar,
    texts_of,
)
from manifests.columnar.check import rows_by_cell
from manifests.columnar.combos import DECISIVE
from manifests.expand import NAMING, OVERRIDDEN, combinations_of, combined, factor_of, overridden, suffix_of
from manifests.parse_cells import whole_number
from manifests.problems import Problems
from manifests.readers.parquet import ParquetFile, value_text
from manifests.table import Row, Table, printable, shown
from manifests.template import RENDERED_MAX_CHARS, BadTemplate, Template

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

    @property
    def changes_rows(self) -> bool:
        """Whether there is anything to expand."""
        return bool(self._campaign.templates) or factor_of(self._campaign) > 1

    def expand(self, batch: Batch, notes: Problems) -> Batch:
        """Return all jobs of a batch, row by row; a row whose template cannot be filled is left out."""
        if not self.changes_rows:
            return batch
        if batch.unwritable:
            return self._row_by_row(batch, notes)
        self._warn_of_overridden(batch, notes)
        factor = len(self._suffixes)
        sources = np.repeat(np.arange(len(batch)), factor)
        which = np.tile(np.arange(factor), len(batch))
        columns = {name: _repeated(name, column, sources) for name, column in batch.columns.items()}
        columns |= self._combined(which)
        for name in NAMING:
            if name in columns and any(self._suffixes):
                columns[name] = _told_apart(columns[name], coded_text(which, self._suffixes))
        if self._campaign.takes > 1:
            columns |= _take_columns(columns, which % self._campaign.takes + 1)
        expanded = Batch(batch.file, batch.folder, batch.rows[sources], columns)
        return self._filled(expanded, notes)

    def _combined(self, which: Numbers) -> dict[str, Any]:
        """Return the matrix's columns."""
        places = which // self._campaign.takes
        return {
            name: coded_text(places, [combination[name] for combination in self._combinations])
            for name in self._campaign.matrix
        }

    def _row_by_row(self, batch: Batch, notes: Problems) -> Batch:
        rows = [*batch.unwritable, *(batch.row(at) for at in range(len(batch)))]
        rows.sort(key=lambda row: row.row)
        made = [each for row in rows for each in combined(self._campaign, row, self._combinations, notes)]
        names = tuple(made[0].cells) if made else batch.header
        return batch_of_rows(batch.file, batch.folder, made, names)

    def _warn_of_overridden(self, batch: Batch, notes: Problems) -> None:
        for name in overridden(self._campaign):
            if name not in batch.columns:
                continue
            texts = Texts.of(text_array(batch.columns[name])).stripped()
            for cell, rows in rows_by_cell(texts.array, np.flatnonzero(texts.lengths > 0)):
                first = int(batch.rows[rows[0]])
                warning = Problem(batch.file, first, shown(name), shown(cell), printable(OVERRIDDEN))
                notes.add_warning(warning, len(rows))

    def _filled(self, batch: Batch, notes: Problems) -> Batch:
        """Write every template's column, and leave out the rows where one cannot be filled."""
        filled = np.ones(len(batch), bool)
        columns = dict(batch.columns)
        for name, template in self._campaign.templates.items():
            columns[name], unfilled = _rendered(template, batch.columns, len(batch))
            filled &= ~unfilled
        if filled.all():
            return Batch(batch.file, batch.folder, batch.rows, columns)
        for at in np.flatnonzero(~filled).tolist():
            _explain(self._campaign.templates, batch.row(at), notes)
        kept = np.flatnonzero(filled)
        taken = {name: rows_of(column, kept) for name, column in columns.items()}
        return Batch(batch.file, batch.folder, batch.rows[kept], taken)


def _repeated(name: str, column: Any, sources: Numbers) -> Any:
    """Repeat every cell; text is kept once, and its places are repeated."""
    if pa.types.is_integer(column.type) or pa.types.is_boolean(column.type):
        return rows_of(column, sources)
    if name in DECISIVE:
        return rows_of(coded(text_array(column)), sources)
    indices = number_array(sources.astype(np.int32))
    return pa.DictionaryArray.from_arrays(indices, text_array(column), safe=False)


def _told_apart(names: Any, suffixes: Any) -> Any:
    """Add to the names that rows bring what tells their jobs apart."""
    texts = text_array(names)
    bare = Texts.of(texts).stripped()
    ends = text_array(suffixes)
    made = pc.binary_join_element_wise(
        pc.replace_substring_regex(bare.array, r"\.mp4$", ""), ends, text_scalar("")
    )
    changed = (bare.lengths > 0) & (Texts.of(ends).lengths > 0)
    return made if changed.all() else pc.if_else(mask_array(changed), made, texts)


def _take_columns(columns: Mapping[str, Any], takes: Numbers) -> dict[str, Any]:
    """Number the takes; a seed that a row gives counts up with them."""
    made = {"take": number_array(takes)}
    if "seed" not in columns:
        return made
    encoded = coded(columns["seed"])
    seeds = [whole_number(text.strip()) for text in text_array(encoded.dictionary).to_pylist()]
    of_words = np.array([-1 if seed is None else seed for seed in seeds], np.int64)
    first = of_words[numbers_of(encoded.indices)]
    counted = number_array(first + takes - 1)
    given = first >= 0
    if given.all():
        return {**made, "seed": counted}
    kept = text_array(columns["seed"])
    return {**made, "seed": pc.if_else(mask_array(given), counted.cast(pa.string()), kept)}


def _rendered(template: Template, columns: Mapping[str, Any], count: int) -> tuple[Any, Mask]:
    """Fill a template for every row; the mask says where that is not possible."""
    stripped = {name: Texts.of(text_array(columns[name])).stripped() for name in template.columns}
    unfilled = np.zeros(count, bool)
    for texts in stripped.values():
        unfilled |= texts.lengths == 0
    parts: list[Any] = [text_scalar(part) for part in template.parts]
    parts[1::2] = [stripped[name].array for name in template.parts[1::2]]
    if not stripped:
        return same_text(template.parts[0], count), unfilled
    joined = pc.binary_join_element_wise(*parts, text_scalar(""))
    return joined, unfilled | Texts.of(joined).longer_than(RENDERED_MAX_CHARS)


def _explain(templates: Mapping[str, Template], row: Row, notes: Problems) -> None:
    for name, template in templates.items():
        try:
            template.render(row.cells)
        except BadTemplate as error:
            notes.wrong(row, name, str(error), found="")
