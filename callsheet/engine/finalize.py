"""The end of a run: results, errors, summary and report are written, and copied to an object store."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from callsheet.engine.announce import announce_end
from callsheet.engine.context import RunContext, named
from callsheet.engine.in_flight import left_to
from callsheet.engine.made_files import Refetched, not_stored, refetch_gone
from callsheet.engine.paid_results import NOT_FETCHED
from callsheet.engine.request import results_address
from callsheet.engine.results import absent_earlier, summary_of, write_report
from callsheet.engine.retry import is_worth_trying
from callsheet.engine.rollback_guard import remember
from callsheet.engine.run_folder import fetch_pictures, publish_report
from callsheet.errors import (
    AccountFrozen,
    BudgetError,
    CallsheetError,
    CanaryError,
    CapReached,
    ClaimLost,
    Interrupted,
    InterruptedByPerson,
    Overbilled,
    PricesChanged,
    RunStopping,
)
from callsheet.ledger import AccountRef, Ledger, Run, State, parts, queries, runs, transitions
from callsheet.ledger.locks import WHOLE
from callsheet.ledger.states import SENT_TO_FAL
from callsheet.report.summary import RunFacts, summarise, summary_document
from manifests.plan import Plan

EXIT_FAILED_JOBS = 4
EXIT_CAP = 5
EXIT_UNKNOWN = 7

ON_PURPOSE = (CanaryError, PricesChanged, Overbilled, InterruptedByPerson)
"""Reasons for a stop after which only a person's command goes on with a run."""

REST_S = 600
"""How long work rests for which nothing could be done (a host is away, a key is refused), in seconds."""

MOST_CHARS = 1000
"""Length at most of the reason for a stop that is kept."""

LEFT_OVER = ("pending", "held", "rendered")
"""Statuses of jobs that were not sent, or rendered and not fetched: `resume` goes on with them."""


async def finalize(ctx: RunContext) -> dict[str, Any]:
    """Write everything a run leaves and return its summary, as `run --json` prints it.

    Raises ClaimLost, and writes nothing, where another process has taken the run over: it writes the results.
    """
    await ctx.do.call(Ledger.renew)
    await wind_up(ctx)
    tally = await ctx.do(queries.tally, ctx.run.run_id)
    if tally.finished == tally.jobs:
        await ctx.do(runs.close_run, ctx.run.run_id)
    run = replace(await ctx.do(queries.run, ctx.run.run_id), out=str(ctx.folder))
    gone = await asyncio.to_thread(not_stored, await ctx.do.call(absent_earlier, run))
    refetched = await refetch_gone(ctx.account, [await ctx.do(queries.job, file.job_id) for file in gone])
    _tell(ctx, refetched)
    await fetch_pictures(ctx)
    await ctx.do.call(remember, Path(run.out).parent, run.run_id)
    summary = await ctx.do.call(_written, run, ctx.state.notice)
    for run_id, statuses in summary["elsewhere"].items():
        ctx.state.notice(left_to(run_id, sum(statuses.values()), sandbox=ctx.request.sandbox))
    unpublished = await publish_report(ctx)
    ctx.state.summary = await _told(ctx, summary, unpublished=unpublished, gone=len(refetched.lost))
    await announce_end(ctx, ctx.state.summary)
    ctx.state.finalized.set()
    return ctx.state.summary


async def written_summary(ctx: RunContext) -> dict[str, Any]:
    """Return the summary of a run that another process has written, or is going to write."""
    run = replace(await ctx.do(queries.run, ctx.run.run_id), out=str(ctx.folder))
    return await _told(ctx, await ctx.do.call(summary_of, run), unpublished=0, gone=0)


def _nothing_told() -> dict[str, Any]:
    """Return what a summary has besides the jobs, as it is where nothing was done."""
    return {
        "notes": [],
        "remarks": [],
        "published": None,
        "stopped_by": "",
        "cancelled": False,
        "stopped_for_money": False,
        "stop_kind": "",
        "again": False,
        "only_all_retries": False,
        "unpublished": 0,
        "gone": 0,
    }


def empty_summary(plan: Plan, *, sandbox: bool) -> dict[str, Any]:
    """Return the summary of a plan without rows, for which no run was opened: `run_id` and `dir` are None."""
    facts = RunFacts(
        run_id="",
        campaign=plan.campaign,
        dir="",
        price_book=plan.price_book,
        started_ms=0,
        is_sandbox=sandbox,
    )
    nowhere = {"run_id": None, "dir": None, "started_at": None}
    jobs = summary_document(summarise(facts, []))
    return {**jobs, **nowhere, **_nothing_told(), "exit_code": 0, "taken_up": {}}


async def _told(ctx: RunContext, summary: dict[str, Any], *, unpublished: int, gone: int) -> dict[str, Any]:
    """Add to a summary what this process knows besides its jobs, and why it was stopped, in any process."""
    why = (await ctx.do(parts.stops, [ctx.run.run_id])).get(ctx.run.run_id)
    complete = {
        **summary,
        "notes": ctx.state.unfinished,
        "remarks": ctx.state.notices,
        "published": results_address(ctx.run),
        "stopped_by": why or str(ctx.stop.reason or ""),
        "cancelled": ctx.state.cancelled,
        "stopped_for_money": isinstance(ctx.stop.reason, BudgetError),
        "stop_kind": stop_kind(ctx.stop.reason, ctx.run.run_id) or _kind_so_far(summary, why or ""),
        "again": ctx.request.again,
        "only_all_retries": await ctx.do.call(_only_all_retries, ctx.run.run_id),
        "unpublished": unpublished,
        "gone": gone,
    }
    return {**complete, "exit_code": exit_code(complete, ctx.stop.reason, fit=ctx.request.fit)}


def _kind_so_far(summary: Mapping[str, Any], why: str) -> str:
    """Return the same where the run was stopped earlier, or by another process: `why` is what it wrote."""
    if why.startswith(PricesChanged.says):
        return "prices"
    return "freeze" if summary["frozen"] else ""


def _only_all_retries(ledger: Ledger, run_id: str) -> bool:
    """Say whether every failure is one that `retry` leaves alone without `--all`."""
    ended = ledger.do(queries.jobs, run_id, states={State.FAILED, State.CANCELLED})
    return bool(ended) and not any(row.error_type in NOT_FETCHED or is_worth_trying(row) for row in ended)


def stop_kind(reason: CallsheetError | None, run_id: str) -> str:
    """Return in one word what stopped a run, where the command that goes on depends on it; else ""."""
    if isinstance(reason, PricesChanged):
        return "prices"
    if isinstance(reason, Overbilled | AccountFrozen):
        return "freeze"
    own_cap = str(AccountRef("run", run_id))
    return "run_cap" if isinstance(reason, CapReached) and reason.scope == own_cap else ""


async def wind_up(ctx: RunContext) -> None:
    """Leave out what money did not reach, and let a run rest that was stopped on purpose.

    Going on with that is a person's decision: neither the campaign's next run nor the keeper does.
    """
    reason = ctx.stop.reason
    if isinstance(reason, BudgetError):
        waiting = await ctx.jobs(State.PENDING)
        await ctx.do(transitions.skip, [row.job_id for row in waiting], why=f"not bought: {reason}"[:500])
    if isinstance(reason, ON_PURPOSE) or ctx.state.breaker.has_tripped:
        await ctx.do(runs.request_stop, ctx.run.run_id)
    if why := _why_stopped(ctx):
        part = ctx.within.name if ctx.within else WHOLE
        await ctx.do(parts.note_stop, ctx.run.run_id, part, why[:MOST_CHARS])


async def rest_if_left(ctx: RunContext) -> None:
    """Let a part, or a run that was never split, rest where work is left of it that cannot be done now.

    A keeper does not take it up at once then. Where the process was told to end it does.
    """
    name = ctx.within.name if ctx.within else WHOLE
    for each in await ctx.do(parts.work, ctx.run.run_id):
        if each.part == name and each.has_work and not isinstance(ctx.stop.reason, Interrupted):
            await ctx.do(parts.rest, ctx.run.run_id, name, for_ms=1000 * REST_S)


def _why_stopped(ctx: RunContext) -> str:
    """Say why this process buys no more; "" where it does, where it is told to end, and where others said."""
    reason = ctx.stop.reason
    if isinstance(reason, InterruptedByPerson):
        return "interrupted by a person"
    if reason is not None and not isinstance(reason, Interrupted | RunStopping | ClaimLost):
        return str(reason)
    return next((text for text in ctx.state.notices if text.startswith("stopped buying")), "")


def _written(ledger: Ledger, run: Run, tell: Callable[[str], object]) -> dict[str, Any]:
    """Write the results of a run that is still this process's own."""
    ledger.renew()
    return write_report(ledger, run, tell)


def _tell(ctx: RunContext, refetched: Refetched) -> None:
    """Say which files of earlier runs were gone: those that fal still had, and those that it had not."""
    if refetched.again:
        ctx.state.notice(
            f"the files of {named(refetched.again)} were gone and were downloaded again, for free"
        )
    if refetched.lost:
        ctx.state.notice(
            f"{named(refetched.lost)} were made and paid for, but the files are gone and fal no longer has "
            "them. Put the files back, or buy them again with --again"
        )


def exit_code(summary: Mapping[str, Any], reason: CallsheetError | None, *, fit: bool) -> int:
    """Return the code of docs/cli.md: what stopped the run comes first, then unknown, capped and failed jobs.

    With `fit`, what was left out was chosen to be; without it, a cap left it out.
    """
    if reason is not None and not isinstance(reason, CapReached):
        return reason.exit_code
    if summary["unknown"]:
        return EXIT_UNKNOWN
    if reason is not None:
        return EXIT_CAP
    if any(summary["statuses"].get(status) for status in SENT_TO_FAL):
        return EXIT_UNKNOWN
    left = any(summary["statuses"].get(status) for status in LEFT_OVER)
    if summary["failed"] or left or summary["unpublished"] or summary["gone"]:
        return EXIT_FAILED_JOBS
    return EXIT_CAP if summary["skipped"] and not fit else 0
