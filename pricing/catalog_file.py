"""Read a catalog file (TOML), our own or a person's: every key is checked, all mistakes are told together.

[pixels.NAME]      a table of sizes: resolution = { ratio = [width, height] }
[[endpoints]]      what can be ordered
[[rates]]          what it costs, from which day on
"""

from __future__ import annotations

import itertools
import tomllib
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel, ValidationError

from callsheet.errors import UsageError
from pricing.catalog_tables import CatalogTables, Endpoint, PixelTable, RateRow, SizesByTable, words_for
from pricing.rates import Case, Rate, rates_for

SHOWN = 60


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
    problems = list(_fill_in(data.get("endpoints")))
    try:
        tables = CatalogTables.model_validate(data)
    except ValidationError as error:
        problems += [_mistake(dict(each)) for each in error.errors()]
        raise _refused(file, problems) from None
    if problems := problems or _contradictions(tables, base):
        raise _refused(file, problems)
    return tables


def _refused(file: str, problems: list[str]) -> UsageError:
    return UsageError("\n".join(f"{file}: {each}" for each in problems))


_OWN = ("id", "aliases", "task", "source")
"""What an endpoint does not take from another one."""


def _fill_in(rows: Any) -> Iterator[str]:
    """Give every endpoint the keys of the earlier one that its `like` names, where it has none of its own.

    Yields what is wrong with these names.
    """
    complete: dict[str, Mapping[str, Any]] = {}
    for number, row in enumerate(rows if isinstance(rows, list) else (), 1):
        if not isinstance(row, dict):
            continue
        like = row.pop("like", None)
        earlier = complete.get(like) if isinstance(like, str) else None
        if like is not None and earlier is None:
            names = ", ".join(complete)
            where = f"[[endpoints]] {number}, like"
            yield f"{where}: {_found(like)}allowed are earlier endpoints of this file: {names}"
        for key, value in (earlier or {}).items():
            if key not in _OWN:
                row.setdefault(key, value)
        if isinstance(row.get("id"), str):
            complete[row["id"]] = row


def _found(value: Any) -> str:
    """Say what was found, "" where nothing was."""
    if value is None:
        return ""
    try:
        text = str(value)
    except (ValueError, RecursionError):  # thousands of digits, or of tables in each other
        text = type(value).__name__
    return f"found {text[:SHOWN]!r}; "


_TABLES: dict[str, type[BaseModel]] = {"endpoints": Endpoint, "rates": RateRow, "pixels": PixelTable}


def _mistake(error: Mapping[str, Any]) -> str:
    """Say one of pydantic's findings in our words."""
    kind, path = error["type"], error["loc"]
    if kind in ("model_type", "tuple_type", "dict_type") and len(path) <= 2:
        header = f"[{path[0]}.NAME]" if path[0] == "pixels" else f"[[{path[0]}]]"
        return f"the file, {path[0]}: {_found(error['input'])}tables are allowed, each under {header}"
    table, keys = (path[0], path[2:]) if len(path) > 2 else ("", path)
    if table == "pixels":
        where = f"[pixels.{path[1]}]"
    else:
        where = f"[[{table}]] {path[1] + 1}" if table else "the file"
    where += f", {'.'.join(map(str, keys))}"
    fields = {
        each.alias or name: each for name, each in _TABLES.get(table, CatalogTables).model_fields.items()
    }
    if kind == "missing":
        return f"{where}: it is missing; it must be {words_for(fields[keys[0]])}"
    if kind == "extra_forbidden":
        known = sorted([*fields, "like"] if table == "endpoints" else fields)
        return f"{where}: {_found(error['input'])}no such key; allowed are {', '.join(known)}"
    why = error["ctx"]["error"] if kind == "value_error" else "it must be tables of sizes"
    return f"{where}: {_found(error['input'])}{why}"


_OPTIONS = ("aspect_ratio", "resolution", "duration")


def _contradictions(found: CatalogTables, base: CatalogTables) -> list[str]:
    """Return what is wrong between keys and between tables: names used twice, endpoints without rates."""
    problems = []
    known = {each for endpoint in base.endpoints for each in endpoint.names}
    pixels, rates = {**base.sizes, **found.sizes}, (*base.book, *found.book)
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
