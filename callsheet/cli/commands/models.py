"""`callsheet models`."""

from __future__ import annotations

from callsheet.cli.options import Json
from callsheet.cli.output import document, show_line
from pricing.catalog import Catalog, Endpoint, load_catalog
from pricing.money import usd_rounded_up, usd_text
from pricing.quotes import Shot, quote, rate_text


def models(*, json: Json = False) -> int:
    """Show endpoints, aliases, allowed values, rates and a sample price.

    Example: callsheet models --json
    """
    catalog = load_catalog()
    if json:
        document([_as_document(catalog, endpoint) for endpoint in catalog.endpoints.values()])
        return 0
    for endpoint in catalog.endpoints.values():
        for line in _lines(catalog, endpoint):
            show_line(line, indent=16)
    show_line(f"Price book of {catalog.price_book}. For `auto`, the price of the largest size is reserved.")
    return 0


def _lines(catalog: Catalog, endpoint: Endpoint) -> list[str]:
    sample = quote(catalog, _sample(endpoint))
    low, high = endpoint.durations_s[0], endpoint.durations_s[-1]
    expected, most = usd_rounded_up(sample.expected_nano), usd_rounded_up(sample.maximum_nano)
    extras = [
        f"num_frames {endpoint.num_frames[0]}-{endpoint.num_frames[1]}" if endpoint.num_frames else "",
        "end_image_url" if endpoint.end_image else "",
        "generate_audio" if endpoint.audio else "",
        "reference_image_urls" if endpoint.reference_images else "",
    ]
    return [
        f"{endpoint.model}  {endpoint.task}",
        f"  endpoint      {endpoint.id}",
        f"  resolution    {' '.join(endpoint.resolutions)}  (default {endpoint.default_resolution})",
        f"  aspect_ratio  {' '.join(endpoint.aspect_ratios)}  (default {endpoint.default_aspect_ratio})",
        f"  duration      {low}-{high} s" + "".join(f", {extra}" for extra in extras if extra),
        f"  rate          {_rates(catalog, endpoint)}",
        f"  sample        {sample.width_px}x{sample.height_px}, 5 s: {expected} expected, {most} at most",
        "",
    ]


def _rates(catalog: Catalog, endpoint: Endpoint) -> str:
    kinds = ((True, " with audio"), (False, " without audio")) if endpoint.audio else ((False, ""),)
    return ", ".join(
        f"${rate_text(catalog.rate_nano(endpoint, audio=audio))}{words} per million tokens"
        for audio, words in kinds
    )


def _sample(endpoint: Endpoint) -> Shot:
    return Shot(
        endpoint=endpoint,
        resolution=endpoint.default_resolution,
        aspect_ratio="16:9",
        audio=endpoint.audio,
    )


def _as_document(catalog: Catalog, endpoint: Endpoint) -> dict[str, object]:
    sample = quote(catalog, _sample(endpoint))
    return {
        "endpoint": endpoint.id,
        "model": endpoint.model,
        "task": endpoint.task,
        "resolutions": list(endpoint.resolutions),
        "aspect_ratios": list(endpoint.aspect_ratios),
        "durations_s": list(endpoint.durations_s),
        "num_frames": list(endpoint.num_frames) if endpoint.num_frames else None,
        "end_image_url": endpoint.end_image,
        "generate_audio": endpoint.audio,
        "usd_per_million_tokens": rate_text(catalog.rate_nano(endpoint, audio=endpoint.audio)),
        "sample_expected_usd": usd_text(sample.expected_nano),
        "sample_maximum_usd": usd_text(sample.maximum_nano),
        "source": endpoint.source,
    }
