"""Endpoints of a person's own catalog file (CALLSHEET_CATALOG), read by the sandbox alone.

The catalog checks the file in full; here a table that cannot be served is an error with its id.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

from pydantic import Field, create_model

from callsheet.errors import UsageError
from callsheet.sandbox.list_prices import NANO_PER_USD
from callsheet.sandbox.pixels import FPS, PIXELS
from callsheet.sandbox.served_endpoints import ENDPOINTS, MAX_PROMPT, ServedEndpoint, one_of

_SWITCHES: dict[str, Any] = {
    "generate_audio": (bool, True),
    "camera_fixed": (bool, False),
    "seed": (int | None, None),
}
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
    name, own = row["id"], document.get("pixels", {}).get(row["pixels"])
    rates = [rate for rate in document.get("rates", []) if rate["of"] in (row["id"], row["model"])]
    price, unit = _price(row, rates)

    def rate_of(*, audio: bool, resolution: str) -> Fraction:
        conditions = {"audio": audio, "resolution": resolution}
        fitting = [
            rate for rate in rates if all(rate.get(key, is_) == is_ for key, is_ in conditions.items())
        ]
        found = max(
            fitting, key=lambda rate: (len(conditions.keys() & rate), str(rate["from"])), default=None
        )
        if found is None or found["per"] != unit:
            return Fraction(1)
        return Fraction(found["usd"]) / Fraction(price)

    return ServedEndpoint(
        id=name,
        short_name=row["model"],
        kind=_kind(row),
        schema=create_model("OwnInput", **_fields(row)),
        version=f"own:{name}",
        price_nano=1,
        unit=unit,
        unit_price_nano=int(Decimal(price) * NANO_PER_USD),
        sizes={
            resolution: {
                ratio: (size[0], size[1])
                for ratio, size in (own[resolution] if own else PIXELS[row["pixels"], resolution]).items()
            }
            for resolution in row["resolutions"]
        },
        own_rate=rate_of,
        fps=row.get("fps", FPS),
        auto_s=row["durations_s"][0],
    )


def _kind(row: Mapping[str, Any]) -> str:
    return _TASKS.get(row.get("task") or row["id"].rpartition("/")[2], "text")


def _alike(document: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    other = next((row for row in document["endpoints"] if row["id"] == given.get("like")), None)
    if other is None:
        return {}
    row = {**_alike(document, other), **other}
    return {key: value for key, value in row.items() if key not in ("aliases", "task")}


def _price(row: Mapping[str, Any], rates: Sequence[Mapping[str, Any]]) -> tuple[str, str]:
    """Return what fal lists, or else the plainest rate of the file, or else the price of a model of fal's."""
    if "unit" in row:
        return row["unit_price"], row["unit"]
    if rates:
        rate = min(rates, key=len)
        return rate["usd"], rate["per"]
    names = {each.short_name.lower().replace(" ", "-"): each for each in ENDPOINTS.values()}
    return str(Decimal(names[row["model"]].price_nano) * 1000 / NANO_PER_USD), "1000 tokens"


def _fields(row: Mapping[str, Any]) -> dict[str, Any]:
    default = row.get("default_duration", "5")
    seconds = [*map(str, row["durations_s"]), *(["auto"] if default == "auto" else [])]
    text: Any = (str, Field(max_length=MAX_PROMPT))
    if row.get("prompt_optional"):
        text = (str | None, Field(None, max_length=MAX_PROMPT))
    fields: dict[str, Any] = {
        "prompt": text,
        "aspect_ratio": one_of(row["aspect_ratios"], row["default_aspect_ratio"]),
        "resolution": one_of(row["resolutions"], row["default_resolution"]),
        "duration": one_of(seconds, default),
    }
    given = {"generate_audio": row.get("audio"), **row}
    fields |= {name: field for name, field in _SWITCHES.items() if given.get(name)}
    if bounds := row.get("num_frames"):
        fields["num_frames"] = (int | None, Field(None, ge=bounds[0], le=bounds[1]))
    for name, key in (("codec", "codecs"), ("bitrate_mode", "bitrate_modes")):
        if row.get(key):
            fields[name] = one_of(row[key], row[key][0])
    return fields | _files(row)


def _files(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields that name files."""
    fields: dict[str, Any] = {"image_url": (str, ...)} if _kind(row) == "image" else {}
    if row.get("end_image"):
        fields["end_image_url"] = (str | None, None)
    images = "image_urls" if row.get("reference_videos") else "reference_image_urls"
    for name, key in ((images, "images"), ("video_urls", "videos"), ("audio_urls", "audios")):
        if bounds := row.get(f"reference_{key}"):
            fields[name] = (list[str], Field([], min_length=bounds[0], max_length=bounds[1]))
    return fields
