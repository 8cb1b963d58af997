"""report.html: the run on one page, which opens from the disk with a double click.

Nothing is fetched from anywhere but the run's own folder, and nothing in it runs: the page has no script, its
policy allows none, and every text is escaped. Videos load only when played.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote, urlsplit

import jinja2
from markupsafe import Markup

from callsheet.report.rows import ResultRow, minute_utc, thumbnail_of
from callsheet.report.summary import Rollup, RunTotals, shown_together
from pricing.money import usd_rounded_up, usd_text
from pricing.quotes import length_text

CENT_NANO = 10_000_000
MAX_CARDS = 2_000
"""Clips shown; beyond that the page names the files that have the rest. Failures are shown first of all."""


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
    "already_made": "already made",
    "in_queue": "in queue",
    "in_progress": "rendering",
    "rendered": "not fetched yet",
    "unknown": "outcome unknown",
    "skipped_budget": "skipped",
}
_EXPLAINED = {
    "skipped_budget": "Skipped: over budget.",
    "unknown": "fal may have accepted and charged it. `callsheet reconcile` finds out.",
    "rendered": "It is paid for and will be fetched for free: `callsheet resume`.",
    "cancelled": "Cancelled.",
}
_KEPT = "\n\u200c\u200d"
"""Line breaks, and the joiners that Persian, Hindi and family emoji are written with."""
_CHARGED = {"yes": "charged", "no": "not charged", "unknown": "may be charged"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """What the page shows of one clip. Addresses are safe in an attribute, and empty where there is none.

    `group` is the filter it belongs to: done, failed, unknown, skipped or open.
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


def card_of(row: ResultRow, thumbnails: Collection[str] = ()) -> Card:
    """Make the card of one job. `thumbnails` are those that exist, relative to the run's folder."""
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
        video="" if _is_address(row.output_path) else quote(row.output_path),
        poster=quote(poster) if poster in thumbnails else "",
        link=row.output_url if _is_web_address(row.output_url) else "",
        details=_details(row),
    )


def _shape(row: ResultRow) -> str:
    """Say what the clip is, or, where there is none, what was asked for."""
    if row.width_px is None or row.duration_s is None:
        length = length_text(row.job.shot)
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
        ("draft", "" if row.draft_nano is None else f"${usd_text(row.draft_nano)}"),
        ("finish", "" if row.finish_nano is None else f"${usd_text(row.finish_nano)}"),
        ("finish until", "" if row.finish_until_ms is None else minute_utc(row.finish_until_ms)),
        ("error", row.error_type),
        ("file", row.output_path if _is_address(row.output_path) else ""),
        ("SHA-256", row.sha256),
    )
    return tuple((word, _clean(value)) for word, value in pairs if value)


def _is_address(path: str) -> bool:
    """Say whether a file is in another object store than the page; a browser cannot play it from there."""
    return "://" in path


def _is_web_address(url: str) -> bool:
    """Say whether a link may be followed from the page: `javascript:` and the like may not."""
    try:
        return urlsplit(url).scheme in {"https", "http"}
    except ValueError:
        return False


def _clean(text: str) -> str:
    """Drop control characters and those that turn the direction of text; joiners and line breaks stay."""
    return "".join(char for char in text if char.isprintable() or char in _KEPT)


def render_page(summary: RunTotals, rows: Sequence[ResultRow], thumbnails: Collection[str] = ()) -> str:
    """Return the page as HTML. `thumbnails` are those that exist, relative to the run's folder."""
    shown = _shown(rows)
    return _TEMPLATE.render(
        summary=summary,
        run=summary.run,
        cards=[card_of(row, thumbnails) for row in shown],
        hidden=len(rows) - len(shown),
        filters=_filters(summary.total),
        tables=[("Model", _lines(summary.by_model)), ("Client", _lines(_named(summary.by_client)))],
        bar=_bar(summary),
        style=Markup(_STYLE),  # noqa: S704  (our own file)
        style_hash=base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode(),
    )


def existing_thumbnails(directory: Path, rows: Sequence[ResultRow]) -> frozenset[str]:
    """Return the thumbnails of these rows that exist; paths are relative to the run's folder."""
    names = {thumbnail_of(row.output_path) for row in rows if row.output_path}
    return frozenset(name for name in names if (directory / name).is_file())


def _shown(rows: Sequence[ResultRow]) -> list[ResultRow]:
    """Return the rows to show, in their own order; failures come first where not all fit."""
    if len(rows) <= MAX_CARDS:
        return list(rows)
    order = sorted(range(len(rows)), key=lambda index: (not rows[index].error, index))[:MAX_CARDS]
    return [rows[index] for index in sorted(order)]


def _filters(total: Rollup) -> list[tuple[str, str, int]]:
    """Return group, label and number of clips of every filter that has any."""
    other = total.jobs - total.succeeded - total.failed - total.unknown - total.skipped
    groups = [
        ("done", "Finished", total.succeeded),
        ("failed", "Failed", total.failed),
        ("unknown", "Outcome unknown", total.unknown),
        ("skipped", "Skipped", total.skipped),
        ("open", "Open", other),
    ]
    return [group for group in groups if group[2]]


def _lines(groups: list[Rollup]) -> list[tuple[Rollup, int, int]]:
    """Return each group with its expected and actual cost in whole cents that add up to the run's."""
    expected = shown_together([group.expected_nano for group in groups], CENT_NANO)
    actual = shown_together([group.actual_nano for group in groups], CENT_NANO)
    return list(zip(groups, expected, actual, strict=True))


def _named(groups: list[Rollup]) -> list[Rollup]:
    """Return the groups, or none where nothing but the empty name is among them."""
    return groups if any(group.name for group in groups) else []


def _bar(summary: RunTotals) -> dict[str, float]:
    """Return the widths of the money bar in percent of the cap, or of the maximum where there is no cap."""
    sums = summary.total
    whole = max(summary.run.cap_nano or sums.maximum_nano, sums.actual_nano + sums.held_nano, 1)
    return {
        "spent": round(sums.actual_nano * 100 / whole, 2),
        "held": round(sums.held_nano * 100 / whole, 2),
    }


def _when(unix_ms: int | None) -> str:
    if unix_ms is None:
        return "still running"
    return f"{datetime.fromtimestamp(unix_ms / 1000, UTC):%-d %B %Y, %H:%M} UTC"


def _seconds(value: float | None) -> str:
    if value is None:
        return ""
    if value < 120:
        return f"{value:.3g} s"
    minutes, seconds = divmod(round(value), 60)
    return f"{minutes} min {seconds:02d} s"


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("callsheet.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(usd=usd_rounded_up, exact=usd_text, when=_when, seconds=_seconds)
    return environment


_TEMPLATE = _environment().get_template("report.html.j2")
_STYLE = _TEMPLATE.environment.get_template("report.css").render()
