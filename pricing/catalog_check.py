"""Check a person's catalog file (TOML): every key is looked at, and all mistakes are told together."""

from __future__ import annotations

import datetime as dt
import itertools
import re
import tomllib
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, get_args, get_type_hints

from callsheet.errors import UsageError
from pricing.catalog_tables import CatalogTables, Endpoint, SizesByTable, Task, tables_of, with_taken
from pricing.money import MAX_USD
from pricing.rates import CONFIDENCES, Case, Rate, rates_for
from pricing.units import KNOWN_UNITS, parse_unit

SHOWN = 60
SIDE_MAX_PX = 16_384

_AMOUNT = re.compile(r"\d{1,7}(\.\d{1,9})?", re.ASCII)
_RATIO = re.compile(r"0*[1-9]\d{0,9}:0*[1-9]\d{0,9}", re.ASCII)


def read_catalog_file(content: str, file: str, *, base: CatalogTables) -> CatalogTables:
    """Read a file. `base` is the catalog that it adds to.

    Raises UsageError with every mistake: file, table, key, what was found, what is allowed. Whether keys and
    tables fit together is looked at when each is right by itself.
    """
    try:
        data = tomllib.loads(content)
    except RecursionError:
        raise UsageError(f"{file} is not TOML that can be read: it is nested too deeply") from None
    except ValueError as error:  # a TOMLDecodeError is one; so is int("9" * 5000)
        raise UsageError(f"{file} is not TOML: {error}") from None
    _refuse(file, _mistakes(data))
    tables = tables_of(data)
    _refuse(file, _contradictions(tables, base))
    return tables


def _refuse(file: str, problems: Collection[str]) -> None:
    if problems:
        raise UsageError("\n".join(f"{file}: {each}" for each in problems))


@dataclass(frozen=True, slots=True)
class Allowed:
    """What a key may hold: `words` tell a person, and `fits` says whether a value is allowed."""

    words: str
    fits: Callable[[Any], bool]


def _must_be(words: str, fits: Callable[[Any], bool]) -> Allowed:
    return Allowed(f"it must be {words}", fits)


def _whole(low: int, high: int) -> Allowed:
    return _must_be(f"a whole number from {low} to {high}", lambda n: type(n) is int and low <= n <= high)


def _written(words: str, form: str) -> Allowed:
    return _must_be(words, lambda value: isinstance(value, str) and bool(re.fullmatch(form, value, re.ASCII)))


def _is_table(value: Any) -> bool:
    return isinstance(value, dict)


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value) and value.isprintable()


def _are_texts(value: Any) -> bool:
    return isinstance(value, list) and all(map(_is_text, value)) and len(set(value)) == len(value)


def _are_whole(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(type(each) is int for each in value)


def _are_seconds(value: Any) -> bool:
    return _are_whole(value) and value == sorted(set(value)) and value[0] > 0 and value[-1] <= 3600


def _are_bounds(value: Any) -> bool:
    return _are_whole(value) and len(value) == 2 and 0 <= value[0] <= value[1] <= 10**6


def _is_amount(value: Any) -> bool:
    """Dollars are text, because a number of TOML would be a float."""
    is_number = isinstance(value, str) and _AMOUNT.fullmatch(value) is not None
    return is_number and 0 < Decimal(value) <= MAX_USD


def _is_day(value: Any) -> bool:
    if not isinstance(value, str):
        return isinstance(value, dt.date) and not isinstance(value, dt.datetime)
    try:
        dt.date.fromisoformat(value)
    except ValueError:
        return False
    return True


def _is_size(value: Any) -> bool:
    return _are_whole(value) and len(value) == 2 and all(0 < side <= SIDE_MAX_PX for side in value)


def _are_sizes(value: Any) -> bool:
    sizes = value.items() if _is_table(value) else ()
    return bool(sizes) and all(_RATIO.fullmatch(ratio) and _is_size(size) for ratio, size in sizes)


_TEXT = _must_be("text on one line", _is_text)
_TEXTS = _must_be("a list of texts, each once", _are_texts)
_NAME = _written("letters, digits, '.', '_', '-' and '/'", r"(?!.{201})[A-Za-z\d][\w.-]*(/[\w.-]+)*")
_TRUTH = _must_be("true or false", lambda value: isinstance(value, bool))
_BOUNDS = _must_be("two whole numbers, the lower first", _are_bounds)
_DOLLARS = _must_be("dollars as text like 0.014, above 0, with at most nine decimals", _is_amount)
_DAY = _must_be("a day like 2026-11-21", _is_day)
_FPS = _whole(1, 240)
_ENDPOINT_MUST = {
    "id": _NAME,
    "model": _NAME,
    "pixels": _TEXT,
    "aspect_ratios": _TEXTS,
    "default_aspect_ratio": _TEXT,
    "resolutions": _TEXTS,
    "default_resolution": _TEXT,
    "durations_s": _must_be("a list of whole seconds from 1 to 3600, the shortest first", _are_seconds),
}
_OF_TYPE = {bool: _TRUTH, tuple[int, int] | None: _BOUNDS, tuple[str, ...]: _TEXTS}
ENDPOINT = {
    **_ENDPOINT_MUST,
    **{key: _OF_TYPE[each] for key, each in get_type_hints(Endpoint).items() if each in _OF_TYPE},
    "task": _must_be(f"one of {', '.join(get_args(Task))}", get_args(Task).__contains__),
    "default_duration": _written("seconds as text like 5, or auto", r"auto|[1-9]\d{0,3}"),
    **dict.fromkeys(("source", "deprecated", "unit"), _TEXT),
    "reference_files": _whole(0, 1000),
    "input_video_ms": _whole(0, 3_600_000),
    "fps": _FPS,
    "unit_price": _DOLLARS,
}
"""The keys of [[endpoints]] apart from `like`, which depends on what stands before."""

_RATE_MUST = {
    "of": _NAME,
    "usd": _DOLLARS,
    "per": _must_be(KNOWN_UNITS, lambda value: isinstance(value, str) and parse_unit(value) is not None),
    "from": _DAY,
    "source": _TEXT,
}
_RATE = {
    **_RATE_MUST,
    "confidence": _must_be(f"one of {', '.join(CONFIDENCES)}", CONFIDENCES.__contains__),
    **dict.fromkeys(("resolution", "note"), _TEXT),
    **dict.fromkeys(("audio", "video_input"), _TRUTH),
    "input_usd": _DOLLARS,
}
_PIXELS_MUST = {"source": _TEXT}
_PIXELS = {**_PIXELS_MUST, "inexact": _TEXTS, "other": _must_be("tables of sizes", _is_table)}
_SIZES = _must_be('sizes like { "16:9" = [1280, 720] }', _are_sizes)
_FILE = {
    "as_of": _DAY,
    "fps": _FPS,
    "endpoints": Allowed("tables are allowed, each under [[endpoints]]", lambda rows: isinstance(rows, list)),
    "rates": Allowed("tables are allowed, each under [[rates]]", lambda rows: isinstance(rows, list)),
    "pixels": Allowed("tables are allowed, each under [pixels.NAME]", _is_table),
}


def _mistakes(data: Mapping[str, Any]) -> list[str]:
    """Return what is wrong with each key by itself."""
    problems = list(_wrong_keys("the file", data, _FILE))
    for name, check in (("endpoints", _wrong_endpoints), ("rates", _wrong_rates), ("pixels", _wrong_pixels)):
        found = data.get(name, ())
        if _FILE[name].fits(found):
            each_of = dict(enumerate(found, 1)) if isinstance(found, list) else found
            no_tables = [each for each in each_of.values() if not _is_table(each)]
            problems += [f"the file, {name}: {_found(each)}{_FILE[name].words}" for each in no_tables]
            problems += check({key: each for key, each in each_of.items() if _is_table(each)})
    return problems


def _wrong_keys(
    where: str, table: Mapping[str, Any], keys: Mapping[str, Allowed], must: Collection[str] = ()
) -> Iterator[str]:
    for key, allowed in keys.items():
        if key not in table:
            if key in must:
                yield f"{where}, {key}: it is missing; {allowed.words}"
        elif not allowed.fits(table[key]):
            yield f"{where}, {key}: {_found(table[key])}{allowed.words}"
    for key, value in table.items():
        if key not in keys:
            yield f"{where}, {key}: {_found(value)}no such key; allowed are {', '.join(sorted(keys))}"


def _wrong_endpoints(rows: Mapping[Any, Mapping[str, Any]]) -> Iterator[str]:
    complete: dict[str, Mapping[str, Any]] = {}
    for number, own in rows.items():
        earlier = Allowed(
            f"allowed are earlier endpoints of this file: {', '.join(complete)}", list(complete).__contains__
        )
        row = with_taken(own, complete)
        if isinstance(own.get("id"), str):
            complete[own["id"]] = row
        yield from _wrong_keys(f"[[endpoints]] {number}", row, {**ENDPOINT, "like": earlier}, _ENDPOINT_MUST)


def _wrong_rates(rows: Mapping[Any, Mapping[str, Any]]) -> Iterator[str]:
    for number, row in rows.items():
        yield from _wrong_keys(f"[[rates]] {number}", row, _RATE, _RATE_MUST)


def _wrong_pixels(tables: Mapping[Any, Mapping[str, Any]]) -> Iterator[str]:
    """Yield what is wrong with tables of sizes: each key that has no other meaning is a resolution."""
    for name, table in tables.items():
        other = table.get("other", {})
        more = {f"other.{each}": sizes for each, sizes in other.items()} if _is_table(other) else {}
        keys = {**dict.fromkeys((*table, *more), _SIZES), **_PIXELS}
        yield from _wrong_keys(f"[pixels.{name}]", {**table, **more}, keys, _PIXELS_MUST)


def _found(value: Any) -> str:
    """Say what was found, "" where nothing was."""
    if value is None:
        return ""
    try:
        text = str(value)
    except (ValueError, RecursionError):  # thousands of digits, or of tables in each other
        text = type(value).__name__
    return f"found {text[:SHOWN]!r}; "


_OPTIONS = ("aspect_ratio", "resolution", "duration")


def _contradictions(found: CatalogTables, base: CatalogTables) -> list[str]:
    """Return what is wrong between keys and between tables: names used twice, endpoints without rates."""
    problems = []
    known = {each for endpoint in base.endpoints for each in endpoint.names}
    pixels, rates = {**base.pixels, **found.pixels}, (*base.rates, *found.rates)
    for number, endpoint in enumerate(found.endpoints, 1):
        wrong = []
        for each in endpoint.names:
            if each in known:
                wrong.append(f"id: {_found(each)}the catalog has this endpoint already")
            known.add(each)
        wrong += [
            *_wrong_choices(endpoint),
            *_without_sizes(endpoint, pixels),
            *_without_rates(endpoint, rates),
        ]
        problems += [f"[[endpoints]] {number}, {why}" for why in wrong]
    endpoints = (*base.endpoints, *found.endpoints)
    subjects = {each.id for each in endpoints} | {each.model for each in endpoints}
    for number, rate in enumerate(found.rates, 1):
        priced = [each for each in endpoints if rate.of in (each.id, each.model)]
        theirs = list(dict.fromkeys(name for each in priced for name in each.resolutions))
        if rate.resolution and theirs and rate.resolution not in theirs:
            why = f"{rate.of} has {', '.join(theirs)}"
            problems.append(f"[[rates]] {number}, resolution: {_found(rate.resolution)}{why}")
        if rate.of not in subjects:
            why = f"allowed are the endpoints and models of the catalog: {', '.join(sorted(subjects))}"
            problems.append(f"[[rates]] {number}, of: {_found(rate.of)}{why}")
    return problems


def _wrong_choices(endpoint: Endpoint) -> Iterator[str]:
    """Yield values that are none of those which the same table allows."""
    durations = ("auto", *map(str, endpoint.durations_s))
    length = endpoint.default_duration_s
    for key, value, allowed in (
        ("default_duration", "auto" if length is None else str(length), durations),
        ("default_aspect_ratio", endpoint.default_aspect_ratio, endpoint.aspect_ratios),
        ("default_resolution", endpoint.default_resolution, endpoint.resolutions),
        *(("not_sent", option, _OPTIONS) for option in endpoint.not_sent),
    ):
        if value not in allowed:
            yield f"{key}: {_found(value)}allowed are {', '.join(allowed)}"
    if endpoint.reference_videos and not endpoint.input_video_ms:
        why = "say how much video may come in: so much is held where a video's length is not known"
        yield f"input_video_ms: {_found(0)}{why}"
    if (endpoint.unit is None) != (endpoint.unit_price is None):
        yield f"unit: {_found(endpoint.unit)}unit and unit_price go together: what fal's price list says"


def _without_sizes(endpoint: Endpoint, pixels: SizesByTable) -> list[str]:
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
