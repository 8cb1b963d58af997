"""A whole run in one document: counts, money, times and what is kept. Money stays whole nano-dollars."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from callsheet.ledger.accounts import Account, Overrun
from callsheet.report.rows import RESULT_COLUMNS, SKIPPED, SUCCESSES, ResultRow, iso_utc
from pricing.budgets import first_spellings
from pricing.keep_rates import JudgedClip, keep_rates, rate_document
from pricing.money import ceil_div, usd_text

if TYPE_CHECKING:
    import pandas as pd

Group = Literal["model", "client"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFacts:
    """What is known of a run beside its rows. `cap_nano` is the run's own cap, None where it has none.

    Times are Unix milliseconds; `finished_ms` is None while it goes on. `is_sandbox` marks a run without
    real money. `caps` are the capped accounts that its money counts in. `overruns` are the bills above what
    was held for them; `is_frozen` says that one of them stopped the run and was not released yet.
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
    caps: tuple[Account, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollup:
    """The sums of one group. Amounts in nano-dollars, `video_s` seconds of finished video.

    `actual_nano` is booked and `held_nano` still held. `expected_nano` is that of the jobs which either of
    the two is for, so that they can be compared. `failed` counts failed and cancelled jobs.
    """

    name: str
    jobs: int
    succeeded: int
    failed: int
    skipped: int
    unknown: int
    expected_nano: int
    maximum_nano: int
    actual_nano: int
    held_nano: int
    video_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RunTotals:
    """The run's totals, and the same by model and client.

    `kept` says what is kept of the clips and what that costs, `drafts` the same of drafts.
    `elsewhere` counts the rows that other runs go on with, by run and status; `fetchable` the failed ones
    whose paid video fal may still have, by the run whose job it is. `statuses` counts them as well.
    """

    run: RunFacts
    total: Rollup
    statuses: dict[str, int]
    elsewhere: dict[str, dict[str, int]]
    fetchable: dict[str, int]
    by_model: list[Rollup]
    by_client: list[Rollup]
    render_p50_s: float | None
    render_p95_s: float | None
    kept: dict[str, Any]
    drafts: dict[str, Any]


def summarise(run: RunFacts, rows: Sequence[ResultRow]) -> RunTotals:
    """Add up the rows of a run."""
    times = sorted(row.render_s for row in rows if row.render_s is not None)
    return RunTotals(
        run=run,
        total=total(rows),
        statuses=dict(sorted(Counter(row.status for row in rows).items())),
        elsewhere=_elsewhere(rows),
        fetchable=dict(Counter(row.other_run or run.run_id for row in rows if row.is_fetchable)),
        by_model=rollups(rows, "model"),
        by_client=rollups(rows, "client"),
        render_p50_s=quantile(times, 0.5),
        render_p95_s=quantile(times, 0.95),
        kept=keep_document(rows, run.campaign),
        drafts=_drafts_document(rows),
    )


def _elsewhere(rows: Sequence[ResultRow]) -> dict[str, dict[str, int]]:
    found: dict[str, Counter[str]] = {}
    for row in rows:
        if row.other_run and row.status != "failed":
            found.setdefault(row.other_run, Counter())[row.status] += 1
    return {run_id: dict(found[run_id]) for run_id in sorted(found)}


def _drafts_document(rows: Sequence[ResultRow]) -> dict[str, Any]:
    """Describe the drafts of a run; nothing without any. `to_finish` can still be bought at full size."""
    drafts = [row for row in rows if row.draft_nano is not None]
    made = [row for row in drafts if row.status in SUCCESSES]  # a finish that failed is `retry`'s
    until = [row.finish_until_ms for row in made if row.finish_until_ms is not None]
    if not drafts:
        return {}
    told = {
        "drafts": len(drafts),
        "finished": sum(row.finish_nano is not None for row in made),
        "to_finish": len(until),
        "finish_until": iso_utc(min(until, default=None)) or None,
        "draft_usd": usd_text(sum(row.draft_nano or 0 for row in drafts)),
        "finish_usd": usd_text(sum(row.finish_nano or 0 for row in drafts)),
    }
    return {"drafts": told}


def rollups(rows: Sequence[ResultRow], by: Group) -> list[Rollup]:
    """Sum by one column, groups in alphabetical order. Spellings of one client are one group."""
    clients = first_spellings(row.job.client for row in rows)
    groups: dict[str, list[ResultRow]] = {}
    for row in rows:
        name = clients[row.job.client] if by == "client" else str(getattr(row, by))
        groups.setdefault(name, []).append(row)
    return [total(groups[name], name) for name in sorted(groups)]


def total(rows: Sequence[ResultRow], name: str = "") -> Rollup:
    """Sum everything."""
    return Rollup(
        name=name,
        jobs=len(rows),
        succeeded=sum(row.status in SUCCESSES for row in rows),
        failed=sum(row.status in {"failed", "cancelled"} for row in rows),
        skipped=sum(row.status in SKIPPED for row in rows),
        unknown=sum(row.status == "unknown" for row in rows),
        expected_nano=sum(row.expected_nano for row in rows if _is_paid(row)),
        maximum_nano=sum(row.maximum_nano for row in rows),
        actual_nano=sum(row.actual_nano or 0 for row in rows),
        held_nano=sum(row.held_nano for row in rows),
        video_s=round(math.fsum(row.duration_s or 0.0 for row in rows), 3),
    )


def clips_of(rows: Sequence[ResultRow], campaign: str) -> list[JudgedClip]:
    """Return the clips that a run has made itself; what it uses of earlier runs was judged there."""
    return [
        JudgedClip(
            campaign=campaign,
            client=row.job.client,
            model=row.model,
            shot=row.shot,
            spent_nano=row.actual_nano or 0,
            verdict=row.verdict or ("keep" if row.finish_nano is not None else ""),
            length_ms=round(1000 * (row.duration_s or 0)),
        )
        for row in rows
        if row.status in SUCCESSES and row.status != "already_made"
    ]


def keep_document(rows: Sequence[ResultRow], campaign: str) -> dict[str, Any]:
    """Describe what is kept of a run: all together, by model and by client."""
    clips = clips_of(rows, campaign)
    return {
        **rate_document(keep_rates(clips)[0]),
        "by_model": {rate.name: rate_document(rate) for rate in keep_rates(clips, "model")},
        "by_client": {rate.name: rate_document(rate) for rate in keep_rates(clips, "client")},
    }


def shown_together(amounts_nano: Sequence[int], step_nano: int) -> list[int]:
    """Round amounts to whole steps (a cent is 10^7) so that they add up to their total, rounded up.

    Each is rounded down, and the steps that are then missing go to the largest remainders. Amounts are 0 or
    more; none moves by a step or more.
    """
    steps = [amount // step_nano for amount in amounts_nano]
    missing = ceil_div(sum(amounts_nano), step_nano) - sum(steps)
    order = sorted(range(len(steps)), key=lambda index: (-(amounts_nano[index] % step_nano), index))
    for index in order[:missing]:
        steps[index] += 1
    return [count * step_nano for count in steps]


def _is_paid(row: ResultRow) -> bool:
    """Say whether money of this run was spent on a job, or is held for what was sent of it."""
    return bool(row.actual_nano) or (row.held_nano > 0 and row.status != "held")


def quantile(ordered: Sequence[float], share: float) -> float | None:
    """Return a quantile of numbers in order, between two of them in proportion; None where there are none."""
    if not ordered:
        return None
    place = share * (len(ordered) - 1)
    low = math.floor(place)
    high = min(low + 1, len(ordered) - 1)
    return round(ordered[low] + (ordered[high] - ordered[low]) * (place - low), 3)


def summary_document(summary: RunTotals) -> dict[str, Any]:
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
        "overruns": [overrun_document(each) for each in run.overruns],
        "statuses": summary.statuses,
        "elsewhere": summary.elsewhere,
        "fetchable": summary.fetchable,
        "render_seconds": {"p50": summary.render_p50_s, "p95": summary.render_p95_s},
        "by_model": {group.name: _sums(group) for group in summary.by_model},
        "by_client": {group.name: _sums(group) for group in summary.by_client},
        "kept": summary.kept,
        **summary.drafts,
    }


def overrun_document(overrun: Overrun) -> dict[str, Any]:
    """Return a bill above its hold, with USD as exact decimal strings."""
    return {
        "custom_id": overrun.custom_id,
        "row": overrun.row,
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


@dataclass(frozen=True)
class RunSummary:
    """How a run ended. `exit_code` is the command line's; `document` is what `run --json` prints."""

    run_id: str
    dir: Path
    succeeded: int
    failed: int
    skipped: int
    unknown: int
    expected_usd: Decimal
    actual_usd: Decimal
    exit_code: int
    document: Mapping[str, Any] = field(repr=False, hash=False)

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> RunSummary:
        """Read what a run leaves as its summary."""
        return cls(
            run_id=document["run_id"],
            dir=Path(document["dir"]),
            succeeded=document["succeeded"],
            failed=document["failed"],
            skipped=document["skipped"],
            unknown=document["unknown"],
            expected_usd=Decimal(document["expected_usd"]),
            actual_usd=Decimal(document["actual_usd"]),
            exit_code=document["exit_code"],
            document=document,
        )

    def results(self) -> pd.DataFrame:
        """Return one row per job of the manifest, as in results.parquet.

        Amounts are Decimals in USD, exact to the nano-dollar; None where there is none.
        """
        import pandas as pd  # noqa: PLC0415 -- half a second that no command needs
        import pyarrow.parquet as pq  # noqa: PLC0415

        frame: pd.DataFrame = pq.read_table(self.dir / "results.parquet").to_pandas()
        for name in (each.name for each in RESULT_COLUMNS if each.name.endswith("_usd")):
            amounts = [Decimal(text) if text else None for text in frame[name]]
            frame[name] = pd.Series(amounts, frame.index, dtype=object)
        return frame
