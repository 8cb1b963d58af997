"""Every combination and take of very many rows: what `manifests.expand` does to one row, done to columns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from callsheet.errors import Problem
from manifests.campaign import Campaign
from manifests.columnar.arrow import (
    Mask,
    Numbers,
    coded,
    coded_text,
    mask_array,
    number_array,
    numbers_of,
    rows_of,
    same_text,
    text_scalar,
)
from manifests.columnar.batches import Batch, batch_of_rows
from manifests.columnar.cell_classes import DECISIVE
from manifests.columnar.own_cells import rows_by_cell
from manifests.columnar.texts import Texts, text_array
from manifests.expand import NAMING, OVERRIDDEN, combinations_of, combined, factor_of, overridden, suffix_of
from manifests.parse_cells import whole_number
from manifests.problems import Problems
from manifests.table import Row, printable, shown
from manifests.template import RENDERED_MAX_CHARS, BadTemplate, Template


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
