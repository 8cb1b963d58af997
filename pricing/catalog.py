"""The endpoints that can be ordered from and the dated price book, read from `catalog.toml`.

The data file is the only place where an allowed value, a pixel size, a rate or a billing unit is written
down; every row there names its source.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from importlib import resources
from typing import Any, Literal

from pricing.money import NANO_PER_USD, ceil_div
from pricing.tokens import TOKENS_PER_RATE

Task = Literal["text-to-video", "image-to-video", "reference-to-video"]

AUTO = "auto"
DEFAULT_DURATION_S = 5
"""Every Seedance endpoint's own default."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One fal model id and what it accepts.

    `durations_s` are whole seconds. `num_frames` and `reference_images` are inclusive bounds, or None where
    the endpoint has no such input. `audio` says whether it takes `generate_audio` (whose default is true).
    """

    id: str
    model: str
    version: str
    task: Task
    aspect_ratios: tuple[str, ...]
    default_aspect_ratio: str
    resolutions: tuple[str, ...]
    default_resolution: str
    durations_s: tuple[int, ...]
    num_frames: tuple[int, int] | None
    reference_images: tuple[int, int] | None
    end_image: bool
    audio: bool
    source: str


_WORDS = {"": 1, "k": 1000, "thousand": 1000, "m": 1_000_000, "million": 1_000_000}
_TOKENS = re.compile(
    r"(?:per\s+|/\s*)?(\d{1,9})?\s*(k|m|thousand|million)?\s*(?:video\s+|output\s+)?tokens?", re.ASCII
)
_MAX_RATE_NANO = 10**6 * NANO_PER_USD


@dataclass(frozen=True, slots=True)
class ListedPrice:
    """One line of fal's price list: `price` in `currency` per `unit`, as fal writes them.

    fal writes the unit as free text: "1m tokens", "1000 tokens", "seconds", "videos", "units".
    """

    endpoint_id: str
    price: Decimal
    unit: str
    currency: str = "USD"

    @property
    def unit_tokens(self) -> int | None:
        """How many tokens one unit is; None where the unit is not an amount of tokens."""
        found = _TOKENS.fullmatch(self.unit.strip().lower().replace(",", "").replace("_", " "))
        if found is None:
            return None
        return int(found[1] or 1) * _WORDS[found[2] or ""] or None

    @property
    def rate_nano(self) -> int | None:
        """Nano-dollars per million tokens, rounded up; None where the unit or the currency is another."""
        if self.unit_tokens is None or self.currency.upper() != "USD":
            return None
        numerator, denominator = (self.price * NANO_PER_USD).as_integer_ratio()
        rate_nano = ceil_div(numerator * TOKENS_PER_RATE, denominator * self.unit_tokens)
        return rate_nano if 0 < rate_nano <= _MAX_RATE_NANO else None

    def cost_nano(self, units: Decimal) -> int | None:
        """Nano-dollars of so many units, rounded up; None where the list names no price in dollars."""
        if self.currency.upper() != "USD" or self.price <= 0:
            return None
        numerator, denominator = (units * self.price * NANO_PER_USD).as_integer_ratio()
        return ceil_div(numerator, denominator)


@dataclass(frozen=True, slots=True)
class Catalog:
    """Everything in `catalog.toml`, looked up by the words people use.

    Rates are nano-dollars per million tokens, keyed by model and by "with audio". `listed` is what fal's
    price list says by endpoint id: it decides what a billable unit is. An endpoint that is missing there has
    units of unknown meaning.
    """

    price_book: str
    fps: int
    endpoints: dict[str, Endpoint]
    rates: dict[tuple[str, bool], int]
    rate_sources: dict[tuple[str, bool], str]
    listed: Mapping[str, ListedPrice]
    pixels: dict[tuple[str, str], dict[str, tuple[int, int]]]

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

    def rate_nano(self, endpoint: Endpoint, *, audio: bool) -> int:
        """Nano-dollars per million tokens. Raises LookupError where the book has no such price."""
        try:
            return self.rates[endpoint.model, audio]
        except KeyError:
            kind = "with audio" if audio else "without audio"
            raise LookupError(f"the price book has no rate for {endpoint.model} {kind}") from None

    def rates_of(self, endpoint: Endpoint) -> list[int]:
        """Return every rate that the endpoint's jobs can have, in nano-dollars per million tokens."""
        kinds = (True, False) if endpoint.audio else (False,)
        return [self.rates[endpoint.model, audio] for audio in kinds if (endpoint.model, audio) in self.rates]

    def sizes(self, endpoint: Endpoint, resolution: str) -> dict[str, tuple[int, int]]:
        """Width and height in pixels by aspect ratio, for those ratios the endpoint accepts by name."""
        table = self.pixels[endpoint.version, resolution]
        return {ratio: table[ratio] for ratio in endpoint.aspect_ratios if ratio != AUTO}


@cache
def load_catalog() -> Catalog:
    """Read the catalog once per process."""
    data = tomllib.loads(resources.files("pricing").joinpath("catalog.toml").read_text("utf-8"))
    endpoints = [_endpoint(row) for row in data["endpoints"]]
    rates = {(row["model"], row.get("audio", False)): row for row in data["rates"]}
    return Catalog(
        price_book=data["price_book"],
        fps=data["fps"],
        endpoints={endpoint.id: endpoint for endpoint in endpoints},
        rates={key: int(Decimal(row["usd_per_million_tokens"]) * NANO_PER_USD) for key, row in rates.items()},
        rate_sources={key: row["source"] for key, row in rates.items()},
        listed={
            row["id"]: ListedPrice(row["id"], Decimal(row["unit_price"]), row["unit"])
            for row in data["endpoints"]
            if "unit" in row
        },
        pixels={
            (version, resolution): {ratio: (size[0], size[1]) for ratio, size in sizes.items()}
            for version, table in data["pixels"].items()
            for resolution, sizes in table.items()
            if resolution != "source"
        },
    )


def _endpoint(row: dict[str, Any]) -> Endpoint:
    bounds = row.get("num_frames")
    references = row.get("reference_images")
    task: Task = row["id"].rsplit("/", 1)[1]
    return Endpoint(
        id=row["id"],
        model=row["model"],
        version=row["model"].split("-")[1],
        task=task,
        aspect_ratios=tuple(row["aspect_ratios"]),
        default_aspect_ratio=row["default_aspect_ratio"],
        resolutions=tuple(row["resolutions"]),
        default_resolution=row["default_resolution"],
        durations_s=tuple(row["durations_s"]),
        num_frames=(bounds[0], bounds[1]) if bounds else None,
        reference_images=(references[0], references[1]) if references else None,
        end_image=row.get("end_image", False),
        audio=row.get("audio", False),
        source=row["source"],
    )
