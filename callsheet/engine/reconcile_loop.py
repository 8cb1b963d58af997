"""While a run goes on: settle what is unknown, and look after the runs of processes that died.

A lost reply keeps its slot, and so do the renders of a dead neighbour. What is found is followed to its file;
what provably never arrived is bought again, where the run may buy by then.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

from callsheet.engine.collect_runs import collect_dead_runs
from callsheet.engine.context import RunContext
from callsheet.engine.job import render_job
from callsheet.errors import CallsheetError, ClaimLost
from callsheet.ledger import State, queries
from callsheet.ledger.states import HAS_OPEN_SUBMISSION
from callsheet.reconcile.findings import Finding, Findings, Outcome
from callsheet.reconcile.unknown import settle_ledger

logger = logging.getLogger(__name__)

LOOK_EVERY_S = 15.0
"""Pause between two looks, in seconds. Without anything open elsewhere a look is one query."""


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
    """Finish what was found while the run went on, and look once more for its unknown submissions."""
    await _background_done(ctx)
    if not ctx.stop.admitting:
        return
    if await ctx.jobs(State.UNKNOWN):
        with _noted(ctx):
            await _look(ctx)
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
            open_jobs = await ctx.do(queries.open_jobs, states=HAS_OPEN_SUBMISSION)
            if any(row not in ctx.scope or row.state is State.UNKNOWN for row in open_jobs):
                await _look(ctx)
                await collect_dead_runs(ctx.account, leave={ctx.run.run_id})


@contextmanager
def _noted(ctx: RunContext) -> Iterator[None]:
    """Let nothing but a cancellation end the loop: what goes wrong is said once."""
    try:
        yield
    except ClaimLost as lost:
        ctx.stop.stop(lost)
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
        if (await ctx.do(queries.job, each.job_id)) in ctx.scope:
            task: asyncio.Future[Any] = asyncio.ensure_future(_followed(ctx, each))
            ctx.state.background.add(task)
            task.add_done_callback(ctx.state.background.discard)


async def _followed(ctx: RunContext, each: Finding) -> None:
    # What is found holds a slot of the ledger already; only what is bought again enters the limiter.
    with _noted(ctx):
        if each.outcome != "absent":
            await render_job(ctx, each.job_id)
            return
        await ctx.state.limiter.enter(each.job_id)
        try:
            await render_job(ctx, each.job_id)
        finally:
            ctx.state.limiter.leave(each.job_id)
