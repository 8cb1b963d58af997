"""While a run goes on: settle what is unknown, and look after the runs of processes that died.

A lost reply keeps its slot, and so do the renders of a dead neighbour. What is found is followed to its file,
also where fal's webhook has named it to the receiver; what provably never arrived is bought again, where the
run may buy by then.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any

from callsheet.engine.collect_runs import collect_dead_runs
from callsheet.engine.context import RunContext
from callsheet.engine.job import render_job
from callsheet.engine.price_check import catch_up
from callsheet.errors import CallsheetError, ClaimLost, LedgerUnavailable
from callsheet.ledger import AT_FAL, JobRow, State, queries
from callsheet.ledger.states import HAS_OPEN_SUBMISSION
from callsheet.reconciliation.findings import Finding, Findings, Outcome
from callsheet.reconciliation.open_jobs import settle_ledger

logger = logging.getLogger(__name__)

LOOK_EVERY_S = 15.0
"""Pause between two looks, in seconds. Without anything open elsewhere a look is one query."""

LAST_COLLECT_S = 10.0
"""How long the end of a run goes on fetching what dead runs have rendered, in seconds."""

WEBHOOK_WITHIN_S = 180.0
"""How long the end of a run waits for the webhooks of requests without a reply, in seconds. They come when
the renders end, and a render takes 41 s."""

WEBHOOK_LOOK_S = 1.0
"""Pause between two looks into the ledger meanwhile, in seconds."""


@asynccontextmanager
async def reconcile_loop(ctx: RunContext) -> AsyncIterator[None]:
    """Look again and again while inside. At the end nothing is waited for: the ledger has everything."""
    looking = asyncio.ensure_future(_loop(ctx))
    try:
        yield
    finally:
        ours = {looking, *ctx.state.background}
        for task in ours:
            task.cancel()
        await asyncio.gather(*ours, return_exceptions=True)


async def settle_rest(ctx: RunContext) -> None:
    """Finish what was found while the run went on, and look once more for unknown and neighbours' requests.

    A short run has not fetched so far what dead neighbours left.
    """
    await _background_done(ctx)
    if not ctx.stop.admitting:
        return
    with _noted(ctx):
        await _wait_for_webhooks(ctx)
    with _noted(ctx):
        await _look_if_open(ctx, collect_s=LAST_COLLECT_S)
    await _background_done(ctx)


async def settle_others(ctx: RunContext) -> Findings:
    """Settle what is unknown, here and in dead runs. What this run has at fal it polls itself."""
    return await settle_ledger(ctx.account, owned=ctx.scope)


async def _background_done(ctx: RunContext) -> None:
    stopped: asyncio.Future[Any] = asyncio.ensure_future(ctx.stop.wait_stopped())
    try:
        while ctx.state.background and not stopped.done():
            await asyncio.wait({*ctx.state.background, stopped}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        stopped.cancel()


async def _loop(ctx: RunContext) -> None:
    while True:
        await asyncio.sleep(LOOK_EVERY_S)
        with _noted(ctx):
            await _follow_named(ctx)
            await _look_if_open(ctx)


async def _look_if_open(ctx: RunContext, *, collect_s: float | None = None) -> None:
    """Look where something is unknown, or open elsewhere, and fetch what dead runs have rendered.

    After `collect_s` seconds the rest of that is left to others.
    """
    open_jobs = await ctx.do(queries.open_jobs, states=HAS_OPEN_SUBMISSION)
    if any(row not in ctx.scope or row.state is State.UNKNOWN for row in open_jobs):
        await _look(ctx)
        with suppress(TimeoutError):
            async with asyncio.timeout(collect_s):
                await collect_dead_runs(ctx.account, leave={ctx.run.run_id})


async def _wait_for_webhooks(ctx: RunContext) -> None:
    """Wait a while for the webhooks of requests whose replies were lost here, and follow what they name."""
    began_s = time.monotonic()
    while ctx.webhook is not None and ctx.stop.admitting:
        await _follow_named(ctx)
        if not ctx.state.lost or time.monotonic() - began_s >= WEBHOOK_WITHIN_S:
            return
        await ctx.stop.pause(WEBHOOK_LOOK_S)


async def _follow_named(ctx: RunContext) -> None:
    """Follow the requests without a reply whose ids are known by now: the receiver has recorded them."""
    for job_id in sorted(ctx.state.lost):
        row = await ctx.do(queries.job, job_id)
        if row.state is State.UNKNOWN:
            continue
        ctx.state.lost.discard(job_id)
        if row.state in AT_FAL:
            _in_background(ctx, render_job(ctx, job_id))


def _in_background(ctx: RunContext, work: Awaitable[object]) -> None:
    """Do something for the run, which does not end before it. What goes wrong is noted."""

    async def noted() -> None:
        with _noted(ctx):
            await work

    task: asyncio.Future[Any] = asyncio.ensure_future(noted())
    ctx.state.background.add(task)
    task.add_done_callback(ctx.state.background.discard)


@contextmanager
def _noted(ctx: RunContext) -> Iterator[None]:
    """Let nothing but a cancellation end the loop: what goes wrong is said once."""
    try:
        yield
    except ClaimLost as lost:
        ctx.stop.stop(lost)
    except LedgerUnavailable as away:  # the run waits for it, and no job of it is left because of this
        logger.warning("reconciling was broken off: %s", away, extra={"run": ctx.run.run_id})
    except Exception as error:  # noqa: BLE001 -- no caller awaits this task, so the error would be lost
        logger.warning("reconciling failed: %r", error, extra={"run": ctx.run.run_id})
        ctx.state.note_unfinished(
            str(error) if isinstance(error, CallsheetError) else f"reconciling failed: {error!r}"
        )


async def _look(ctx: RunContext) -> None:
    # Read before the look: a job released while it is False is bought by the scheduler.
    outcomes: tuple[Outcome, ...] = ("found", "absent") if ctx.state.may_buy else ("found",)
    findings = await settle_others(ctx)
    for each in findings.by(*outcomes):
        row = await ctx.do(queries.job, each.job_id)
        if row in ctx.scope:
            _in_background(ctx, _followed(ctx, each, row))


async def _followed(ctx: RunContext, each: Finding, row: JobRow) -> None:
    # What is found holds a slot of the ledger already; only what is bought again enters the limiter.
    if each.outcome != "absent":
        await render_job(ctx, each.job_id)
        return
    await catch_up(ctx, [row])
    await ctx.state.limiter.enter(each.job_id)
    try:
        await render_job(ctx, each.job_id)
    finally:
        ctx.state.limiter.leave(each.job_id)
