"""The endpoints that can be ordered from and the dated price book, read from `catalog.toml`.

The data file is the only place where an allowed value, a pixel size or a rate is written down; every row
there names its source.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from importlib import resources
from typing import Any, Literal

from pricing.money import NANO_PER_USD

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


@dataclass(frozen=True, slots=True)
class Catalog:
    """Everything in `catalog.toml`, looked up by the words people use.

    Rates are nano-dollars per million tokens, keyed by model and by "with audio". `tokens_per_unit` is how
    many tokens one billable unit of fal stands for.
    """

    price_book: str
    fps: int
    tokens_per_unit: int
    endpoints: dict[str, Endpoint]
    rates: dict[tuple[str, bool], int]
    rate_sources: dict[tuple[str, bool], str]
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
        tokens_per_unit=data["billing"]["tokens_per_unit"],
        endpoints={endpoint.id: endpoint for endpoint in endpoints},
        rates={key: int(Decimal(row["usd_per_million_tokens"]) * NANO_PER_USD) for key, row in rates.items()},
        rate_sources={key: row["source"] for key, row in rates.items()},
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
