"""report.html: the run on one page, opened from the disk by a double click and worth sending on.

Nothing is fetched from anywhere but the run's own folder, and nothing in it runs: the page has no script, its
policy allows none, and every text is escaped. Videos load only when played.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from pathlib import Path

import jinja2
from markupsafe import Markup

from callsheet.report.cards import card_of, thumbnail_of
from callsheet.report.rollups import Rollup
from callsheet.report.rows import ResultRow
from callsheet.report.summary import Summary
from pricing.money import usd_rounded_up, usd_text

MAX_CARDS = 2_000
"""Clips shown; beyond that the page names the files that have the rest. Failures are shown first of all."""


def render_page(summary: Summary, rows: Sequence[ResultRow], posters: Collection[str] = ()) -> str:
    """Return the page as HTML. `posters` are the stills that exist, relative to the run's folder."""
    shown = _shown(rows)
    return _TEMPLATE.render(
        summary=summary,
        run=summary.run,
        cards=[card_of(row, posters) for row in shown],
        hidden=len(rows) - len(shown),
        filters=_filters(summary.total),
        tables=[("Model", summary.by_model), ("Client", _named(summary.by_client))],
        bar=_bar(summary),
        style=Markup(_STYLE),  # noqa: S704  (our own file)
        style_hash=base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode(),
    )


def existing_thumbnails(directory: Path, rows: Sequence[ResultRow]) -> frozenset[str]:
    """Return the stills of these rows that stand in the run's folder."""
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
        ("skipped", "Left out", total.skipped),
        ("open", "Open", other),
    ]
    return [group for group in groups if group[2]]


def _named(groups: list[Rollup]) -> list[Rollup]:
    """Return the groups, or none where nothing but the empty name is among them."""
    return groups if any(group.name for group in groups) else []


def _bar(summary: Summary) -> dict[str, float]:
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


# Compiled when imported: a run imports this while its videos render, and wants the page when they are there.
_TEMPLATE = _environment().get_template("report.html.j2")
_STYLE = _TEMPLATE.environment.get_template("report.css").render()
