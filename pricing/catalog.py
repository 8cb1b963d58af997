"""The endpoints that can be ordered from and the dated price book.

`catalog.toml` is the only place where an allowed value, a pixel size, a rate or a billing unit is written
down; every row there names its source. A file of the same form, named by CALLSHEET_CATALOG, adds to it.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from functools import cache
from importlib import resources
from pathlib import Path

from callsheet.errors import UsageError
from pricing.catalog_check import read_catalog_file
from pricing.catalog_tables import CatalogTables, Endpoint, Sizes, SizesByTable, Task, tables_of
from pricing.rates import Case, Rate, in_force, rates_for
from pricing.units import ListedPrice

__all__ = ["AUTO", "DEFAULT_DURATION_S", "Catalog", "Endpoint", "Task", "load_catalog"]

AUTO = "auto"
DEFAULT_DURATION_S = 5
"""The default of Seedance 1.0 and 1.5; 2.x has `auto`."""

OWN_CATALOG = "CALLSHEET_CATALOG"
"""The environment variable that names a person's own file. It is read here, where all processes meet."""


@dataclass(frozen=True, slots=True)
class Catalog:
    """Everything that can be ordered, looked up by the words people use.

    `book` holds every row of the price book, `rates` those that are in force. `listed` is what fal's price
    list says by endpoint id: it decides what a billable unit is. An endpoint that is missing there has units
    of unknown meaning. `pixels` is by pixel table and resolution; `other_pixels` has the sizes that another
    source names, and `inexact` the tables whose sizes no document states.
    """

    price_book: str
    fps: int
    endpoints: Mapping[str, Endpoint]
    book: tuple[Rate, ...]
    rates: tuple[Rate, ...]
    listed: Mapping[str, ListedPrice]
    pixels: SizesByTable
    other_pixels: SizesByTable
    inexact: frozenset[tuple[str, str]]
    canonical: Mapping[str, str]
    """The id under which an endpoint is kept, by each of its other names."""

    @property
    def models(self) -> tuple[str, ...]:
        """The aliases, in the file's order."""
        return tuple(dict.fromkeys(endpoint.model for endpoint in self.endpoints.values()))

    def endpoint_for(self, model: str, task: Task) -> Endpoint | None:
        """Return the endpoint of that model for that task, or None where there is none."""
        for endpoint in self.endpoints.values():
            if endpoint.model == model and endpoint.task == task:
                return endpoint
        return None

    def named(self, name: str) -> Endpoint | None:
        """Return the endpoint of that id, or of that other name of it; None where there is none."""
        return self.endpoints.get(self.canonical.get(name, name))

    def rates_for(
        self, endpoint: Endpoint, *, resolution: str, audio: bool, video_input: bool = False
    ) -> tuple[Rate, ...]:
        """Return the rows that price such a job, the most trusted first; several where sources conflict.

        Raises LookupError where the book has no such price.
        """
        return rates_for(self.rates, Case(endpoint.id, endpoint.model, resolution, audio, video_input))

    def rates_of(self, endpoint: Endpoint) -> list[Rate]:
        """Return every row in force that jobs of the endpoint can be priced by."""
        own = [rate for rate in self.rates if rate.of == endpoint.id]
        own = own or [rate for rate in self.rates if rate.of == endpoint.model]
        return [
            rate
            for rate in own
            if (rate.audio is not True or endpoint.audio)
            and (rate.video_input is not True or endpoint.reference_videos)
            and (rate.resolution is None or rate.resolution in endpoint.resolutions)
        ]

    def fps_of(self, endpoint: Endpoint) -> int:
        """Return the endpoint's frames per second."""
        return endpoint.fps or self.fps

    def sizes(self, endpoint: Endpoint, resolution: str) -> Sizes:
        """Width and height in pixels by aspect ratio, for those ratios the endpoint makes."""
        table = self.pixels[endpoint.pixels, resolution]
        return {ratio: table[ratio] for ratio in endpoint.made_ratios(table)}

    def possible_sizes(self, endpoint: Endpoint, resolution: str) -> dict[str, tuple[tuple[int, int], ...]]:
        """Return the same with every size that a source names: the likely one first."""
        other = self.other_pixels.get((endpoint.pixels, resolution), {})
        return {
            ratio: tuple(dict.fromkeys((size, other.get(ratio, size))))
            for ratio, size in self.sizes(endpoint, resolution).items()
        }

    def is_exact(self, endpoint: Endpoint, resolution: str) -> bool:
        """Whether the sizes are stated by a document or by files that were seen."""
        return (endpoint.pixels, resolution) not in self.inexact


def load_catalog(day: str | None = None) -> Catalog:
    """Return the catalog with the prices of a day (ISO, UTC), today where none is given.

    Our own file is read once per process, a person's is checked once. Raises UsageError with every mistake of
    a person's file.
    """
    own = os.environ.get(OWN_CATALOG, "").strip()
    today = day or datetime.now(UTC).date().isoformat()
    return _load(today, own, _own_text(own) if own else "")


def _own_text(path: str) -> str:
    try:
        return Path(path).expanduser().read_text("utf-8-sig")
    except (OSError, RuntimeError, ValueError) as error:
        no_text = "it is not UTF-8 text" if isinstance(error, UnicodeError) else "its name is not a path"
        why = getattr(error, "strerror", None) or no_text
        raise UsageError(f"{OWN_CATALOG} names {path}, which cannot be read: {why}") from None


@cache
def _load(today: str, own: str, text: str) -> Catalog:
    ours = _shipped()
    theirs = read_catalog_file(text, own, base=ours) if own else CatalogTables()
    return catalog_of((ours, theirs), day=today)


@cache
def _shipped() -> CatalogTables:
    return tables_of(tomllib.loads(resources.files("pricing").joinpath("catalog.toml").read_text("utf-8")))


def catalog_of(files: Sequence[CatalogTables], *, day: str) -> Catalog:
    """Put files together. A clock behind the day of the book is wrong: the book's own day counts then."""
    written = max(each.as_of for each in files)
    book = tuple(rate for each in files for rate in each.rates)
    rates = in_force(book, max(day, written))
    endpoints = {endpoint.id: endpoint for each in files for endpoint in each.endpoints}
    return Catalog(
        price_book=max(written, *(rate.since for rate in rates)),
        fps=files[0].fps,
        endpoints=endpoints,
        book=book,
        rates=rates,
        listed={
            each.id: ListedPrice(each.id, Decimal(each.unit_price), each.unit)
            for each in endpoints.values()
            if each.unit is not None and each.unit_price is not None
        },
        pixels={key: sizes for each in files for key, sizes in each.pixels.items()},
        other_pixels={key: sizes for each in files for key, sizes in each.other_pixels.items()},
        inexact=frozenset(key for each in files for key in each.inexact),
        canonical={name: each.id for each in endpoints.values() for name in each.aliases},
    )
