"""One batch checked: which rows can be made, what they are, and what is wrong with the others."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from operator import attrgetter
from typing import Any

import numpy as np
import pyarrow as pa

from callsheet.errors import Problem
from manifests.columnar.arrow import (
    Mask,
    Numbers,
    by_word,
    chars,
    combinations,
    matches,
    rows_of,
    same_text,
    text_array,
)
from manifests.columnar.batches import Batch
from manifests.columnar.cells import (
    BatchReader,
    DistinctCells,
    Found,
    PictureCells,
    has_controls,
    plain_prompts,
    written,
)
from manifests.columns import COLUMNS, PICTURE_COLUMNS, REFERENCES, FileName, Media, Pictures, Text, Whole
from manifests.job import (
    LATER_OPTIONS,
    OPTIONS,
    Image,
    canonical_json,
    input_ms,
    options_text,
    shot_of,
)
from manifests.parse_cells import Context
from manifests.plan_hash import combo_text
from manifests.problems import Problems
from manifests.table import CELL_LIMIT_BYTES, printable, shown
from manifests.validate import (
    INSTRUCTIONS,
    UNLISTED,
    not_priced,
    read_row,
    references_problem,
    task_problem,
    unknown_instructions,
)
from pricing.catalog import Endpoint
from pricing.quotes import Quote, quote

_LISTED = "|".join(map(re.escape, INSTRUCTIONS))
_ALL_LISTED = rf"(?i)^[^\[\]]*(\[ *({_LISTED})( *, *({_LISTED}))* *\][^\[\]]*)*$"
"""Prompts whose brackets hold nothing but instructions that Seedance lists; others are looked at singly."""


@dataclass(frozen=True, slots=True)
class Combination:
    """What many rows share: endpoint, options by the manifest's names, and price.

    `given` holds the cells as they were written, in the header's order; None stands for a cell of the row's
    own. `text` is what a plan's hash takes of it, `fingerprinted` what a fingerprint does.
    """

    endpoint: Endpoint
    options: Mapping[str, Any]
    price: Quote
    given: str
    text: str
    fingerprinted: str


@dataclass(frozen=True, slots=True)
class Checked:
    """The rows of a batch that can be made; row `at` is of combination `combos[places[at]]`.

    `numbers` holds seed (-1 for none), priority and take, `texts` the columns of text as they are used.
    """

    batch: Batch
    combos: Sequence[Combination]
    places: Numbers
    numbers: Mapping[str, Numbers]
    texts: Mapping[str, Any]
    pictures: Mapping[str, PictureCells]

    def __len__(self) -> int:
        return len(self.places)


class Checker:
    """Checks batches, several at a time: what they share is only ever added to."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._known: dict[tuple[Any, ...], Combination | tuple[str, str]] = {}

    def check(self, batch: Batch, notes: Problems) -> Checked:
        """Check one batch; mistakes and warnings go into `notes`."""
        rare, of_rare = _rare_rows(batch), Problems()
        for at in np.flatnonzero(rare).tolist():
            read_row(batch.row(at), self._context, of_rare)
        batch = batch.only(np.flatnonzero(~rare))
        reader = BatchReader(batch, self._context)
        texts, numbers, cells, pictures = {}, {}, {}, {}
        for column in COLUMNS:
            if isinstance(column.kind, Text):
                texts[column.name] = reader.text(column)
            elif isinstance(column.kind, FileName):
                texts[column.name] = reader.names(column)
            elif isinstance(column.kind, Whole):
                numbers[column.name] = reader.numbers(column)
            elif isinstance(column.kind, Pictures):
                pictures[column.name] = reader.pictures(column)
            else:
                cells[column.name] = reader.cells(column)
        bad = np.array([len(each) > 1 for each in reader.endpoints], bool)[reader.groups]
        bad |= texts["prompt"] is None
        for each in reader.problems:
            bad[each.rows] = True
        combos, places, unpriced = self._combine(batch, reader, np.flatnonzero(~bad), cells, pictures)
        problems = [*written(batch, [*reader.problems, *unpriced]), *of_rare.problems()]
        notes.add_all(sorted(problems, key=attrgetter("row")))
        for each in unpriced:
            bad[each.rows] = True
        good = np.flatnonzero(~bad)
        for each in reader.warnings:
            notes.add_warning(replace(each.problem, row=int(batch.rows[each.rows[0]])), len(each.rows))
        kept = {name: _kept(column, good) for name, column in texts.items()}
        _warn_of_camera(kept["prompt"], batch.rows[good], batch.file, notes)
        kept["prompt"] = plain_prompts(kept["prompt"])
        return Checked(
            batch=batch.only(good),
            combos=combos,
            places=places,
            numbers={name: values[good] for name, values in numbers.items()},
            texts=kept,
            pictures={name: _only(each, good) for name, each in pictures.items() if each is not None},
        )

    def _combine(
        self,
        batch: Batch,
        reader: BatchReader,
        good: Numbers,
        cells: Mapping[str, DistinctCells],
        pictures: Mapping[str, PictureCells | None],
    ) -> tuple[list[Combination], Numbers, list[Found]]:
        """Return the combinations of these rows, each row's place among them, and rows without a price."""
        sizes = _described(pictures["image_url"], len(batch), _first_size)
        files = [_described(pictures[name], len(batch), _lengths) for name in REFERENCES]
        codes = [each.places for each in (sizes, *files, *cells.values())]
        codes.append(reader.groups)
        first, places = combinations([each[good] for each in codes], len(good))
        combos: list[Combination] = []
        unpriced: list[Found] = []
        of_first = np.zeros(len(first), np.int64)
        for which, at in enumerate(good[first].tolist()):
            (endpoint,) = reader.endpoints[reader.groups[at]]
            size = sizes.values[sizes.places[at]]
            texts = {name: each.texts[each.places[at]] for name, each in cells.items()}
            values = {name: each.values[each.places[at]] for name, each in cells.items()}
            references = tuple(each for column in files for each in column.values[column.places[at]])
            key = (batch.header, endpoint.id, size, references, *texts.values())
            if key not in self._known:
                given = canonical_json([[name, texts.get(name)] for name in batch.header])
                self._known[key] = self._priced(endpoint, values, size, references, given)
            found = self._known[key]
            if isinstance(found, tuple):
                column, message = found
                problem = Problem(batch.file, 0, column, "", printable(message))
                unpriced.append(Found(good[places == which], len(COLUMNS), problem))
                of_first[which] = -1
            else:
                of_first[which] = len(combos)
                combos.append(found)
        places = of_first[places]
        return combos, places[places >= 0], unpriced

    def _priced(
        self,
        endpoint: Endpoint,
        values: Mapping[str, Any],
        size: tuple[int, int] | None,
        references: Sequence[tuple[Media, int | None]],
        given: str,
    ) -> Combination | tuple[str, str]:
        """Return a combination with its price, or the column that is wrong and why."""
        options = {name: values[name] for name in (*OPTIONS, *LATER_OPTIONS)}
        options["duration"] = None if values["num_frames"] else values["duration"]
        files = [Image("url", "", media=media, length_ms=length_ms) for media, length_ms in references]
        if wrong := references_problem(endpoint, files) or task_problem(options, files):
            return wrong
        try:
            price = quote(self._context.catalog, shot_of(endpoint, options, size, input_ms(endpoint, files)))
        except LookupError as error:
            return "model", not_priced(error)
        text, fingerprinted = combo_text(endpoint, options, price), options_text(endpoint.id, options)
        return Combination(endpoint, options, price, given, text, fingerprinted)


def _rare_rows(batch: Batch) -> Mask:
    """Say which rows have control characters or very long cells; they are read one by one."""
    rare = np.zeros(len(batch), bool)
    for name, column in batch.columns.items():
        if not (pa.types.is_integer(column.type) or pa.types.is_boolean(column.type)):
            rare |= by_word(column, has_controls)
            if name not in PICTURE_COLUMNS:
                rare |= by_word(column, lambda texts: chars(texts) > CELL_LIMIT_BYTES)
    return rare


def _first_size(images: Sequence[Image]) -> tuple[int, int] | None:
    """Return width and height of a first frame, which decide what `auto` becomes; None is not known."""
    return images[0].size if images else None


def _lengths(images: Sequence[Image]) -> tuple[tuple[Media, int | None], ...]:
    """Return what decides the price of reference files: which kind they are, and how long."""
    return tuple((image.media, image.length_ms) for image in images)


def _described(
    pictures: PictureCells | None, count: int, describe: Callable[[Sequence[Image]], Any]
) -> DistinctCells:
    """Return a column of files by what `describe` says of each cell."""
    if pictures is None:
        return DistinctCells(np.zeros(count, np.int64), [""], [describe(())])
    of_cells = [describe(images) for images in pictures.cells.values]
    ranks = {size: at for at, size in enumerate(dict.fromkeys(of_cells))}
    places = np.array([ranks[size] for size in of_cells], np.int64)[pictures.cells.places]
    return DistinctCells(places, [""] * len(ranks), list(ranks))


def _warn_of_camera(prompts: Any, rows: Numbers, file: str, notes: Problems) -> None:
    """Warn of every camera instruction that Seedance does not list; `rows` are the prompts' row numbers."""
    others = np.flatnonzero(~matches(prompts, _ALL_LISTED))
    for row, prompt in zip(rows[others].tolist(), rows_of(prompts, others).to_pylist(), strict=True):
        for instruction in unknown_instructions(prompt):
            cell = shown(f"[{instruction}]")
            notes.add_warning(Problem(file, row, "prompt", cell, printable(UNLISTED)))


def _kept(texts: Any, good: Numbers) -> Any:
    """Return the texts of the good rows; a column that is missing is empty."""
    return text_array(same_text("", len(good))) if texts is None else rows_of(texts, good)


def _only(pictures: PictureCells, good: Numbers) -> PictureCells:
    cells = pictures.cells
    kept = DistinctCells(cells.places[good], cells.texts, cells.values)
    return PictureCells(rows_of(pictures.texts, good), kept)
