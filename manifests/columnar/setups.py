"""What rows have in common, decided once: the one-row check, run on each distinct combination of cells.

A million rows share a few hundred combinations of model, resolution, aspect ratio, duration and so on. Each
combination is read and priced by the very functions that read and price a single row; so the two ways cannot
disagree, and a price is looked up, not computed anew.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from callsheet.errors import Problem
from manifests.columnar.cell_classes import DECISIVE, CellClasses, pictured
from manifests.columns import COLUMN, COLUMNS, Pictures
from manifests.images import PictureFinder
from manifests.job import OPTIONS, Image, canonical_json, options_text
from manifests.parse_cells import Context, Reading, read_cell
from manifests.plan_hash import setup_text
from manifests.problems import Problems
from manifests.table import Row
from manifests.validate import candidates
from pricing.catalog import DEFAULT_DURATION_S, Endpoint
from pricing.quotes import Quote, Shot, quote

BEFORE_THE_COLUMNS = -1
AFTER_THE_COLUMNS = len(COLUMNS)


@dataclass(frozen=True, slots=True)
class Finding:
    """A mistake or a warning of every row of a setup; `order` is where it stands among a row's own."""

    order: int
    problem: Problem


@dataclass(frozen=True, slots=True)
class Setup:
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


class Setups:
    """Every combination seen so far. Not for two threads at once."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self.classes = CellClasses(context)
        self.all: list[Setup] = []
        self._known: dict[tuple[Any, ...], Setup] = {}

    def of(self, file: str, folder: Path, header: tuple[str, ...], codes: Mapping[str, int]) -> Setup:
        """Return the setup of one combination of cell classes (by column) under a header."""
        # A mistake names its file; apart from that it does not matter whose combination it is.
        key = (file, header, tuple(codes.values()))
        known = self._known.get(key)
        if known is None:
            known = self._known[key] = self._read(file, folder, header, codes)
            self.all.append(known)
        return known

    def _read(self, file: str, folder: Path, header: tuple[str, ...], codes: Mapping[str, int]) -> Setup:
        texts = {name: self.classes.example(name, code) for name, code in codes.items()}
        row = Row(file, folder, 1, texts)
        pictures = _ClassPictures.of(folder)
        context = Context(self.context.catalog, pictures, self.context.naming)
        reader = _Reader(row, context)
        endpoints, values = reader.read()
        given = canonical_json([[name, self._given(name, texts)] for name in header])
        setup = Setup(len(self.all), tuple(reader.wrong), tuple(reader.warnings), given)
        return (
            setup if setup.wrong or len(endpoints) > 1 else _priced(setup, endpoints[0], values, row, context)
        )

    def _given(self, name: str, texts: Mapping[str, str]) -> str | None:
        # Pictures are the row's own: one setup stands for many of them.
        return None if name not in texts or isinstance(COLUMN[name].kind, Pictures) else texts[name]


class _ClassPictures(PictureFinder):
    """Stands in for pictures: of a class of cells only count and size are known, and needed."""

    def find(self, cell: str, folder: Path) -> Image:  # noqa: ARG002  # as the real one is asked
        return pictured(cell)


class _Reader:
    """Reads the decisive columns of one row, keeping what was found apart by column."""

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


def _priced(setup: Setup, endpoint: Endpoint, values: Mapping[str, Any], row: Row, context: Context) -> Setup:
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
        message = f"{error.args[0]}, and what has no price is not bought"
        notes = Problems()
        notes.wrong(row, "model", message)
        wrong = tuple(Finding(AFTER_THE_COLUMNS, problem) for problem in notes.problems())
        return Setup(setup.number, wrong, setup.warnings, setup.given)
    return Setup(
        number=setup.number,
        wrong=(),
        warnings=setup.warnings,
        given=setup.given,
        endpoint=endpoint,
        values=resolved,
        price=price,
        text=setup_text(endpoint, resolved, price),
        options=options_text(endpoint.id, {name: resolved[name] for name in OPTIONS}),
    )
