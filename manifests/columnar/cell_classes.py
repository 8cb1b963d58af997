"""Cells that mean the same: the few texts of a column that can be right, and the many that are wrong alike.

Only columns whose meaning hangs together with others are classed: model, pictures, choices, flags, seconds,
frames. Which ones these are follows from the kinds that `manifests.columns` declares.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from manifests import parse_cells
from manifests.addresses import INSIDE, SIGNED
from manifests.columns import COLUMN, COLUMNS, Choice, Flag, Frames, ModelName, Pictures, Seconds
from manifests.images import BadPicture
from manifests.job import Image
from manifests.parse_cells import Context
from manifests.table import UNPRINTABLE
from manifests.validate import nearest_model

DECISIVE = tuple(
    column.name
    for column in COLUMNS
    if isinstance(column.kind, ModelName | Choice | Seconds | Frames | Flag | Pictures)
)
"""The columns that are read together; every other one is read by itself."""

PLAIN_ADDRESS = r"^https?://[A-Za-z0-9][A-Za-z0-9.-]*\.[A-Za-z]{2,}/[A-Za-z0-9._~!$&'()*+,;=:@%/?#-]*$"
"""An address that `manifests.images` takes as it is, if it is not too long; others are looked at singly."""

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
        """Return the class of an address that needs no look."""
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
