"""Read a catalog file (TOML), our own or a person's: every key is checked, all mistakes are told together.

[pixels.NAME]      a table of sizes: resolution = { ratio = [width, height] }
[[endpoints]]      what can be ordered
[[rates]]          what it costs, from which day on
"""

from __future__ import annotations

import itertools
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from callsheet.errors import UsageError
from pricing.catalog_checks import (
    REQUIRED,
    Reader,
    TableCheck,
    amount,
    bounds,
    day,
    flag,
    name,
    one_of,
    seconds,
    text,
    texts,
    unit,
    whole,
)
from pricing.endpoints import TASKS, Endpoint, Task
from pricing.money import parse_usd
from pricing.rates import CONFIDENCES, Case, Rate, rates_for
from pricing.units import ListedPrice

__all__ = ["CatalogFile", "Endpoint", "Task", "read_catalog_file"]

Sizes = dict[str, tuple[int, int]]
SIDE_MAX_PX = 16_384


@dataclass(frozen=True, slots=True)
class CatalogFile:
    """What one file says. `as_of` is an ISO date, "" where the file has none."""

    as_of: str = ""
    fps: int = 24
    endpoints: tuple[Endpoint, ...] = ()
    rates: tuple[Rate, ...] = ()
    listed: tuple[ListedPrice, ...] = ()
    pixels: Mapping[tuple[str, str], Sizes] = field(default_factory=dict)
    other_pixels: Mapping[tuple[str, str], Sizes] = field(default_factory=dict)
    inexact: frozenset[tuple[str, str]] = frozenset()

    @classmethod
    def empty(cls) -> CatalogFile:
        """Return a file that adds nothing."""
        return cls()


def read_catalog_file(content: str, file: str, *, base: CatalogFile | None = None) -> CatalogFile:
    """Read a file. `base` is the catalog that it adds to.

    Raises UsageError with every mistake: file, table, key, what was found, what is allowed.
    """
    try:
        data = tomllib.loads(content)
    except RecursionError:
        raise UsageError(f"{file} is not TOML that can be read: it is nested too deeply") from None
    except ValueError as error:  # a TOMLDecodeError is one; so is int("9" * 5000)
        raise UsageError(f"{file} is not TOML: {error}") from None
    check = TableCheck(file, "the file", data)
    as_of = check.take("as_of", day, None)
    fps = check.take("fps", whole(1, 240), 24)
    tables = {key: check.tables(key) for key in ("endpoints", "rates")}
    _fill_in(tables["endpoints"])
    pixels, other, inexact = _pixels(check)
    check.done()
    listed: list[ListedPrice] = []
    endpoints = tuple(made for row in tables["endpoints"] if (made := _endpoint(row, listed)) is not None)
    rates = tuple(rate for row in tables["rates"] if (rate := _rate(row)) is not None)
    found = CatalogFile(
        as_of=as_of or "",
        fps=fps or 24,
        endpoints=endpoints,
        rates=rates,
        listed=tuple(listed),
        pixels=pixels,
        other_pixels=other,
        inexact=inexact,
    )
    if not check.problems:
        check.problems.extend(_contradictions(found, base or CatalogFile(), file))
    if check.problems:
        raise UsageError("\n".join(check.problems))
    return found


def _fill_in(rows: list[TableCheck]) -> None:
    """Give every endpoint the keys of the earlier one that its `like` names, where it has none of its own."""
    complete: dict[str, Mapping[str, Any]] = {}
    for row in rows:
        like = row.take("like", name, None)
        if like is not None and like not in complete:
            row.wrong("like", like, f"allowed are earlier endpoints of this file: {', '.join(complete)}")
        kept = {key: value for key, value in complete.get(like, {}).items() if key not in _OWN}
        row.rest = kept | row.rest
        complete[str(row.rest.get("id"))] = dict(row.rest)


_OWN = ("id", "aliases", "task", "source")
"""What an endpoint does not take from another one."""

_ENDPOINT: dict[str, tuple[Reader, Any]] = {
    "id": (name, REQUIRED),
    "model": (name, REQUIRED),
    "task": (one_of(*TASKS), None),
    "pixels": (text, REQUIRED),
    "aspect_ratios": (texts, REQUIRED),
    "default_aspect_ratio": (text, REQUIRED),
    "resolutions": (texts, REQUIRED),
    "default_resolution": (text, REQUIRED),
    "durations_s": (seconds, REQUIRED),
    "default_duration": (text, "5"),
    "source": (text, None),
    "num_frames": (bounds, None),
    "num_frames_doubted": (flag, False),
    "reference_images": (bounds, None),
    "reference_videos": (bounds, None),
    "reference_audios": (bounds, None),
    "reference_files": (whole(0, 1000), 0),
    "input_video_ms": (whole(0, 3_600_000), 0),
    "end_image": (flag, False),
    "audio": (flag, False),
    "seed": (flag, False),
    "returns_seed": (flag, False),
    "camera_fixed": (flag, False),
    "safety_checker": (flag, False),
    "end_user_id": (flag, False),
    "draft": (flag, False),
    "codecs": (texts, ()),
    "bitrate_modes": (texts, ()),
    "tasks": (texts, ()),
    "prompt_optional": (flag, False),
    "not_sent": (texts, ()),
    "fps": (whole(1, 240), 0),
    "aliases": (texts, ()),
    "deprecated": (text, ""),
    "history_confirmed": (flag, True),
    "unit": (text, None),
    "unit_price": (amount, None),
}
_OPTIONS = ("aspect_ratio", "resolution", "duration")


def _endpoint(row: TableCheck, listed: list[ListedPrice]) -> Endpoint | None:
    before = len(row.problems)
    given = {key: row.take(key, reader, default) for key, (reader, default) in _ENDPOINT.items()}
    row.done()
    if len(row.problems) > before:
        return None
    listed_unit, price = given.pop("unit"), given.pop("unit_price")
    if (listed_unit is None) != (price is None):
        row.wrong("unit", listed_unit, "unit and unit_price go together: what fal's price list says")
    elif listed_unit is not None:
        listed.append(ListedPrice(given["id"], Decimal(price), listed_unit))
    given["task"] = given["task"] or given["id"].rpartition("/")[2]
    given["source"] = given["source"] or f"https://fal.ai/models/{given['id']}"
    default = given.pop("default_duration")
    given["default_duration_s"] = int(default) if default.isdigit() and len(default) < 5 else None
    _check_choices(row, given, default)
    return Endpoint(**given) if len(row.problems) == before else None


def _check_choices(row: TableCheck, given: Mapping[str, Any], default_duration: str) -> None:
    """Note values that are none of those which the same table allows."""
    durations = ("auto", *map(str, given["durations_s"]))
    for key, value, allowed in (
        ("task", given["task"], TASKS),
        ("default_duration", default_duration, durations),
        ("default_aspect_ratio", given["default_aspect_ratio"], given["aspect_ratios"]),
        ("default_resolution", given["default_resolution"], given["resolutions"]),
        *(("not_sent", option, _OPTIONS) for option in given["not_sent"]),
    ):
        if value not in allowed:
            row.wrong(key, value, f"allowed are {', '.join(allowed)}")
    if given["reference_videos"] and not given["input_video_ms"]:
        why = "say how much video may come in: so much is held where a video's length is not known"
        row.wrong("input_video_ms", 0, why)


_RATE: dict[str, tuple[Reader, Any]] = {
    "of": (name, REQUIRED),
    "usd": (amount, REQUIRED),
    "per": (unit, REQUIRED),
    "from": (day, REQUIRED),
    "source": (text, REQUIRED),
    "confidence": (one_of(*CONFIDENCES), "high"),
    "resolution": (text, None),
    "audio": (flag, None),
    "video_input": (flag, None),
    "input_usd": (amount, None),
    "note": (text, ""),
}


def _rate(row: TableCheck) -> Rate | None:
    before = len(row.problems)
    given = {key: row.take(key, reader, default) for key, (reader, default) in _RATE.items()}
    row.done()
    if len(row.problems) > before:
        return None
    return Rate(
        of=given["of"],
        unit=given["per"],
        nano=parse_usd(given["usd"]),
        since=given["from"],
        source=given["source"],
        confidence=given["confidence"],
        resolution=given["resolution"],
        audio=given["audio"],
        video_input=given["video_input"],
        input_nano=parse_usd(given["input_usd"]) if given["input_usd"] else 0,
        note=given["note"],
    )


def _pixels(
    check: TableCheck,
) -> tuple[dict[tuple[str, str], Sizes], dict[tuple[str, str], Sizes], frozenset[tuple[str, str]]]:
    found: dict[tuple[str, str], Sizes] = {}
    other: dict[tuple[str, str], Sizes] = {}
    inexact: set[tuple[str, str]] = set()
    for table in check.named_tables("pixels"):
        table.take("source", text, REQUIRED)
        loose = table.take("inexact", texts, ())
        second = table.take("other", _tables, {})
        for resolution in list(table.rest):
            sizes = table.take(resolution, _sizes, {})
            found[table.key, resolution] = sizes or {}
        for resolution, sizes in (second or {}).items():
            read = _read_sizes(sizes)
            if read is None:
                table.wrong(f"other.{resolution}", sizes, f"it must be {_sizes.allowed}")
            other[table.key, resolution] = read or {}
        inexact |= {(table.key, resolution) for resolution in loose or ()}
    return found, other, frozenset(inexact)


def _read_sizes(value: object) -> Sizes | None:
    if not isinstance(value, dict) or not value:
        return None
    sizes: Sizes = {}
    for ratio, size in value.items():
        across, _, down = str(ratio).partition(":")
        is_ratio = all(side.isascii() and side.isdigit() and int(side) for side in (across, down))
        is_size = isinstance(size, list) and len(size) == 2 and all(type(side) is int for side in size)
        if not is_ratio or not is_size or not all(0 < side <= SIDE_MAX_PX for side in size):
            return None
        sizes[str(ratio)] = (size[0], size[1])
    return sizes


_sizes = Reader(_read_sizes, 'sizes like { "16:9" = [1280, 720] }')
_tables = Reader(lambda value: value if isinstance(value, dict) else None, "tables of sizes")


def _contradictions(found: CatalogFile, base: CatalogFile, file: str) -> list[str]:
    """Return what is wrong between tables: names used twice, endpoints without sizes or rates."""
    problems = []
    known = {each for endpoint in base.endpoints for each in endpoint.names}
    for number, endpoint in enumerate(found.endpoints, 1):
        where = f"{file}: [[endpoints]] {number}"
        for each in endpoint.names:
            if each in known:
                problems.append(f"{where}, id: found {each!r}; the catalog has this endpoint already")
            known.add(each)
        problems += [f"{where}, {why}" for why in _without_sizes(endpoint, {**base.pixels, **found.pixels})]
        problems += [f"{where}, {why}" for why in _without_rates(endpoint, (*base.rates, *found.rates))]
    endpoints = (*base.endpoints, *found.endpoints)
    subjects = {each.id for each in endpoints} | {each.model for each in endpoints}
    for number, rate in enumerate(found.rates, 1):
        priced = [each for each in endpoints if rate.of in (each.id, each.model)]
        theirs = list(dict.fromkeys(name for each in priced for name in each.resolutions))
        if rate.resolution and theirs and rate.resolution not in theirs:
            problems.append(
                f"{file}: [[rates]] {number}, resolution: found {rate.resolution!r}; "
                f"{rate.of} has {', '.join(theirs)}"
            )
        if rate.of not in subjects:
            problems.append(
                f"{file}: [[rates]] {number}, of: found {rate.of!r}; "
                f"allowed are the endpoints and models of the catalog: {', '.join(sorted(subjects))}"
            )
    return problems


def _without_sizes(endpoint: Endpoint, pixels: Mapping[tuple[str, str], Sizes]) -> list[str]:
    wrong = []
    for resolution in endpoint.resolutions:
        table = pixels.get((endpoint.pixels, resolution))
        if table is None:
            tables = sorted({f"{key} {each}" for key, each in pixels})
            wrong.append(
                f"pixels: found {endpoint.pixels!r}, which has no {resolution}; there are {', '.join(tables)}"
            )
            continue
        missing = [ratio for ratio in endpoint.made_ratios(table) if ratio not in table]
        if missing:
            wrong.append(
                f"aspect_ratios: found {missing[0]!r}; {endpoint.pixels} {resolution} has no such size"
            )
    return wrong


def _without_rates(endpoint: Endpoint, rates: tuple[Rate, ...]) -> list[str]:
    sounds = (True, False) if endpoint.audio else (False,)
    videos = (True, False) if endpoint.reference_videos else (False,)
    wrong = []
    for resolution, audio, video in itertools.product(endpoint.resolutions, sounds, videos):
        try:
            rates_for(rates, Case(endpoint.id, endpoint.model, resolution, audio, video))
        except LookupError as error:
            wrong.append(f"id: found {endpoint.id!r}; {error.args[0]}: add a [[rates]] row")
    return wrong
