"""Endpoints of a person's own catalog file (CALLSHEET_CATALOG), read by the sandbox alone.

The catalog checks the file in full; here a table that cannot be served is an error with its id.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal, cast

from pydantic import Field, create_model

from callsheet.errors import UsageError
from callsheet.sandbox.served_endpoints import MAX_PROMPT, ServedEndpoint

NANO_PER_USD = 1_000_000_000
_TASKS = {"image-to-video": "image", "reference-to-video": "reference"}
_UNUSABLE = (OSError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError)


def own_endpoints(path: Path) -> list[ServedEndpoint]:
    """Return the endpoints of a file. Raises UsageError."""
    try:
        document = tomllib.loads(path.expanduser().read_text("utf-8-sig"))
        return [_endpoint(document, row) for row in document.get("endpoints", [])]
    except _UNUSABLE as error:
        raise UsageError(f"{path}: the sandbox cannot serve its endpoints: {error!r}") from error


def _endpoint(document: Mapping[str, Any], given: Mapping[str, Any]) -> ServedEndpoint:
    row = {**_alike(document, given), **given}
    name = row["id"]
    price, unit = _price(document, row)
    sizes = {
        resolution: {ratio: (size[0], size[1]) for ratio, size in table.items()}
        for resolution, table in document["pixels"][row["pixels"]].items()
        if resolution in row["resolutions"]
    }
    return ServedEndpoint(
        id=name,
        short_name=row["model"],
        kind=_TASKS.get(row.get("task") or name.rpartition("/")[2], "text"),
        schema=create_model("OwnInput", **_fields(row)),
        version=f"own:{name}",
        price_nano=1,
        unit=unit,
        unit_price_nano=int(Decimal(price) * NANO_PER_USD),
        sizes=sizes,
    )


def _alike(document: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    other = next((row for row in document["endpoints"] if row["id"] == given.get("like")), None)
    if other is None:
        return {}
    row = {**_alike(document, other), **other}
    return {key: value for key, value in row.items() if key not in ("aliases", "task")}


def _price(document: Mapping[str, Any], row: Mapping[str, Any]) -> tuple[str, str]:
    """Return what fal lists, or else the plainest rate of the file."""
    if "unit" in row:
        return row["unit_price"], row["unit"]
    own = [rate for rate in document["rates"] if rate["of"] in (row["id"], row["model"])]
    rate = min(own, key=len)
    return rate["usd"], rate["per"]


def _fields(row: Mapping[str, Any]) -> dict[str, Any]:
    default = row.get("default_duration", "5")
    seconds = [*map(str, row["durations_s"]), *(["auto"] if default == "auto" else [])]
    fields: dict[str, Any] = {
        "prompt": (str, Field(max_length=MAX_PROMPT)),
        "aspect_ratio": _one_of(row["aspect_ratios"], row["default_aspect_ratio"]),
        "resolution": _one_of(row["resolutions"], row["default_resolution"]),
        "duration": _one_of(seconds, default),
    }
    if row.get("audio"):
        fields["generate_audio"] = (bool, True)
    if row.get("seed"):
        fields["seed"] = (int | None, None)
    if _TASKS.get(row.get("task") or row["id"].rpartition("/")[2]) == "image":
        fields |= {"image_url": (str, ...), "end_image_url": (str | None, None)}
    return fields


def _one_of(values: list[str], default: str) -> Any:
    return (cast("Any", Literal)[tuple(values)], default)
