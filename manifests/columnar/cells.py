"""The columns of one batch, read by the one-row rules of `manifests.parse_cells`.

Columns that choose among few values are read by distinct cells. In text, whole numbers and file names, cells
that are right at a glance are found for all rows at once; each other distinct cell is read by those rules.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from callsheet.errors import Problem
from manifests import spellings
from manifests.addresses import INSIDE, NEXT_ADDRESS, SIGNED
from manifests.columnar.arrow import (
    Mask,
    Numbers,
    by_word,
    chars,
    coded,
    combinations,
    is_filled,
    mask_of,
    matches,
    numbers_of,
    rows_by_place,
    rows_of,
    stripped,
    text_array,
    texts_of,
)
from manifests.columnar.batches import Batch, rows_by_cell
from manifests.columns import COLUMNS, PICTURE_COLUMNS, Column, FileName, Text, Whole
from manifests.images import URL_MAX_CHARS
from manifests.names import DEVICE_NAME, PART_MAX_CHARS, SAFE_NAME, SUFFIX
from manifests.parse_cells import Context, Reading, read_cell
from manifests.plan_hash import NO_SEED
from manifests.plan_rows import EXTRA, MADE_NAME
from manifests.problems import Problems
from manifests.table import Row, shown
from manifests.validate import candidates
from pricing.catalog import Endpoint

_CONTROL = r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x{9f}]"
"""`manifests.table.UNPRINTABLE` for text that is valid UTF-8, which has no lone surrogates."""

_PLAIN_NUMBER = r"^-?[0-9]{1,12}$"

_PLAIN_ADDRESS = r"^https?://[A-Za-z0-9][A-Za-z0-9.-]*\.[A-Za-z]{2,}/[A-Za-z0-9._~!$&'()*+,;=:@%/?#-]*$"
"""An address that `manifests.images` takes as it is, if it is not too long; others are read one by one."""

_DOUBTFUL_ADDRESS = (
    rf"{SIGNED}|{NEXT_ADDRESS}|;(https?://|data:|$)|(?i)^https?://[^/]*({'|'.join(map(re.escape, INSIDE))})/"
)
"""What an address must not match to be plain: it may be signed, inside a network, or two addresses."""

_ANY_ADDRESS = "https://example.com/"
"""Stands for all plain addresses: whether a picture may be here does not depend on which one it is."""

_FIRST = -1
"""Where mistakes about the model stand among a row's own: before those of the columns, which need it."""


@dataclass(frozen=True, slots=True)
class Found:
    """A mistake or a warning of several rows; `order` is where it stands among a row's own."""

    rows: Numbers
    order: int
    problem: Problem


@dataclass(frozen=True, slots=True)
class DistinctCells:
    """A column read by distinct cells: row `at` is `texts[places[at]]`, which means `values[places[at]]`."""

    places: Numbers
    texts: Sequence[str]
    values: Sequence[Any]


@dataclass(frozen=True, slots=True)
class PictureCells:
    """A column of pictures: `texts` of every row, and what they mean where they are no plain addresses."""

    texts: Any
    cells: DistinctCells


def _is_blank(texts: Any) -> Mask:
    """Say which texts show nothing (`manifests.spellings.is_blank`)."""
    return matches(texts, spellings.BLANK)


class BatchReader:
    """Reads the columns of one batch; what is wrong gathers in `problems`, what is doubtful in `warnings`.

    `endpoints` are the distinct answers of `validate.candidates`, `groups` each row's place among them.
    """

    def __init__(self, batch: Batch, context: Context) -> None:
        self._batch, self._context = batch, context
        self.problems: list[Found] = []
        self.warnings: list[Found] = []
        self.endpoints: list[tuple[Endpoint, ...]] = []
        self.groups = self._groups()

    def _groups(self) -> Numbers:
        """Find every row's endpoints: they depend on the model, and on which pictures there are."""
        pictures = [name for name in PICTURE_COLUMNS if name in self._batch.columns]
        models, model_places = self._words("model")
        filled = [by_word(self._batch.columns[name], is_filled).astype(np.int64) for name in pictures]
        first, places = combinations([model_places, *filled], len(self._batch))
        groups: dict[tuple[Endpoint, ...], int] = {}
        of_first, wrong = [], {}
        for which, at in enumerate(first.tolist()):
            cells = {name: "x" if has[at] else "" for name, has in zip(pictures, filled, strict=True)}
            if "model" in self._batch.columns:
                cells["model"] = models[model_places[at]]
            notes = Problems()
            found = candidates(self._row(cells), self._context.catalog, notes)
            of_first.append(groups.setdefault(found, len(groups)))
            wrong[which] = notes
        self._note(wrong, places, _FIRST)
        self.endpoints = list(groups)
        return np.array(of_first, np.int64)[places]

    def cells(self, column: Column) -> DistinctCells:
        """Read a column by its distinct cells; what they mean may depend on the endpoint."""
        return self._read(column, *self._words(column.name))

    def pictures(self, column: Column) -> PictureCells | None:
        """Read a column of pictures; None where the batch has none."""
        if column.name not in self._batch.columns:
            return None
        texts = stripped(text_array(self._batch.columns[column.name]))
        encoded = pc.if_else(pa.array(is_plain_address(texts)), _ANY_ADDRESS, texts).dictionary_encode()
        cells = self._read(column, encoded.dictionary.to_pylist(), numbers_of(encoded.indices))
        return PictureCells(texts, cells)

    def text(self, column: Column) -> Any:
        """Return a text column, its cells stripped; None where the batch has no such column."""
        assert isinstance(column.kind, Text)
        if column.name not in self._batch.columns:
            return None
        kind, is_required = column.kind, column.required
        odd = spellings.ODD_PROMPT if is_required else spellings.ODD_TEXT

        def is_doubtful(texts: Any) -> Mask:
            texts = stripped(texts)
            lengths = chars(texts)
            doubtful = (lengths > kind.max_chars) | matches(texts, f"^{odd}$")
            if is_required:
                doubtful |= _is_blank(texts)
            return doubtful if kind.lines else doubtful | _unprintable(texts)

        cells = self._batch.columns[column.name]
        doubtful = by_word(cells, is_doubtful)
        if column.name == "prompt":
            doubtful &= ~self._needs_no_prompt(cells)
        self._explain(column, doubtful)
        return stripped(text_array(cells))

    def _needs_no_prompt(self, prompts: Any) -> Mask:
        """Say which rows have no prompt, and files that are enough for their model."""
        optional = [bool(each) and all(one.prompt_optional for one in each) for each in self.endpoints]
        found: Mask = np.array(optional, bool)[self.groups] & by_word(prompts, _is_blank)
        has_files = np.zeros(len(found), bool)
        for name in PICTURE_COLUMNS:
            if name in self._batch.columns and found.any():
                has_files |= by_word(self._batch.columns[name], is_filled)
        return found & has_files

    def numbers(self, column: Column) -> Numbers:
        """Return a column of whole numbers; what says nothing is the default, or `NO_SEED` without one."""
        assert isinstance(column.kind, Whole)
        nothing = NO_SEED if column.kind.default is None else column.kind.default
        if column.name not in self._batch.columns:
            return np.full(len(self._batch), nothing, np.int64)
        values, unsaid = _whole_numbers(self._batch.columns[column.name])
        wrong = ((values < column.kind.low) | (values > column.kind.high)) & ~unsaid
        self._explain(column, wrong)
        if column.kind.same_as_empty is not None:
            unsaid |= values == column.kind.same_as_empty
        if column.kind.where:
            for group, endpoints in enumerate(self.endpoints):
                if not any(getattr(endpoint, column.kind.where) for endpoint in endpoints):
                    self._explain(column, (self.groups == group) & ~unsaid & ~wrong, endpoints)
        return np.where(unsaid | wrong, nothing, values)

    def names(self, column: Column) -> Any:
        """Return a column of file names, composed and without suffix; None where the batch has none."""
        assert isinstance(column.kind, FileName)
        if column.name not in self._batch.columns:
            return None
        texts = stripped(text_array(self._batch.columns[column.name]))
        names = composed(pc.replace_substring_regex(texts, SUFFIX, ""))
        self._explain(column, ~is_plain_name(names) & (chars(names) > 0))
        return names

    def _words(self, name: str) -> tuple[list[str], Numbers]:
        """Return the distinct cells of a column, stripped, and each row's place among them."""
        if name not in self._batch.columns:
            return [""], np.zeros(len(self._batch), np.int64)
        encoded = coded(self._batch.columns[name])
        texts = [text.strip() for text in text_array(encoded.dictionary).to_pylist()]
        ranks = {text: at for at, text in enumerate(dict.fromkeys(texts))}
        return list(ranks), np.array([ranks[text] for text in texts], np.int64)[numbers_of(encoded.indices)]

    def _read(self, column: Column, texts: Sequence[str], places: Numbers) -> DistinctCells:
        first, pairs = combinations([self.groups, places], len(self._batch))
        found, values, noted = [], [], {}
        for which, at in enumerate(first.tolist()):
            text = texts[places[at]]
            value, noted[which] = self._read_one(column, text, self.endpoints[self.groups[at]])
            found.append(text)
            values.append(value)
        self._note(noted, pairs, COLUMNS.index(column))
        return DistinctCells(pairs, found, values)

    def _explain(self, column: Column, doubtful: Mask, endpoints: tuple[Endpoint, ...] = ()) -> None:
        """Read the cells of these rows by the one-row rules, each distinct one once."""
        rows = np.flatnonzero(doubtful)
        if not len(rows):
            return
        for text, alike in rows_by_cell(self._batch.columns[column.name], rows):
            _, notes = self._read_one(column, text, endpoints)
            self._note({0: notes}, np.zeros(len(alike), np.int64), COLUMNS.index(column), alike)

    def _read_one(self, column: Column, text: str, endpoints: tuple[Endpoint, ...]) -> tuple[Any, Problems]:
        notes = Problems()
        row = self._row({column.name: text} if column.name in self._batch.columns else {})
        return read_cell(Reading(row, self._context, notes, endpoints), column), notes

    def _row(self, cells: dict[str, str]) -> Row:
        return Row(self._batch.file, self._batch.folder, 0, cells)

    def _note(
        self, noted: dict[int, Problems], places: Numbers, order: int, rows: Numbers | None = None
    ) -> None:
        """Keep what was noted of each place, with the rows that have it."""
        noted = {place: notes for place, notes in noted.items() if notes.count or notes.counted_warnings()}
        for place, alike in rows_by_place(places, noted) if noted else ():
            these = alike if rows is None else rows[alike]
            self.problems += [Found(these, order, each) for each in noted[place].problems()]
            self.warnings += [Found(these, order, each) for each in noted[place].warnings()]


def written(batch: Batch, found: Sequence[Found]) -> list[Problem]:
    """Return every mistake of every row, in the rows' order; each names the row's own cell."""
    mistakes: list[tuple[int, int, str, Problem]] = []
    for each in found:
        cells = _shown_cells(batch, each.problem.column, each.rows)
        mistakes += [
            (at, each.order, cell, each.problem) for at, cell in zip(each.rows.tolist(), cells, strict=True)
        ]
    mistakes.sort(key=lambda mistake: mistake[:2])
    numbers = batch.rows.tolist()
    return [
        Problem(batch.file, numbers[at], problem.column, cell, problem.message)
        for at, _, cell, problem in mistakes
    ]


def _shown_cells(batch: Batch, column: str, rows: Numbers) -> list[str]:
    """Return these rows' cells as messages show them."""
    if column not in batch.columns:
        return [""] * len(rows)
    encoded = coded(rows_of(batch.columns[column], rows))
    words = [shown(text.strip()) for text in text_array(encoded.dictionary).to_pylist()]
    return [words[place] for place in encoded.indices.to_pylist()]


def _whole_numbers(array: Any) -> tuple[Numbers, Mask]:
    """Read a column of any type; the mask says which cells are empty. What is no number is out of bounds."""
    if pa.types.is_integer(array.type):
        return numbers_of(array), mask_of(array.is_null())
    texts = stripped(text_array(array))
    plain, empty = matches(texts, _PLAIN_NUMBER), mask_of(pc.equal(texts, ""))
    values = numbers_of(pc.if_else(pa.array(plain), texts, None).cast(pa.int64())).copy()
    for at in np.flatnonzero(~plain & ~empty).tolist():
        number = spellings.whole_number(texts[at].as_py())
        values[at] = np.iinfo(np.int64).min if number is None else number
    return values, empty


def has_controls(texts: Any) -> Mask:
    """Say which texts hold control characters (`manifests.table.UNPRINTABLE`)."""
    found = ~mask_of(pc.ascii_is_printable(texts))
    found[found] = matches(rows_of(texts, np.flatnonzero(found)), _CONTROL)
    return found


def _unprintable(texts: Any) -> Mask:
    """Say which texts hold a character that Python does not call printable."""
    suspect = ~mask_of(pc.ascii_is_printable(texts))
    for at in np.flatnonzero(suspect).tolist():
        suspect[at] = not texts[at].as_py().isprintable()
    return suspect


def is_plain_name(names: Any) -> Mask:
    """Say which texts are safe names of one part that nothing need be changed in; others may be safe too."""
    plain: Mask = matches(names, SAFE_NAME) & ~matches(names, DEVICE_NAME) & (chars(names) <= PART_MAX_CHARS)
    return plain


def is_plain_address(texts: Any) -> Mask:
    """Say which texts are one address that is taken as it is; others may be, too."""
    plain: Mask = matches(texts, _PLAIN_ADDRESS) & (chars(texts) <= URL_MAX_CHARS)
    return plain & ~matches(texts, _DOUBTFUL_ADDRESS)


def composed(texts: Any) -> Any:
    """Return text in its composed form (NFC): two ways to write one letter are one text."""
    if pc.all(pc.string_is_ascii(texts)).as_py():
        return texts
    return texts_of([unicodedata.normalize("NFC", text) for text in texts.to_pylist()])


def plain_prompts(texts: Any) -> Any:
    """Return prompts as they are sent and known (`manifests.job.plain_prompt`)."""
    if pc.all(pc.ascii_is_printable(texts)).as_py():
        return texts
    texts = pc.if_else(pc.match_substring_regex(texts, spellings.BLANK), "", texts)
    if pc.any(pc.match_substring(texts, "\r")).as_py():
        texts = pc.replace_substring_regex(texts, "\r\n?", "\n")
    return composed(texts)


_KEPT = ("prompt", "client", "output_name", "take", "priority", *PICTURE_COLUMNS)


def cells_table(batches: Iterable[pa.RecordBatch]) -> pa.Table:
    """Return every job's cells as text, in the order in which rows bring new columns, and its `custom_id`."""
    pieces = [_cells(batch) for batch in batches]
    names = dict.fromkeys(["custom_id", *(name for piece in pieces for name in piece)])
    schema = pa.schema([(name, pa.string()) for name in names])
    return pa.Table.from_batches(
        [
            pa.RecordBatch.from_arrays(
                [piece.get(name, _empty(len(piece["custom_id"]))) for name in names], schema=schema
            )
            for piece in pieces
        ],
        schema=schema,
    )


def _empty(count: int) -> pa.Array:
    return pa.repeat(pa.scalar("", pa.string()), count)


def _cells(batch: pa.RecordBatch) -> dict[str, pa.Array]:
    """Return the cells of a batch by column. What `given` holds is in words; most rows share one."""
    given = coded(batch["given"])
    words = [dict(json.loads(word)) for word in given.dictionary.to_pylist()]
    cells = {"custom_id": batch["custom_id"]}
    for name in dict.fromkeys(name for word in words for name in word):
        if name == "custom_id":
            continue
        written = texts_of([word.get(name) or "" for word in words]).take(given.indices)
        is_kept = pa.array([name in word and word[name] is None for word in words]).take(given.indices)
        cells[name] = pc.if_else(is_kept, _kept(batch, name), written) if pc.any(is_kept).as_py() else written
    return cells


def _kept(batch: pa.RecordBatch, name: str) -> pa.Array:
    """Return a column's cells that are kept in a column of the plan's rows."""
    if name == "seed":
        return pc.if_else(pc.equal(batch["seed"], NO_SEED), "", batch["seed"].cast(pa.string()))
    if name == "output_name":
        made = pa.array(matches(batch["made"], rf"\b{MADE_NAME}\b"))
        return pc.if_else(made, "", batch["output_name"])
    column = batch[name if name in _KEPT else f"{EXTRA}{name}"]
    return pc.fill_null(column.cast(pa.string()), "")
