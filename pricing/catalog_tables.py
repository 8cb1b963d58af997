"""The tables of a catalog file (TOML) and what they mean.

[pixels.NAME]      a table of sizes: resolution = { ratio = [width, height] }
[[endpoints]]      what can be ordered
[[rates]]          what it costs, from which day on

Nothing is checked here. A test checks our own file, and `pricing.catalog_check` a person's.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from pricing.money import parse_usd
from pricing.rates import Rate
from pricing.units import parse_unit

Task = Literal["text-to-video", "image-to-video", "reference-to-video", "draft-to-video"]

Sizes = dict[str, tuple[int, int]]
"""Width and height in pixels by aspect ratio."""

SizesByTable = dict[tuple[str, str], Sizes]
"""Sizes by pixel table and resolution."""

_NOT_TAKEN = ("id", "aliases", "task", "source", "like")
"""What an endpoint does not take from the one that its `like` names."""

_NO_SIZES = ("source", "inexact", "other")
"""The keys of a pixel table that are no resolutions."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One fal model id and what it accepts.

    `durations_s` are whole seconds, `default_duration_s` is None where the model chooses (`auto`). Bounds are
    inclusive, None where the endpoint has no such input. `audio` says whether it takes `generate_audio`
    (whose default is true); `seed`, `camera_fixed`, `safety_checker`, `draft` and `end_user_id` say the same
    of those inputs, `num_frames_doubted` that some of fal's documents do not list `num_frames`,
    `returns_seed` that the reply names the seed. `tasks` are what it can do with reference files, and
    `prompt_optional` says that files alone are enough. `not_sent` are options that have one value and no
    input. `pixels` names the table of its sizes. `input_video_ms` is the most video that may come in, in
    milliseconds. `aliases` are other ids under which fal may list it. `deprecated` names the model to take
    instead, "" where it is current. Where `history_confirmed` is False, no real account has shown yet how
    fal's history lists its requests. `unit` and `unit_price` are what fal's price list says, None where it
    says nothing.
    """

    id: str
    model: str
    task: Task
    pixels: str
    aspect_ratios: tuple[str, ...]
    default_aspect_ratio: str
    resolutions: tuple[str, ...]
    default_resolution: str
    durations_s: tuple[int, ...]
    source: str
    default_duration_s: int | None = 5
    num_frames: tuple[int, int] | None = None
    num_frames_doubted: bool = False
    reference_images: tuple[int, int] | None = None
    reference_videos: tuple[int, int] | None = None
    reference_audios: tuple[int, int] | None = None
    reference_files: int = 0
    input_video_ms: int = 0
    end_image: bool = False
    audio: bool = False
    seed: bool = False
    returns_seed: bool = False
    camera_fixed: bool = False
    safety_checker: bool = False
    end_user_id: bool = False
    draft: bool = False
    codecs: tuple[str, ...] = ()
    bitrate_modes: tuple[str, ...] = ()
    tasks: tuple[str, ...] = ()
    prompt_optional: bool = False
    not_sent: tuple[str, ...] = ()
    fps: int = 0
    aliases: tuple[str, ...] = ()
    deprecated: str = ""
    history_confirmed: bool = True
    unit: str | None = None
    unit_price: str | None = None

    def made_ratios(self, table: Iterable[str]) -> list[str]:
        """Return the ratios it can make: those it takes by name, or all of the table if it takes none."""
        named = [ratio for ratio in self.aspect_ratios if ratio != "auto"]
        return named or list(table)

    @property
    def auto_duration(self) -> bool:
        """Whether the model may choose the length."""
        return self.default_duration_s is None

    @property
    def names(self) -> tuple[str, ...]:
        """Its id and all other ids of it."""
        return (self.id, *self.aliases)


@dataclass(frozen=True, slots=True)
class CatalogTables:
    """The whole file. `other_pixels` and `inexact` are as in `Catalog`."""

    as_of: str = ""
    fps: int = 24
    endpoints: tuple[Endpoint, ...] = ()
    rates: tuple[Rate, ...] = ()
    pixels: SizesByTable = field(default_factory=dict)
    other_pixels: SizesByTable = field(default_factory=dict)
    inexact: frozenset[tuple[str, str]] = frozenset()


def tables_of(data: Mapping[str, Any]) -> CatalogTables:
    """Return what the TOML of a right file means."""
    pixels: Mapping[str, Mapping[str, Any]] = data.get("pixels", {})
    return CatalogTables(
        as_of=_day(data["as_of"]) if "as_of" in data else "",
        fps=data.get("fps", 24),
        endpoints=tuple(_endpoints(data.get("endpoints", ()))),
        rates=tuple(_rate(row) for row in data.get("rates", ())),
        pixels={
            (name, key): _sizes(value)
            for name, table in pixels.items()
            for key, value in table.items()
            if key not in _NO_SIZES
        },
        other_pixels={
            (name, key): _sizes(value)
            for name, table in pixels.items()
            for key, value in table.get("other", {}).items()
        },
        inexact=frozenset(
            (name, each) for name, table in pixels.items() for each in table.get("inexact", ())
        ),
    )


def with_taken(own: Mapping[str, Any], earlier: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return all keys of an endpoint: its own, those of the one that its `like` names, those of its id.

    `earlier` are the endpoints before it, by id. What is no id, or no earlier one, adds nothing.
    """
    own_id, like = own.get("id"), own.get("like")
    row: dict[str, Any] = {}
    if isinstance(own_id, str):
        row = {"task": own_id.rpartition("/")[2], "source": f"https://fal.ai/models/{own_id}"}
    if isinstance(like, str):
        row |= {key: value for key, value in earlier.get(like, {}).items() if key not in _NOT_TAKEN}
    return {**row, **own}


def _endpoints(rows: Iterable[Mapping[str, Any]]) -> Iterator[Endpoint]:
    complete: dict[str, dict[str, Any]] = {}
    for own in rows:
        row = complete[own["id"]] = with_taken(own, complete)
        keys: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value
            for key, value in row.items()
            if key != "like"
        }
        length = keys.pop("default_duration", "5")
        yield Endpoint(default_duration_s=None if length == "auto" else int(length), **keys)


def _rate(row: Mapping[str, Any]) -> Rate:
    unit = parse_unit(row["per"])
    assert unit is not None, "the unit of a rate was checked"
    return Rate(
        of=row["of"],
        unit=unit,
        nano=parse_usd(row["usd"]),
        input_nano=parse_usd(row["input_usd"]) if "input_usd" in row else 0,
        since=_day(row["from"]),
        source=row["source"],
        confidence=row.get("confidence", "high"),
        resolution=row.get("resolution"),
        audio=row.get("audio"),
        video_input=row.get("video_input"),
        note=row.get("note", ""),
    )


def _sizes(table: Mapping[str, list[int]]) -> Sizes:
    return {ratio: (width, height) for ratio, (width, height) in table.items()}


def _day(day: dt.date | str) -> str:
    """Return a day in its usual form: as text it may stand without hyphens."""
    return (dt.date.fromisoformat(day) if isinstance(day, str) else day).isoformat()
