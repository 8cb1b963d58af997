"""One batch checked: which rows can be made, what they are, and what is wrong with the others."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from callsheet.errors import Problem
from manifests.columnar.arrow import (
    Mask,
    Numbers,
    chars,
    coded,
    combinations,
    mask_of,
    matches,
    numbers_of,
    rows_of,
    same_text,
    text_array,
)
from manifests.columnar.cells import Found, OwnCells, plain_prompts
from manifests.columnar.combos import (
    DECISIVE,
    DOUBTFUL_ADDRESS,
    PLAIN_ADDRESS,
    Combination,
    Combinations,
    Looked,
)
from manifests.columnar.expand import Batch
from manifests.columns import COLUMN, COLUMNS, Pictures
from manifests.images import URL_MAX_CHARS
from manifests.problems import Problems
from manifests.table import CELL_LIMIT_BYTES, Row, printable, shown
from manifests.validate import read_row, unknown_instructions, unlisted

_CONTROL = r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x{9f}]"
"""`manifests.table.UNPRINTABLE` for text that is valid UTF-8, which has no lone surrogates."""
_PICTURES = tuple(column.name for column in COLUMNS if isinstance(column.kind, Pictures))


def camera_warnings(prompts: Any, rows: Numbers, file: str) -> list[Warned]:
    """Warn of every camera instruction that Seedance does not list, in the order they are met.

    `rows` are the prompts' row numbers. Distinct instructions are few: what stands before the first bracket
    and behind the last is cut away, and each distinct rest is looked at once.
    """
    places = np.flatnonzero(mask_of(pc.match_substring(prompts, "[")))
    rest = pc.list_element(pc.split_pattern(rows_of(prompts, places), "[", max_splits=1), 1)
    closed = np.flatnonzero(mask_of(pc.match_substring(rest, "]")))
    places, rest = places[closed], rows_of(rest, closed)
    rest = pc.list_element(pc.split_pattern(rest, "]", max_splits=1, reverse=True), 0)
    encoded = pc.replace_substring_regex(rest, r"\][^\[\]]*\[", "][").dictionary_encode()
    which = numbers_of(encoded.indices)
    met: dict[str, list[int]] = {}
    for at, text in enumerate(encoded.dictionary.to_pylist()):
        for instruction in unknown_instructions(f"[{text}]"):
            met.setdefault(instruction, []).append(at)
    warned = []
    for instruction, texts in met.items():
        found = rows[places[np.isin(which, texts)]]
        cell = shown(f"[{instruction}]")
        warned.append(Warned(Problem(file, int(found[0]), "prompt", cell, printable(unlisted())), len(found)))
    return warned


@dataclass(frozen=True, slots=True)
class Warned:
    """A warning, of how many rows; `warning` names the first of them."""

    warning: Problem
    count: int


@dataclass(frozen=True, slots=True)
class Checked:
    """A batch after the check. `good` are the positions of rows that can be made; columns hold only those.

    `combos` are numbers of `Combinations.all`; `numbers` holds seed (-1 for none), priority and take; `texts`
    the columns of text as they are used, `pictures` the cells of pictures and what was found in them.
    """

    batch: Batch
    good: Numbers
    combos: Numbers
    numbers: Mapping[str, Numbers]
    texts: Mapping[str, Any]
    pictures: Mapping[str, tuple[Any, Sequence[Looked | None]]]
    extra: Mapping[str, Any]
    problems: tuple[Problem, ...]
    warnings: tuple[Warned, ...]


class Checker:
    """Checks batches, several at a time: a lock protects what they share."""

    def __init__(self, combos: Combinations) -> None:
        self._combos = combos
        self._lock = threading.Lock()

    def check(self, batch: Batch) -> Checked:
        """Check one batch."""
        own = OwnCells(batch, self._combos.context)
        texts = {name: own.texts(COLUMN[name]) for name in ("custom_id", "prompt", "client")}
        numbers = {name: own.numbers(COLUMN[name]) for name in ("seed", "priority", "take")}
        names = own.names(COLUMN["output_name"])
        rare = self._rare_rows(batch)
        looked, combos, of_rows = self._decide(batch)
        found = [*own.found, *_of_pictures(batch, looked)]
        bad = np.zeros(len(batch), bool)
        for each in found:
            bad[each.rows] = True
        bad |= np.array([combo.endpoint is None for combo in combos], bool)[of_rows]
        bad |= rare
        if texts["prompt"] is None:
            bad[:] = True
        # What is wrong with a combination is said before what is wrong with its pictures.
        problems = _in_row_order(batch, [*_of_combos(batch, combos, of_rows), *found], rare)
        problems += self._one_by_one(batch, rare)
        problems.sort(key=attrgetter("row"))
        good = np.flatnonzero(~bad)
        kept = {name: _kept(column, good, len(batch)) for name, column in texts.items()}
        kept["output_name"] = _kept(names, good, len(batch))
        camera = camera_warnings(kept["prompt"], batch.rows[good], batch.file)
        kept["prompt"] = plain_prompts(kept["prompt"])
        return Checked(
            batch=batch,
            good=good,
            combos=np.array([combo.number for combo in combos], np.int64)[of_rows[good]],
            numbers={name: values[good] for name, values in numbers.items()},
            texts=kept,
            pictures={
                name: (rows_of(texts, good), [looks[at] for at in good])
                for name, (texts, looks) in looked.items()
            },
            extra={
                name: _kept(text_array(column), good, len(batch))
                for name, column in batch.columns.items()
                if name not in COLUMN
            },
            problems=tuple(problems),
            warnings=(*_doubts(batch, looked), *_warnings(batch, combos, of_rows, rare), *camera),
        )

    def _rare_rows(self, batch: Batch) -> Mask:
        """Say which rows have control characters or very long cells; they are read one by one."""
        rare = np.zeros(len(batch), bool)
        for name, column in batch.columns.items():
            if pa.types.is_integer(column.type) or pa.types.is_boolean(column.type):
                continue
            is_coded = pa.types.is_dictionary(column.type)
            words = text_array(coded(column).dictionary if is_coded else column)
            odd = matches(words, _CONTROL)
            if not isinstance(getattr(COLUMN.get(name), "kind", None), Pictures):
                odd |= chars(words) > CELL_LIMIT_BYTES
            if odd.any():
                rare |= odd[numbers_of(coded(column).indices)] if is_coded else odd
        return rare

    def _one_by_one(self, batch: Batch, rare: Mask) -> list[Problem]:
        rows = [batch.row(int(at)) for at in np.flatnonzero(rare)]
        notes = Problems()
        with self._lock:
            jobs = [read_row(row, self._combos.context, notes) for row in rows]
        assert not any(jobs), "a row that is kept from the fast path is always wrong"
        return notes.problems()

    def _decide(
        self, batch: Batch
    ) -> tuple[dict[str, tuple[Any, list[Looked | None]]], list[Combination], Numbers]:
        """Return what was found in pictures, the batch's combinations and each row's place among them."""
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
            combos = [
                self._combos.of(
                    batch.file, batch.folder, batch.header, {name: int(codes[at]) for name, codes in columns}
                )
                for at in first
            ]
        return looked, combos, of_rows

    def _codes(self, batch: Batch, name: str) -> Numbers:
        encoded = coded(batch.columns[name])
        classes = self._combos.classes
        texts = text_array(encoded.dictionary).to_pylist()
        codes = np.array([classes.code(name, text, batch.folder) for text in texts], np.int64)
        return codes[numbers_of(encoded.indices)]

    def _picture_codes(self, batch: Batch, name: str) -> tuple[Numbers, tuple[Any, list[Looked | None]]]:
        """Return classes, the cells, and for each cell that is no plain address what was found there."""
        classes = self._combos.classes
        texts = text_array(batch.columns[name])
        plain = matches(texts, PLAIN_ADDRESS) & ~matches(texts, DOUBTFUL_ADDRESS)
        plain &= chars(texts) <= URL_MAX_CHARS
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


def _of_combos(batch: Batch, combos: Sequence[Combination], of_rows: Numbers) -> list[Found]:
    """Return the mistakes of every row whose combination is wrong."""
    found = []
    for which, combo in enumerate(combos):
        if combo.wrong:
            rows = np.flatnonzero(of_rows == which)
            for each in combo.wrong:
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
    """Return every mistake in row order, except those of rows that are read one by one."""
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


def _warnings(batch: Batch, combos: Sequence[Combination], of_rows: Numbers, rare: Mask) -> list[Warned]:
    warned = []
    for which, combo in enumerate(combos):
        if combo.warnings:
            rows = np.flatnonzero((of_rows == which) & ~rare)
            warned += [_warned(batch, each.problem, rows) for each in combo.warnings if len(rows)]
    return warned


def _warned(batch: Batch, problem: Problem, rows: Numbers) -> Warned:
    first = int(batch.rows[rows[0]])
    return Warned(Problem(problem.file, first, problem.column, problem.found, problem.message), len(rows))


def _kept(texts: Any, good: Numbers, count: int) -> Any:
    """Return the good ones of so many rows; a column that is missing is empty."""
    if texts is None:
        return text_array(same_text("", len(good)))
    return texts if len(good) == count else rows_of(texts, good)
