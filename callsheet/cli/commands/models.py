"""`callsheet models`."""

from __future__ import annotations

from collections.abc import Sequence

from callsheet.cli.options import Json
from callsheet.cli.output import document, show_line
from pricing.catalog import AUTO, DEFAULT_DURATION_S, Catalog, Endpoint, load_catalog
from pricing.money import usd_rounded_up, usd_text
from pricing.quotes import Quote, Shot, quote

INPUTS = {
    "num_frames": "num_frames",
    "end_image": "end_image_url",
    "audio": "generate_audio",
    "seed": "seed",
    "camera_fixed": "camera_fixed",
    "safety_checker": "enable_safety_checker",
    "draft": "draft",
    "tasks": "task",
    "codecs": "codec",
    "bitrate_modes": "bitrate_mode",
    "reference_images": "reference_images",
    "reference_videos": "reference_videos",
    "reference_audios": "reference_audios",
}
"""The columns that not every endpoint takes, by the field that says whether it does."""


def models(*, json: Json = False) -> int:
    """Show the models with their endpoints, allowed values, rates, and the price of 5 s at each resolution.

    Example: callsheet models --json
    """
    catalog = load_catalog()
    if json:
        document([_as_document(catalog, endpoint) for endpoint in catalog.endpoints.values()])
        return 0
    for model in catalog.models:
        own = [endpoint for endpoint in catalog.endpoints.values() if endpoint.model == model]
        for line in _lines(catalog, model, own):
            show_line(line, indent=18)
    show_line(
        f"Price book of {catalog.price_book}; `callsheet prices` has every rate with its source. Prices are "
        "those of the formula. What is left to the model (`auto`) is reserved at the most that it can cost."
    )
    return 0


def _lines(catalog: Catalog, model: str, endpoints: Sequence[Endpoint]) -> list[str]:
    first = endpoints[0]
    old = f"  (deprecated at fal; take {first.deprecated})" if first.deprecated else ""
    lines = [f"{model}{old}"]
    for sound in (True, False) if first.audio and _sound_costs(catalog, first) else (first.audio,):
        words = ("with sound" if sound else "silent") if _sound_costs(catalog, first) else ""
        prices = "  ".join(
            f"{resolution} {usd_rounded_up(_sample(catalog, first, resolution, audio=sound).expected_nano)}"
            for resolution in first.resolutions
        )
        lines.append(f"  {_sample_s(first)} s {words:<11} {prices}")
    for endpoint in endpoints:
        inputs = [column for field, column in INPUTS.items() if getattr(endpoint, field)]
        lines += [
            f"  {endpoint.task:<19} {endpoint.id}",
            f"    resolution        {_choices(endpoint.resolutions, endpoint.default_resolution)}",
            f"    aspect_ratio      {_choices(endpoint.aspect_ratios, endpoint.default_aspect_ratio)}",
            f"    duration          {_durations(endpoint)}",
            f"    also takes        {', '.join(inputs) or 'nothing'}",
        ]
    return [*lines, ""]


def _choices(values: Sequence[str], default: str) -> str:
    return " ".join(values) + (f"  (default {default})" if len(values) > 1 else "")


def _durations(endpoint: Endpoint) -> str:
    low, high = endpoint.durations_s[0], endpoint.durations_s[-1]
    is_range = len(endpoint.durations_s) == high - low + 1
    allowed = f"{low}-{high} s" if is_range else f"{', '.join(map(str, endpoint.durations_s))} s"
    if endpoint.auto_duration:
        return f"auto, {allowed}  (default auto)"
    return f"{allowed}  (default {endpoint.default_duration_s})"


def _sound_costs(catalog: Catalog, endpoint: Endpoint) -> bool:
    return any(rate.audio is not None for rate in catalog.rates_of(endpoint)) and endpoint.audio


def _sample_s(endpoint: Endpoint) -> int:
    """Return 5 seconds, or the shortest length where the endpoint does not make 5."""
    return DEFAULT_DURATION_S if DEFAULT_DURATION_S in endpoint.durations_s else endpoint.durations_s[0]


def _sample(catalog: Catalog, endpoint: Endpoint, resolution: str, *, audio: bool) -> Quote:
    ratios = catalog.sizes(endpoint, resolution)
    ratio = "16:9" if "16:9" in ratios else next(iter(ratios), AUTO)
    return quote(catalog, Shot(endpoint, resolution, ratio, duration_s=_sample_s(endpoint), audio=audio))


def _as_document(catalog: Catalog, endpoint: Endpoint) -> dict[str, object]:
    samples = {
        resolution: _sample(catalog, endpoint, resolution, audio=endpoint.audio)
        for resolution in endpoint.resolutions
    }
    return {
        "endpoint": endpoint.id,
        "aliases": list(endpoint.aliases),
        "model": endpoint.model,
        "task": endpoint.task,
        "deprecated": endpoint.deprecated or None,
        "resolutions": list(endpoint.resolutions),
        "aspect_ratios": list(endpoint.aspect_ratios),
        "durations_s": list(endpoint.durations_s),
        "default_duration": AUTO if endpoint.auto_duration else endpoint.default_duration_s,
        "num_frames": list(endpoint.num_frames) if endpoint.num_frames else None,
        "inputs": [column for field, column in INPUTS.items() if getattr(endpoint, field)],
        "sample_s": _sample_s(endpoint),
        "samples": {
            resolution: {
                "expected_usd": usd_text(sample.expected_nano),
                "maximum_usd": usd_text(sample.maximum_nano),
            }
            for resolution, sample in samples.items()
        },
        "source": endpoint.source,
    }
