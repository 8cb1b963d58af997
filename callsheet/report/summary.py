"""A whole run in one document: counts, money, times."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from callsheet.ledger.records import Overrun
from callsheet.report.rollups import Rollup, frame_of, render_quantile_s, rollups, total
from callsheet.report.rows import ResultRow, iso_utc
from pricing.money import usd_text


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFacts:
    """What a run is called and bound by. `cap_nano` is the sum it may not pass, None where only others hold.

    Times are Unix milliseconds; `finished_ms` is None while it goes on. `is_sandbox` marks play money.
    `overruns` are the bills above what was held for them, `is_frozen` that nobody has looked at them yet.
    """

    run_id: str
    campaign: str
    dir: str
    price_book: str
    started_ms: int
    finished_ms: int | None = None
    cap_nano: int | None = None
    is_sandbox: bool = False
    is_frozen: bool = False
    overruns: tuple[Overrun, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """The run's totals, and the same by model, client and status."""

    run: RunFacts
    total: Rollup
    statuses: dict[str, int]
    by_model: list[Rollup]
    by_client: list[Rollup]
    by_status: list[Rollup]
    render_p50_s: float | None
    render_p95_s: float | None


def summarise(run: RunFacts, rows: Sequence[ResultRow]) -> Summary:
    """Add up the rows of a run."""
    frame = frame_of(rows)
    return Summary(
        run=run,
        total=total(frame),
        statuses=dict(sorted(Counter(row.status for row in rows).items())),
        by_model=rollups(frame, "model"),
        by_client=rollups(frame, "client"),
        by_status=rollups(frame, "status"),
        render_p50_s=render_quantile_s(frame, 0.5),
        render_p95_s=render_quantile_s(frame, 0.95),
    )


def summary_document(summary: Summary) -> dict[str, Any]:
    """Return summary.json: USD as exact decimal strings, times as ISO 8601 in UTC or null."""
    run = summary.run
    return {
        "run_id": run.run_id,
        "campaign": run.campaign,
        "dir": run.dir,
        "sandbox": run.is_sandbox,
        "price_book": run.price_book,
        "started_at": iso_utc(run.started_ms) or None,
        "finished_at": iso_utc(run.finished_ms) or None,
        **_sums(summary.total),
        "cap_usd": None if run.cap_nano is None else usd_text(run.cap_nano),
        "frozen": run.is_frozen,
        "overruns": [_overrun(each) for each in run.overruns],
        "statuses": summary.statuses,
        "render_seconds": {"p50": summary.render_p50_s, "p95": summary.render_p95_s},
        "by_model": {group.name: _sums(group) for group in summary.by_model},
        "by_client": {group.name: _sums(group) for group in summary.by_client},
    }


def _overrun(overrun: Overrun) -> dict[str, Any]:
    return {
        "custom_id": overrun.custom_id,
        "request_id": overrun.request_id,
        "held_usd": usd_text(overrun.hold_nano),
        "billed_usd": usd_text(overrun.cost_nano),
    }


def _sums(group: Rollup) -> dict[str, Any]:
    return {
        "jobs": group.jobs,
        "succeeded": group.succeeded,
        "failed": group.failed,
        "skipped": group.skipped,
        "unknown": group.unknown,
        "expected_usd": usd_text(group.expected_nano),
        "maximum_usd": usd_text(group.maximum_nano),
        "actual_usd": usd_text(group.actual_nano),
        "held_usd": usd_text(group.held_nano),
        "video_seconds": group.video_s,
    }
