"""Cells that are read by themselves: text, whole numbers and file names, a column at a time.

What passes here passes the one-row reader; a cell that does not is given to that reader for its message.
"""

from __future__ import annotations

import string
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from callsheet.errors import Problem
from manifests import parse_cells
from manifests.columnar.arrow import Mask, Numbers, mask_array, mask_of, numbers_of, rows_of, texts_of
from manifests.columnar.batches import Batch
from manifests.columnar.texts import Texts, text_array
from manifests.columns import COLUMNS, Column, FileName, Text, Whole
from manifests.names import DEVICE_NAME, PART_MAX_CHARS, SAFE_NAME, is_safe
from manifests.parse_cells import Context, Reading, read_cell
from manifests.problems import Problems
from manifests.table import Row

NO_SEED = -1


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
    """Reads the columns of one batch that are read by themselves."""

    def __init__(self, batch: Batch, context: Context) -> None:
        self._batch, self._context = batch, context
        self.found: list[Found] = []

    def texts(self, column: Column) -> Texts | None:
        """Return a text column, its cells stripped; None where the batch has no such column."""
        assert isinstance(column.kind, Text)
        if column.name not in self._batch.columns:
            return None
        texts = Texts.of(text_array(self._batch.columns[column.name])).stripped()
        wrong = texts.longer_than(column.kind.max_chars)
        if column.required:
            wrong |= texts.lengths == 0
        if not column.kind.lines:
            wrong |= texts.unprintable()
        odd = parse_cells.ODD_PROMPT if column.required else parse_cells.ODD_TEXT
        wrong |= mask_of(pc.match_substring_regex(texts.array, f"^{odd}$"))
        self._explain(column, np.flatnonzero(wrong))
        return texts

    def numbers(self, column: Column) -> Numbers:
        """Return a column of whole numbers; what says nothing is the default, or `NO_SEED` without one."""
        assert isinstance(column.kind, Whole)
        nothing = NO_SEED if column.kind.default is None else column.kind.default
        if column.name not in self._batch.columns:
            return np.full(len(self._batch), nothing, np.int64)
        values, wrong = _whole_numbers(self._batch.columns[column.name], column.kind, nothing)
        self._explain(column, np.flatnonzero(wrong))
        return values

    def names(self, column: Column) -> Texts | None:
        """Return a column of file names without suffix."""
        assert isinstance(column.kind, FileName)
        if column.name not in self._batch.columns:
            return None
        texts = Texts.of(text_array(self._batch.columns[column.name])).stripped()
        if not len(texts.data):
            return texts
        cut = pc.replace_substring_regex(texts.array, r"\.mp4$", "")
        safe = is_plain_name(cut)
        plain = cut.to_pylist() if not safe.all() else []
        unsafe = [at for at in np.flatnonzero(~safe).tolist() if plain[at] and not is_safe(plain[at])]
        self._explain(column, unsafe)
        return Texts.of(cut)

    def _explain(self, column: Column, rows: Iterable[int]) -> None:
        order, places = COLUMNS.index(column), np.array(list(rows), np.int64)
        for cell, alike in rows_by_cell(self._batch.columns[column.name], places):
            notes = Problems()
            row = Row(self._batch.file, self._batch.folder, 0, {column.name: cell})
            read_cell(Reading(row, self._context, notes, ()), column)
            self.found += [Found.of(alike, order, problem) for problem in notes.problems()]


def rows_by_cell(column: Any, rows: Numbers) -> Iterator[tuple[str, Numbers]]:
    """Yield each distinct text that these rows have in a column, with the rows that have it."""
    if not len(rows):
        return
    encoded = text_array(rows_of(column, rows)).dictionary_encode()
    places = numbers_of(encoded.indices)
    ends = np.cumsum(np.bincount(places))
    alike = np.split(rows[np.argsort(places, kind="stable")], ends[:-1])
    yield from zip(encoded.dictionary.to_pylist(), alike, strict=True)


def _whole_numbers(array: Any, kind: Whole, nothing: int) -> tuple[Numbers, Mask]:
    """Read a column of any type; the mask says which cells are no such number."""
    if pa.types.is_integer(array.type):
        return _in_bounds(array, kind, nothing)
    texts = Texts.of(text_array(array)).stripped()
    simple = mask_of(pc.match_substring_regex(texts.array, r"^-?[0-9]+$")) & (texts.lengths <= _PLAIN_DIGITS)
    empty = texts.lengths == 0
    readable = texts.array
    if not simple.all():
        readable = pc.if_else(mask_array(simple), texts.array, pa.nulls(1, pa.string())[0])
    values, wrong = _in_bounds(readable.cast(pa.int64()), kind, nothing)
    for at in np.flatnonzero(~simple & ~empty):
        number = parse_cells.whole_number(texts.array[int(at)].as_py())
        if number is None or not kind.low <= number <= kind.high:
            wrong[at] = True
        else:
            values[at] = nothing if number == kind.same_as_empty else number
    return values, wrong


_PLAIN_DIGITS = 12


def _in_bounds(array: Any, kind: Whole, nothing: int) -> tuple[Numbers, Mask]:
    values = numbers_of(array)
    wrong = (values < kind.low) | (values > kind.high)
    unsaid = np.zeros(len(values), bool)
    if array.null_count:
        unsaid = mask_of(array.is_null())
        wrong &= ~unsaid
    if kind.same_as_empty is not None:
        unsaid |= values == kind.same_as_empty
    values[unsaid | wrong] = nothing
    return values, wrong


def is_plain_name(array: Any) -> Mask:
    """Say which texts are safe names of one part that nothing need be changed in; others may be safe too."""
    texts = Texts.of(array)
    lengths = texts.lengths
    plain: Mask = (lengths > 0) & (lengths <= PART_MAX_CHARS)
    if plain.all() and not texts.data.tobytes().translate(None, _IN_NAMES):
        plain &= _AT_ENDS[texts.data[texts.offsets[:-1]]]
        plain &= _AT_ENDS[texts.data[texts.offsets[1:] - 1]]
    else:
        plain &= mask_of(pc.match_substring_regex(array, SAFE_NAME))
    doubtful = _like_devices(texts, np.flatnonzero(plain & (lengths >= _DEVICE_CHARS_MIN)))
    if len(doubtful):
        plain[doubtful] = ~mask_of(pc.match_substring_regex(rows_of(array, doubtful), DEVICE_NAME))
    return plain


def _like_devices(texts: Texts, rows: Numbers) -> Numbers:
    """Return those of the rows, of at least three bytes each, that begin as the name of a device does."""
    for at, letters in enumerate(_DEVICE_LETTERS):
        rows = rows[letters[texts.data[texts.offsets[rows] + at]]]
    return rows


def _bytes_in(chars: str) -> Mask:
    found = np.zeros(256, bool)
    found[np.frombuffer(chars.encode(), np.uint8)] = True
    return found


_IN_NAMES = f"{string.ascii_letters}{string.digits}_.-".encode()
_AT_ENDS = _bytes_in(f"{string.ascii_letters}{string.digits}_")
_DEVICE_CHARS_MIN = 3
_DEVICE_LETTERS = tuple(map(_bytes_in, ("CPANLcpanl", "ORUPorup", "NXLMTnxlmt")))
"""The first, second and third letters of CON, PRN, AUX, NUL, COM and LPT."""


def composed(texts: Texts) -> Texts:
    """Return text in its composed form (NFC): two ways to write one letter are one name."""
    if texts.is_ascii:
        return texts
    return Texts.of(texts_of([unicodedata.normalize("NFC", text) for text in texts.array.to_pylist()]))


def plain_prompts(texts: Any) -> Any:
    """Return prompts as they are sent and known (`manifests.job.plain_prompt`)."""
    if pc.any(pc.match_substring(texts, "\r")).as_py():
        texts = pc.replace_substring_regex(texts, "\r\n?", "\n")
    return texts if pc.all(pc.string_is_ascii(texts)).as_py() else pc.utf8_normalize(texts, form="NFC")
