"""Columns that are read by themselves: text, whole numbers and file names.

What passes here passes the one-row check; a cell that does not is given to that check for its message.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from callsheet.errors import Problem
from manifests import parse_cells
from manifests.columnar.arrow import (
    Mask,
    Numbers,
    chars,
    mask_of,
    matches,
    numbers_of,
    stripped,
    text_array,
    texts_of,
)
from manifests.columnar.expand import Batch, rows_by_cell
from manifests.columns import COLUMNS, Column, FileName, Text, Whole
from manifests.names import DEVICE_NAME, PART_MAX_CHARS, SAFE_NAME, is_safe
from manifests.parse_cells import Context, Reading, read_cell
from manifests.plan_hash import NO_SEED
from manifests.problems import Problems
from manifests.table import Row

_PLAIN_NUMBER = r"^-?[0-9]{1,12}$"


@dataclass(frozen=True, slots=True)
class Found:
    """A mistake that rows of a batch share: which rows, each one's cell as it is shown, and the words.

    `order` is where it stands among a row's own.
    """

    rows: Numbers
    cells: Sequence[str]
    order: int
    column: str
    message: str

    @classmethod
    def of(cls, rows: Numbers, order: int, problem: Problem) -> Found:
        """Return what is wrong with these rows in one way, with the same cell."""
        return cls(rows, [problem.found] * len(rows), order, problem.column, problem.message)


class OwnCells:
    """Reads the columns of one batch that are read by themselves: text, whole numbers and file names."""

    def __init__(self, batch: Batch, context: Context) -> None:
        self._batch, self._context = batch, context
        self.found: list[Found] = []

    def texts(self, column: Column) -> Any:
        """Return a text column, its cells stripped; None where the batch has no such column."""
        assert isinstance(column.kind, Text)
        if column.name not in self._batch.columns:
            return None
        texts = stripped(text_array(self._batch.columns[column.name]))
        lengths = chars(texts)
        wrong = lengths > column.kind.max_chars
        if column.required:
            wrong |= lengths == 0
        if not column.kind.lines:
            wrong |= _unprintable(texts)
        odd = parse_cells.ODD_PROMPT if column.required else parse_cells.ODD_TEXT
        wrong |= matches(texts, f"^{odd}$")
        self._explain(column, np.flatnonzero(wrong))
        return texts

    def numbers(self, column: Column) -> Numbers:
        """Return a column of whole numbers; what says nothing is the default, or `NO_SEED` without one."""
        assert isinstance(column.kind, Whole)
        nothing = NO_SEED if column.kind.default is None else column.kind.default
        if column.name not in self._batch.columns:
            return np.full(len(self._batch), nothing, np.int64)
        values, unsaid = _whole_numbers(self._batch.columns[column.name])
        wrong = ((values < column.kind.low) | (values > column.kind.high)) & ~unsaid
        self._explain(column, np.flatnonzero(wrong))
        if column.kind.same_as_empty is not None:
            unsaid |= values == column.kind.same_as_empty
        return np.where(unsaid | wrong, nothing, values)

    def names(self, column: Column) -> Any:
        """Return a column of file names without suffix; None where the batch has no such column."""
        assert isinstance(column.kind, FileName)
        if column.name not in self._batch.columns:
            return None
        names = pc.replace_substring_regex(
            stripped(text_array(self._batch.columns[column.name])), r"\.mp4$", ""
        )
        doubtful = np.flatnonzero(~is_plain_name(names) & (chars(names) > 0))
        unsafe = [at for at in doubtful.tolist() if not is_safe(names[at].as_py())]
        self._explain(column, unsafe)
        return names

    def _explain(self, column: Column, rows: Iterable[int]) -> None:
        order, places = COLUMNS.index(column), np.array(list(rows), np.int64)
        for cell, alike in rows_by_cell(self._batch.columns[column.name], places):
            notes = Problems()
            row = Row(self._batch.file, self._batch.folder, 0, {column.name: cell})
            read_cell(Reading(row, self._context, notes, ()), column)
            self.found += [Found.of(alike, order, problem) for problem in notes.problems()]


def _whole_numbers(array: Any) -> tuple[Numbers, Mask]:
    """Read a column of any type; the mask says which cells are empty. What is no number is out of bounds."""
    if pa.types.is_integer(array.type):
        return numbers_of(array), mask_of(array.is_null())
    texts = stripped(text_array(array))
    plain, empty = matches(texts, _PLAIN_NUMBER), mask_of(pc.equal(texts, ""))
    values = numbers_of(pc.if_else(pa.array(plain), texts, None).cast(pa.int64())).copy()
    for at in np.flatnonzero(~plain & ~empty).tolist():
        number = parse_cells.whole_number(texts[at].as_py())
        values[at] = np.iinfo(np.int64).min if number is None else number
    return values, empty


def _unprintable(texts: Any) -> Mask:
    """Say which texts hold a character that Python does not call printable."""
    suspect = matches(texts, r"[^ -~]")
    for at in np.flatnonzero(suspect).tolist():
        suspect[at] = not texts[at].as_py().isprintable()
    return suspect


def is_plain_name(names: Any) -> Mask:
    """Say which texts are safe names of one part that nothing need be changed in; others may be safe too."""
    plain: Mask = matches(names, SAFE_NAME) & ~matches(names, DEVICE_NAME) & (chars(names) <= PART_MAX_CHARS)
    return plain


def composed(texts: Any) -> Any:
    """Return text in its composed form (NFC): two ways to write one letter are one text."""
    if pc.all(pc.string_is_ascii(texts)).as_py():
        return texts
    return texts_of([unicodedata.normalize("NFC", text) for text in texts.to_pylist()])


def plain_prompts(texts: Any) -> Any:
    """Return prompts as they are sent and known (`manifests.job.plain_prompt`)."""
    if pc.any(pc.match_substring(texts, "\r")).as_py():
        texts = pc.replace_substring_regex(texts, "\r\n?", "\n")
    return composed(texts)
