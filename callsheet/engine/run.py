"""One run from its opening to its summary: the steps, without Prefect.

`flows.run_campaign` takes the same steps and renders each job in a Prefect task.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from callsheet import failpoints
from callsheet.engine.canary import render_canaries
from callsheet.engine.context import RunContext, context_of, open_account
from callsheet.engine.finalize import finalize
from callsheet.engine.made_files import bring_all
from callsheet.engine.price_check import check_run_prices
from callsheet.engine.reconcile_loop import reconcile_loop, settle_others, settle_rest
from callsheet.engine.recover import reopen_unfetched
from callsheet.engine.request import RunRequest
from callsheet.engine.rollback_guard import continue_from_mark, rising_mark
from callsheet.engine.scheduler import RenderJob, render_here, run_jobs, waiting_jobs
from callsheet.engine.stopping import StopSignal
from callsheet.errors import Busy
from callsheet.files import sweep_parts
from callsheet.ledger import State, queries, recovery, runs
from callsheet.reconcile.desk import Desk
from callsheet.settings import Settings

CLAIM_TRIES = 10
CLAIM_PAUSE_S = 0.3
"""How long a run is waited for that another process owns: three seconds in all."""


@asynccontextmanager
async def open_context(
    request: RunRequest,
    run_id: str,
    settings: Settings,
    stop: StopSignal,
    tell: Callable[[str], None] = lambda _text: None,
) -> AsyncIterator[RunContext]:
    """Open a run for work: owned by this process alone, and put right after earlier ones.

    Raises Busy where a living process owns it, LedgerUnsafe where the ledger has forgotten purchases.
    """
    async with open_account(settings) as account:
        run = await account.books(queries.run, run_id)
        async with _claimed(account, run_id):
            await account.books.call(continue_from_mark, Path(run.out).parent, run_id)
            ctx = context_of(account, run, request, stop, tell)
            await _recover(ctx)
            ctx = await check_run_prices(ctx, accept=request.accept_prices)
            async with rising_mark(ctx), reconcile_loop(ctx):
                yield ctx


async def carry_out(ctx: RunContext, render: RenderJob = render_here) -> dict[str, Any]:
    """Render canaries, render the rest, finish. Returns the summary."""
    if ctx.state.summary is None:
        await render_canaries(ctx, render)
        await run_jobs(ctx, await waiting_jobs(ctx), render)
        await finish(ctx)
    assert ctx.state.summary is not None
    return ctx.state.summary


async def finish(ctx: RunContext) -> dict[str, Any]:
    """Look once more for what is unknown, and write everything that the run leaves. Returns the summary."""
    await settle_rest(ctx)
    return await finalize(ctx)


@asynccontextmanager
async def _claimed(account: Desk, run_id: str) -> AsyncIterator[None]:
    """Own the run. Another process that only collects what a dead one left is waited for; it is quick."""
    with ExitStack() as owned:
        for left in range(CLAIM_TRIES - 1, -1, -1):
            try:
                owned.enter_context(account.ledger.claim(run_id))
            except Busy:
                if not left:
                    raise
                await asyncio.sleep(CLAIM_PAUSE_S)
            else:
                break
        yield


async def _recover(ctx: RunContext) -> None:
    """Put in order what dead processes left: unknown requests, unused holds, files that were not fetched.

    What other dead runs hold is settled as well: their slots and their money are missing here. What this run
    has at fal is not asked about, because it is polled next.
    """
    run_id = ctx.run.run_id
    await ctx.do(runs.reopen_run, run_id)
    await ctx.do(recovery.recover, run_id)
    await settle_others(ctx)
    failpoints.passing("after_reconcile")
    failed = await ctx.do(queries.jobs, run_id, states={State.FAILED})
    await reopen_unfetched(ctx.account, failed)
    await asyncio.to_thread(sweep_parts, ctx.folder)
    await ctx.do.call(bring_all, run_id, ctx.folder)
