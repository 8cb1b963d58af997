"""Cells that are read by themselves: text, whole numbers and file names, a column at a time.

What passes here passes the one-row reader; a cell that does not is given to that reader for its message.
"""

from __future__ import annotations

import string
import threading
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from callsheet.errors import Problem
from manifests import parse_cells
from manifests.columnar.arrow import (
    Mask,
    Numbers,
    Texts,
    coded,
    combinations,
    distinct,
    keys_of,
    mask_array,
    mask_of,
    number_array,
    numbers_of,
    rows_of,
    same_text,
    text_array,
    texts_of,
)
from manifests.columnar.combos import DECISIVE, DOUBTFUL_ADDRESS, PLAIN_ADDRESS, Looked, Setup, Setups
from manifests.columnar.expand import Batch
from manifests.columns import COLUMN, COLUMNS, Column, FileName, Pictures, Text, Whole
from manifests.images import URL_MAX_CHARS
from manifests.names import DEVICE_NAME, PART_MAX_CHARS, SAFE_NAME, is_safe
from manifests.parse_cells import Context, Reading, read_cell
from manifests.problems import Problems
from manifests.table import CELL_LIMIT_BYTES, Row, printable, shown
from manifests.validate import read_row, unknown_instructions, unlisted

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


_OPEN, _CLOSE = ord("["), ord("]")
_BYTES_MAX = 80 * 4


@dataclass(frozen=True, slots=True)
class CameraNote:
    """An instruction that Seedance does not list: where it first stands, and in how many rows."""

    instruction: str
    first: int
    count: int

    def warning(self, file: str, row: int) -> Problem:
        """Return the warning, as the one-row check words it."""
        return Problem(file, row, "prompt", shown(f"[{self.instruction}]"), printable(unlisted()))


def camera_notes(prompts: Texts, passed_over: Mask) -> list[CameraNote]:
    """Note every unknown instruction of the rows that are not passed over, in the order they are met."""
    rows, starts, lengths = _brackets(prompts)
    kept = ~passed_over[rows]
    rows, starts, lengths = rows[kept], starts[kept], lengths[kept]
    if not len(rows):
        return []
    # Instructions are few: coding their keys is quicker than sorting them.
    encoded = number_array(keys_of(prompts.data, starts, lengths)).dictionary_encode()
    _, example, which = distinct(numbers_of(encoded.indices), len(encoded.dictionary))
    met: dict[str, list[int]] = {}
    for group, at in enumerate(example):
        start = int(starts[at])
        text = prompts.data[start : start + int(lengths[at])].tobytes().decode()
        for instruction in unknown_instructions(f"[{text}]"):
            met.setdefault(instruction, []).append(group)
    noted = [_note(instruction, groups, which, rows) for instruction, groups in met.items()]
    return [note for _, note in sorted(noted, key=lambda each: each[0])]


def _note(
    instruction: str, groups: list[int], which: Numbers, rows: Numbers
) -> tuple[tuple[int, int], CameraNote]:
    places = np.flatnonzero(np.isin(which, groups))
    found = np.unique(rows[places])
    return (int(places[0]), groups[0]), CameraNote(instruction, int(found[0]), len(found))


def _brackets(prompts: Texts) -> tuple[Numbers, Numbers, Numbers]:
    """Return row, start and length of what stands between a `[` and the `]` that is the next bracket."""
    places = np.flatnonzero((prompts.data == _OPEN) | (prompts.data == _CLOSE))
    is_open = prompts.data[places] == _OPEN
    pair = np.flatnonzero(is_open[:-1] & ~is_open[1:])
    starts, ends = places[pair] + 1, places[pair + 1]
    lengths = ends - starts
    fits = (lengths > 0) & (lengths <= _BYTES_MAX)
    starts, ends, lengths = starts[fits], ends[fits], lengths[fits]
    rows = np.searchsorted(prompts.offsets, starts, side="right") - 1
    within = ends < prompts.offsets[rows + 1]
    return rows[within], starts[within], lengths[within]


_PICTURES = tuple(column.name for column in COLUMNS if isinstance(column.kind, Pictures))


@dataclass(frozen=True, slots=True)
class Warned:
    """A warning, of how many rows; `warning` names the first of them."""

    warning: Problem
    count: int


@dataclass(frozen=True, slots=True)
class Checked:
    """A batch after the check. `good` are the positions of rows that can be made; columns hold only those.

    `setups` are numbers of `Setups.all`; `numbers` holds seed (-1 for none), priority and take; `texts` the
    columns of text as they are used, `pictures` the cells of pictures and what was found in them.
    """

    batch: Batch
    good: Numbers
    setups: Numbers
    numbers: Mapping[str, Numbers]
    texts: Mapping[str, Any]
    pictures: Mapping[str, tuple[Any, Sequence[Looked | None]]]
    extra: Mapping[str, Any]
    problems: tuple[Problem, ...]
    warnings: tuple[Warned, ...]


class Checker:
    """Checks batches, several at a time if need be: what they share is behind a lock."""

    def __init__(self, setups: Setups) -> None:
        self._setups = setups
        self._lock = threading.Lock()

    def check(self, batch: Batch) -> Checked:
        """Check one batch."""
        own = OwnCells(batch, self._setups.context)
        texts = {name: own.texts(COLUMN[name]) for name in ("custom_id", "prompt", "client")}
        numbers = {name: own.numbers(COLUMN[name]) for name in ("seed", "priority", "take")}
        names = own.names(COLUMN["output_name"])
        rare = self._rare_rows(batch)
        looked, setups, of_rows = self._decide(batch)
        found = [*own.found, *_of_pictures(batch, looked)]
        bad = np.zeros(len(batch), bool)
        for each in found:
            bad[each.rows] = True
        bad |= np.array([setup.endpoint is None for setup in setups], bool)[of_rows]
        bad |= rare
        if texts["prompt"] is None:
            bad[:] = True
        # What is wrong with a combination is said before what is wrong with its pictures.
        problems = _in_row_order(batch, [*_of_setups(batch, setups, of_rows), *found], rare)
        problems += self._one_by_one(batch, rare)
        problems.sort(key=attrgetter("row"))
        good = np.flatnonzero(~bad)
        prompts = texts["prompt"]
        camera = camera_notes(prompts, bad) if prompts is not None else []
        numbers_of_setups = np.array([setup.number for setup in setups], np.int64)
        taken = {name: _taken(column, good) for name, column in texts.items()}
        taken["output_name"] = _taken(names, good)
        taken["prompt"] = plain_prompts(taken["prompt"])
        return Checked(
            batch=batch,
            good=good,
            setups=numbers_of_setups[_kept(of_rows, good)],
            numbers={name: _kept(values, good) for name, values in numbers.items()},
            texts=taken,
            pictures={name: _of_good(each, good) for name, each in looked.items()},
            extra={
                name: rows_of(text_array(column), good) if len(good) < len(batch) else text_array(column)
                for name, column in batch.columns.items()
                if name not in COLUMN
            },
            problems=tuple(problems),
            warnings=(
                *_doubts(batch, looked),
                *_warnings(batch, setups, of_rows, rare),
                *_camera(batch, camera),
            ),
        )

    def _rare_rows(self, batch: Batch) -> Mask:
        """Say which rows hold what has no place in a manifest; they are read one by one."""
        rare = np.zeros(len(batch), bool)
        for name, column in batch.columns.items():
            if pa.types.is_integer(column.type) or pa.types.is_boolean(column.type):
                continue
            texts = Texts.of(_distinct_text(column))
            control = texts.with_control_characters()
            if control is not None:
                rare |= _of_all_rows(column, control)
            if name not in COLUMN or not isinstance(COLUMN[name].kind, Pictures):
                long = texts.longer_than(CELL_LIMIT_BYTES)
                if long.any():
                    rare |= _of_all_rows(column, long)
        return rare

    def _one_by_one(self, batch: Batch, rare: Mask) -> list[Problem]:
        rows: list[Row] = [*batch.unwritable, *(batch.row(int(at)) for at in np.flatnonzero(rare))]
        if not rows:
            return []
        notes = Problems()
        with self._lock:
            jobs = [read_row(row, self._setups.context, notes) for row in rows]
        assert not any(jobs), "a row that is kept from the fast path is always wrong"
        return notes.problems()

    def _decide(
        self, batch: Batch
    ) -> tuple[dict[str, tuple[Any, list[Looked | None]]], list[Setup], Numbers]:
        """Return the looks at pictures, the batch's setups and each row's place among them."""
        looked = {}
        columns: list[tuple[str, Numbers]] = []
        with self._lock:
            for name in (each for each in DECISIVE if each in batch.columns):
                if name in _PICTURES:
                    codes, looked[name] = self._picture_codes(batch, name)
                else:
                    codes = self._codes(batch, name)
                columns.append((name, codes))
            first, of_rows = combinations([codes for _, codes in columns], len(batch))
            setups = [
                self._setups.of(
                    batch.file, batch.folder, batch.header, {name: int(codes[at]) for name, codes in columns}
                )
                for at in first
            ]
        return looked, setups, of_rows

    def _codes(self, batch: Batch, name: str) -> Numbers:
        encoded = coded(batch.columns[name])
        classes = self._setups.classes
        texts = text_array(encoded.dictionary).to_pylist()
        codes = np.array([classes.code(name, text, batch.folder) for text in texts], np.int64)
        return codes[numbers_of(encoded.indices)]

    def _picture_codes(self, batch: Batch, name: str) -> tuple[Numbers, tuple[Any, list[Looked | None]]]:
        """Return classes, the cells, and for each cell that is no plain address what was found there."""
        classes = self._setups.classes
        texts = text_array(batch.columns[name])
        plain = mask_of(pc.match_substring_regex(texts, PLAIN_ADDRESS))
        plain &= Texts.of(texts).lengths <= URL_MAX_CHARS
        plain &= ~mask_of(pc.match_substring_regex(texts, DOUBTFUL_ADDRESS))
        codes = np.zeros(len(batch), np.int64)
        looks: list[Looked | None] = [None] * len(batch)
        if plain.any():
            codes[plain] = classes.plain_address(name)
        others = np.flatnonzero(~plain)
        encoded = rows_of(texts, others).dictionary_encode()
        seen = [classes.looked(name, text, batch.folder) for text in encoded.dictionary.to_pylist()]
        kinds = [classes.code(name, text, batch.folder) for text in encoded.dictionary.to_pylist()]
        for at, which in zip(others.tolist(), encoded.indices.to_pylist(), strict=True):
            codes[at] = kinds[which]
            looks[at] = seen[which] if seen[which].text else None
        return codes, (texts, looks)


def _distinct_text(column: Any) -> Any:
    return text_array(column.dictionary if pa.types.is_dictionary(column.type) else column)


def _of_all_rows(column: Any, mask: Mask) -> Mask:
    if not pa.types.is_dictionary(column.type):
        return mask
    column = coded(column)
    return mask[numbers_of(column.indices)]


def _of_pictures(batch: Batch, looked: Mapping[str, tuple[Any, Sequence[Looked | None]]]) -> list[Found]:
    found = []
    for name, (_, looks) in looked.items():
        rows: dict[Looked, list[int]] = {}
        for at, look in enumerate(looks):
            if look is not None and look.messages:
                rows.setdefault(look, []).append(at)
        found += [
            _found(batch, np.array(places, np.int64), name, look.text, message)
            for look, places in rows.items()
            for message in look.messages
        ]
    return found


def _doubts(batch: Batch, looked: Mapping[str, tuple[Any, Sequence[Looked | None]]]) -> list[Warned]:
    """Warn of pictures that fal may not be able to fetch."""
    notes = Problems()
    for name in (column.name for column in COLUMNS if column.name in looked):
        for at, look in enumerate(looked[name][1]):
            for identity, why in look.doubts if look else ():
                row = Row(batch.file, batch.folder, int(batch.rows[at]), {})
                notes.warn(row, name, why, found=identity)
    return [Warned(warning, count) for warning, count in notes.counted_warnings()]


def _found(batch: Batch, rows: Numbers, column: str, text: str, message: str) -> Found:
    notes = Problems()
    notes.wrong(Row(batch.file, batch.folder, 0, {}), column, message, found=text)
    return Found.of(rows, COLUMNS.index(COLUMN[column]), notes.problems()[0])


def _of_setups(batch: Batch, setups: Sequence[Setup], of_rows: Numbers) -> list[Found]:
    """Write out the mistakes of every row whose combination is wrong."""
    found = []
    for which, setup in enumerate(setups):
        if setup.wrong:
            rows = np.flatnonzero(of_rows == which)
            for each in setup.wrong:
                column, message = each.problem.column, each.problem.message
                found.append(Found(rows, _cells(batch, column, rows), each.order, column, message))
    return found


def _cells(batch: Batch, column: str, rows: Numbers) -> list[str]:
    """Return these rows' cells as messages show them."""
    if column not in batch.columns:
        return [""] * len(rows)
    encoded = coded(rows_of(batch.columns[column], rows))
    words = [shown(text.strip()) for text in text_array(encoded.dictionary).to_pylist()]
    return [words[place] for place in encoded.indices.to_pylist()]


def _in_row_order(batch: Batch, found: Sequence[Found], rare: Mask) -> list[Problem]:
    """Write every mistake of every row down, but for rows that are read one by one."""
    if not found:
        return []
    rows = np.concatenate([each.rows for each in found])
    counts = [len(each.rows) for each in found]
    orders = np.repeat([each.order for each in found], counts)
    which = np.repeat(np.arange(len(found)), counts)
    cells = [cell for each in found for cell in each.cells]
    kept = np.lexsort((orders, rows))
    kept = kept[~rare[rows[kept]]]
    written = zip(batch.rows[rows[kept]].tolist(), which[kept].tolist(), kept.tolist(), strict=True)
    return [
        Problem(batch.file, number, found[group].column, cells[place], found[group].message)
        for number, group, place in written
    ]


def _warnings(batch: Batch, setups: Sequence[Setup], of_rows: Numbers, rare: Mask) -> list[Warned]:
    warned = []
    for which, setup in enumerate(setups):
        if setup.warnings:
            rows = np.flatnonzero((of_rows == which) & ~rare)
            warned += [_warned(batch, each.problem, rows) for each in setup.warnings if len(rows)]
    return warned


def _warned(batch: Batch, problem: Problem, rows: Numbers) -> Warned:
    first = int(batch.rows[rows[0]])
    return Warned(Problem(problem.file, first, problem.column, problem.found, problem.message), len(rows))


def _camera(batch: Batch, noted: Sequence[CameraNote]) -> list[Warned]:
    return [Warned(note.warning(batch.file, int(batch.rows[note.first])), note.count) for note in noted]


def _kept(values: Numbers, good: Numbers) -> Numbers:
    return values if len(good) == len(values) else values[good]


def _taken(texts: Texts | None, good: Numbers) -> Any:
    if texts is None:
        return same_text("", len(good)).dictionary_decode()
    return texts.array if len(good) == len(texts) else rows_of(texts.array, good)


def _of_good(
    pictures: tuple[Any, Sequence[Looked | None]], good: Numbers
) -> tuple[Any, Sequence[Looked | None]]:
    texts, looks = pictures
    return rows_of(texts, good), [looks[at] for at in good]
