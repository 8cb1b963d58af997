"""Combinations of options, read and priced once each by the functions that check a single row.

A million rows share a few hundred combinations of model, pictures, aspect ratio, resolution, duration, frames
and flags. Cells that mean the same are one class, and so are cells that are wrong in the same way.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from callsheet.errors import Problem
from manifests import parse_cells
from manifests.addresses import INSIDE, SIGNED
from manifests.columns import COLUMN, COLUMNS, Choice, Flag, Frames, ModelName, Pictures, Seconds
from manifests.images import BadPicture, PictureFinder
from manifests.job import OPTIONS, Image, canonical_json, options_text
from manifests.parse_cells import Context, Reading, read_cell
from manifests.plan_hash import combo_text
from manifests.problems import Problems
from manifests.table import UNPRINTABLE, Row
from manifests.validate import candidates, nearest_model
from pricing.catalog import DEFAULT_DURATION_S, Endpoint
from pricing.quotes import Quote, Shot, quote

DECISIVE = tuple(
    column.name
    for column in COLUMNS
    if isinstance(column.kind, ModelName | Choice | Seconds | Frames | Flag | Pictures)
)
"""The columns that are read together; every other one is read by itself."""

PLAIN_ADDRESS = r"^https?://[A-Za-z0-9][A-Za-z0-9.-]*\.[A-Za-z]{2,}/[A-Za-z0-9._~!$&'()*+,;=:@%/?#-]*$"
"""An address that `manifests.images` takes as it is, if it is not too long; others are read one by one."""

DOUBTFUL_ADDRESS = rf"{SIGNED}|(?i)^https?://[^/]*({'|'.join(map(re.escape, INSIDE))})/"
"""What an address must not match to be plain: it may be signed, or inside a private network."""

_ANY_SIZE = "picture:any"
_SIZED = re.compile(r"picture:(\d+)x(\d+)")


@dataclass(frozen=True, slots=True)
class Looked:
    """A cell of pictures: its class, the pictures, and why some of them cannot be used.

    `doubts` are pictures that fal may not be able to fetch, each with the reason.
    """

    text: str
    stands_for: str
    images: tuple[Image, ...]
    messages: tuple[str, ...]
    doubts: tuple[tuple[str, str], ...] = ()


class CellClasses:
    """Numbers the classes of each column's cells, from 0; texts once seen are remembered."""

    def __init__(self, context: Context) -> None:
        self._context = context
        endpoints = context.catalog.endpoints.values()
        self._catalog_words = {*context.catalog.models, *(each.model for each in endpoints)}
        self._codes: dict[str, dict[str, int]] = {name: {} for name in DECISIVE}
        self._classes: dict[str, dict[Hashable, int]] = {name: {} for name in DECISIVE}
        self._examples: dict[str, list[str]] = {name: [] for name in DECISIVE}
        self._looked: dict[tuple[str, str, Path], Looked] = {}
        self._readers: dict[type, Callable[[Any, str], Hashable]] = {
            ModelName: self._model,
            Choice: self._choice,
            Seconds: self._seconds,
            Frames: self._frames,
            Flag: self._flag,
        }

    def code(self, column: str, text: str, folder: Path) -> int:
        """Return the class of one cell's text."""
        kind = COLUMN[column].kind
        if isinstance(kind, Pictures):
            text = self.looked(column, text, folder).stands_for
        known = self._codes[column]
        if text not in known:
            stripped = text.strip()
            means: Hashable = stripped
            if not isinstance(kind, Pictures):
                means = self._readers[type(kind)](kind, stripped)
                if not isinstance(kind, ModelName) and parse_cells.is_failed_formula(stripped):
                    means = ("failed formula",)
            known[text] = self._number(column, means, stripped)
        return known[text]

    def plain_address(self, column: str) -> int:
        """Return the class of a plain address."""
        return self._number(column, _ANY_SIZE, _ANY_SIZE)

    def example(self, column: str, code: int) -> str:
        """Return a cell of that class, without white space around it."""
        return self._examples[column][code]

    def looked(self, column: str, text: str, folder: Path) -> Looked:
        """Look at a cell of pictures, each distinct one once."""
        key = (column, text, folder)
        if key not in self._looked:
            self._looked[key] = self._look(column, text, folder)
        return self._looked[key]

    def _number(self, column: str, means: Hashable, example: str) -> int:
        classes = self._classes[column]
        if means not in classes:
            classes[means] = len(classes)
            self._examples[column].append(example)
        return classes[means]

    def _look(self, column: str, cell: str, folder: Path) -> Looked:
        text = cell.strip()
        if not text or UNPRINTABLE.search(text):
            # Control characters are refused before pictures are looked for.
            return Looked(text, _ANY_SIZE if text else "", (), ())
        kind = COLUMN[column].kind
        parts = parse_cells.picture_list(text) if isinstance(kind, Pictures) and kind.bounds else [text]
        images, messages = [], []
        for part in parts:
            try:
                images.append(self._context.pictures.find(part, folder))
            except BadPicture as error:
                messages.append(str(error))
        sizes = [_ANY_SIZE] * len(parts)
        if column == "image_url" and images and images[0].size:
            sizes = [f"picture:{images[0].size[0]}x{images[0].size[1]}"]
        doubts = tuple(
            (image.identity, why) for image in images if (why := self._context.pictures.doubt(image))
        )
        return Looked(text, "\n".join(sizes), tuple(images), tuple(messages), doubts)

    def _model(self, _kind: ModelName, text: str) -> Hashable:
        catalog = self._context.catalog
        if not text or text in catalog.endpoints or text.lower() in catalog.models:
            return text
        return ("unknown", nearest_model(text, catalog))

    def _choice(self, kind: Choice, text: str) -> Hashable:
        allowed = self._allowed(kind.allowed)
        ratio = parse_cells.ratio_of_clock(text.lower())
        known = not text or parse_cells.choice(text, allowed) in allowed
        return text if known else ("none of these", ratio)

    def _seconds(self, kind: Seconds, text: str) -> Hashable:
        seconds = parse_cells.whole_seconds(text)
        return text if not text or seconds in self._allowed(kind.allowed) else ("not these seconds",)

    def _frames(self, kind: Frames, text: str) -> Hashable:
        number = parse_cells.whole_number(text)
        endpoints = self._context.catalog.endpoints.values()
        bounds = [found for each in endpoints if (found := getattr(each, kind.bounds)) is not None]
        possible = number is not None and any(low <= number <= high for low, high in bounds)
        return text if not text or possible else ("not that many",)

    def _flag(self, _kind: Flag, text: str) -> Hashable:
        return text if not text or parse_cells.flag(text) is not None else ("neither",)

    def _allowed(self, field: str) -> set[Any]:
        return {value for each in self._context.catalog.endpoints.values() for value in getattr(each, field)}


def pictured(cell: str) -> Image:
    """Return a picture for a class of cells: of any size, or of the one that all of them have."""
    size = _SIZED.fullmatch(cell)
    return Image("url", cell, size=(int(size[1]), int(size[2])) if size else None)


BEFORE_THE_COLUMNS = -1
AFTER_THE_COLUMNS = len(COLUMNS)


@dataclass(frozen=True, slots=True)
class Finding:
    """A mistake or a warning of every row of a combination; `order` is where it stands among a row's own."""

    order: int
    problem: Problem


@dataclass(frozen=True, slots=True)
class Combination:
    """One combination. `values` and `price` are None where it is wrong; `number` counts them from 0.

    `given` holds the cells as they were written, in the header's order; None stands for a cell of the row's
    own. `text` is what a plan's hash takes of it, `options` what a fingerprint does.
    """

    number: int
    wrong: tuple[Finding, ...]
    warnings: tuple[Finding, ...]
    given: str
    endpoint: Endpoint | None = None
    values: Mapping[str, Any] = field(default_factory=dict)
    price: Quote | None = None
    text: str = ""
    options: str = ""


class Combinations:
    """Every combination seen so far. Not thread-safe."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self.classes = CellClasses(context)
        self.all: list[Combination] = []
        self._known: dict[tuple[Any, ...], Combination] = {}

    def of(self, file: str, folder: Path, header: tuple[str, ...], codes: Mapping[str, int]) -> Combination:
        """Return the combination of these cell classes (by column) under a header."""
        # A mistake names its file; apart from that it does not matter whose combination it is.
        key = (file, header, tuple(codes.values()))
        known = self._known.get(key)
        if known is None:
            known = self._known[key] = self._read(file, folder, header, codes)
            self.all.append(known)
        return known

    def _read(
        self, file: str, folder: Path, header: tuple[str, ...], codes: Mapping[str, int]
    ) -> Combination:
        texts = {name: self.classes.example(name, code) for name, code in codes.items()}
        row = Row(file, folder, 1, texts)
        pictures = _ClassPictures.of(folder)
        context = Context(self.context.catalog, pictures, self.context.naming)
        reader = _Reader(row, context)
        endpoints, values = reader.read()
        given = canonical_json([[name, self._given(name, texts)] for name in header])
        combo = Combination(len(self.all), tuple(reader.wrong), tuple(reader.warnings), given)
        return (
            combo if combo.wrong or len(endpoints) > 1 else _priced(combo, endpoints[0], values, row, context)
        )

    def _given(self, name: str, texts: Mapping[str, str]) -> str | None:
        # Pictures are the row's own: one combo stands for many of them.
        return None if name not in texts or isinstance(COLUMN[name].kind, Pictures) else texts[name]


class _ClassPictures(PictureFinder):
    """Stands in for pictures: of a class of cells only count and size are known, and needed."""

    def find(self, cell: str, folder: Path) -> Image:  # noqa: ARG002  # as the real one is asked
        return pictured(cell)


class _Reader:
    """Reads the decisive columns of one row, with mistakes and warnings by column."""

    def __init__(self, row: Row, context: Context) -> None:
        self.row, self.context = row, context
        self.wrong: list[Finding] = []
        self.warnings: list[Finding] = []

    def read(self) -> tuple[tuple[Endpoint, ...], dict[str, Any]]:
        notes = Problems()
        endpoints = candidates(self.row, self.context.catalog, notes)
        self._keep(notes, BEFORE_THE_COLUMNS)
        values = {}
        for order, column in enumerate(COLUMNS):
            if column.name in DECISIVE:
                notes = Problems()
                values[column.name] = read_cell(Reading(self.row, self.context, notes, endpoints), column)
                self._keep(notes, order)
        return endpoints, values

    def _keep(self, notes: Problems, order: int) -> None:
        self.wrong += [Finding(order, problem) for problem in notes.problems()]
        self.warnings += [Finding(order, problem) for problem in notes.warnings()]


def _priced(
    combo: Combination, endpoint: Endpoint, values: Mapping[str, Any], row: Row, context: Context
) -> Combination:
    frames, image = values["num_frames"], next(iter(values["image_url"]), None)
    resolved = dict(values) | {
        "duration": None if frames else values["duration"] or DEFAULT_DURATION_S,
    }
    shot = Shot(
        endpoint=endpoint,
        resolution=values["resolution"],
        aspect_ratio=values["aspect_ratio"],
        duration_s=resolved["duration"],
        num_frames=frames,
        audio=bool(values["generate_audio"]),
        image_size=image.size if image else None,
    )
    try:
        price = quote(context.catalog, shot)
    except LookupError as error:
        message = f"{error.args[0]}, so this job cannot be bought"
        notes = Problems()
        notes.wrong(row, "model", message)
        wrong = tuple(Finding(AFTER_THE_COLUMNS, problem) for problem in notes.problems())
        return Combination(combo.number, wrong, combo.warnings, combo.given)
    return Combination(
        number=combo.number,
        wrong=(),
        warnings=combo.warnings,
        given=combo.given,
        endpoint=endpoint,
        values=resolved,
        price=price,
        text=combo_text(endpoint, resolved, price),
        options=options_text(endpoint.id, {name: resolved[name] for name in OPTIONS}),
    )
