"""One clip as the report shows it. Pure."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import PurePosixPath
from urllib.parse import quote, urlsplit

from callsheet.report.rows import ResultRow

MEDIA = "media"
POSTERS = "posters"

_GROUPS = {
    "succeeded": "done",
    "already_made": "done",
    "failed": "failed",
    "cancelled": "failed",
    "unknown": "unknown",
    "skipped_budget": "skipped",
}
_LABELS = {
    "succeeded": "finished",
    "already_made": "made before",
    "in_queue": "in the queue",
    "in_progress": "rendering",
    "rendered": "to be fetched",
    "unknown": "outcome unknown",
    "skipped_budget": "left out",
}
_EXPLAINED = {
    "skipped_budget": "Left out: it did not fit the budget.",
    "unknown": "It may have been ordered and may be charged. `callsheet reconcile` finds out.",
    "cancelled": "Cancelled.",
}
_KEPT = "\n\u200c\u200d"
"""Line breaks, and the joiners that Persian, Hindi and family emoji are written with."""
_CHARGED = {"yes": "charged", "no": "not charged", "unknown": "may be charged"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """What a person sees of one clip. Addresses are safe to stand in an attribute, empty where there is none.

    `group` is the filter it falls under: done, failed, unknown, skipped or open.
    """

    custom_id: str
    group: str
    label: str
    prompt: str
    model: str
    client: str
    shape: str
    cost_nano: int | None
    expected_nano: int
    error: str
    charged: str
    video: str
    poster: str
    link: str
    details: tuple[tuple[str, str], ...]


def card_of(row: ResultRow, posters: Collection[str] = ()) -> Card:
    """Make the card of one job. `posters` are the stills that exist, relative to the run's folder."""
    poster = thumbnail_of(row.output_path) if row.output_path else ""
    return Card(
        custom_id=_clean(row.custom_id),
        group=_GROUPS.get(row.status, "open"),
        label=_LABELS.get(row.status, row.status),
        prompt=_clean(row.job.prompt),
        model=row.model,
        client=_clean(row.job.client),
        shape=_shape(row),
        cost_nano=row.actual_nano,
        expected_nano=row.expected_nano,
        error=_clean(row.error) or _EXPLAINED.get(row.status, ""),
        charged=_CHARGED.get(row.charged, "") if row.error else "",
        video=quote(row.output_path),
        poster=quote(poster) if poster in posters else "",
        link=row.output_url if _is_web_address(row.output_url) else "",
        details=_details(row),
    )


def thumbnail_of(output_path: str) -> str:
    """Return where a clip's still stands: `media/a/b.mp4` has `posters/a/b.jpg`."""
    parts = [POSTERS if part == MEDIA else part for part in PurePosixPath(output_path).parts]
    return str(PurePosixPath(*parts).with_suffix(".jpg"))


def _shape(row: ResultRow) -> str:
    """Say what the clip is, or, where there is none, what was asked for."""
    if row.width_px is None or row.duration_s is None:
        length = f"{row.job.num_frames} frames" if row.job.num_frames else f"{row.job.duration_s} s"
        return f"{row.job.resolution} · {row.job.aspect_ratio} · {length}"
    sound = " · sound" if row.has_audio else ""
    return f"{row.width_px} × {row.height_px} · {row.duration_s:.2f} s · {row.fps:g} fps{sound}"  # noqa: RUF001


def _details(row: ResultRow) -> tuple[tuple[str, str], ...]:
    """Return the small print as pairs of a word and a value; what is not known is left out."""
    pairs = (
        ("endpoint", row.job.endpoint.id),
        ("request", row.request_id),
        ("seed", "" if row.seed_used is None else str(row.seed_used)),
        ("attempts", str(row.attempts) if row.attempts > 1 else ""),
        ("cost from", row.cost_basis.replace("_", " ")),
        ("error", row.error_type),
        ("SHA-256", row.sha256),
    )
    return tuple((word, _clean(value)) for word, value in pairs if value)


def _is_web_address(url: str) -> bool:
    """Say whether a link may be followed from the page: `javascript:` and the like may not."""
    try:
        return urlsplit(url).scheme in {"https", "http"}
    except ValueError:
        return False


def _clean(text: str) -> str:
    """Drop control characters and those that turn the direction of text; joiners and line breaks stay."""
    return "".join(char for char in text if char.isprintable() or char in _KEPT)
