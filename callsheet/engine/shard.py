"""One part of a run, rendered by whichever process owns it, and the end of a run that several have rendered.

Running a part twice is harmless: the second process finds it owned (Busy), or with nothing left to do.
Whoever ends last writes what the run leaves.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import Any

from callsheet.engine.context import RunContext, as_current_run, context_of, open_account
from callsheet.engine.finalize import finalize, rest_if_left, wind_up
from callsheet.engine.reconcile_loop import settle_rest
from callsheet.engine.request import RunRequest, settings_for
from callsheet.engine.run import carry_out, open_context
from callsheet.engine.run_folder import PLAN_FILES, fetch_opening, folder_here
from callsheet.engine.scheduler import render_waiting
from callsheet.engine.stopping import StopSignal
from callsheet.errors import Busy, RunStopping, UsageError
from callsheet.guard import check_packages_are_ours
from callsheet.ledger import Ledger, Range, parts, queries
from callsheet.notify.sending import Announcer
from callsheet.reconciliation.account import AccountSession


def range_of(ledger: Ledger, run_id: str, part: str) -> Range:
    """Return the part of a run with that name. Raises UsageError where there is none."""
    known = ledger.do(parts.ranges, run_id)
    for each in known:
        if each.name == part:
            return each
    named = ", ".join(each.name for each in known[:5]) or "it was never split"
    raise UsageError(f"run {run_id} has no part {part[:40]!r} ({named})")


@asynccontextmanager
async def shard_opened(
    run_id: str, part: str, *, sandbox: bool, stop: StopSignal | None = None
) -> AsyncIterator[RunContext]:
    """Open a part of a run for work, as a worker does that was told no more than its name.

    Raises Busy where a living process owns it.
    """
    check_packages_are_ours()
    with Ledger.open(settings_for(RunRequest(sandbox=sandbox)).ledger) as ledger:
        request = RunRequest.of(ledger.do(queries.run, run_id))
        within = range_of(ledger, run_id, part)
    stop, settings = stop or StopSignal(), settings_for(request)
    async with open_context(request, run_id, settings, stop, within=within) as ctx:
        with as_current_run(ctx):
            yield ctx


async def end_shard(ctx: RunContext) -> dict[str, Any]:
    """Do what is left to do before a part is given back. Returns its jobs by state, and what is to be said.

    A part with work that cannot be done now rests, so that it is not taken up again at once; one whose
    process was told to end is taken up at once.
    """
    await settle_rest(ctx)
    await wind_up(ctx)
    await rest_if_left(ctx)
    assert ctx.within is not None
    return {
        "run_id": ctx.run.run_id,
        "part": ctx.within.name,
        "statuses": dict(Counter(row.state.value for row in await ctx.jobs())),
        "notes": ctx.state.unfinished,
        "remarks": ctx.state.notices,
        "cancelled": ctx.state.cancelled,
        "stopped_by": str(ctx.stop.reason or ""),
    }


async def carry_out_part(run_id: str, part: str, *, sandbox: bool, stop: StopSignal) -> None:
    """Render a part, or a whole run that was never split (`part` is ""), in this process.

    Does nothing where another process owns it.
    """
    with suppress(Busy):
        if part:
            async with shard_opened(run_id, part, sandbox=sandbox, stop=stop) as ctx:
                await render_waiting(ctx)
                await end_shard(ctx)
            await finalize_shards(run_id, sandbox=sandbox)
            return
        request = await asyncio.to_thread(request_to_go_on, run_id, sandbox=sandbox)
        async with open_context(request, run_id, settings_for(request), stop, is_asked=False) as ctx:
            await carry_out(ctx)


def request_to_go_on(run_id: str, *, sandbox: bool) -> RunRequest:
    """Return the request with which a run is taken up whose process died.

    A person has approved it, where that was asked for, if anything of it was bought.
    """
    with Ledger.open(settings_for(RunRequest(sandbox=sandbox)).ledger) as ledger:
        request = RunRequest.of(ledger.do(queries.run, run_id))
        bought = ledger.do(queries.has_bought, run_id)
    return request.model_copy(update={"approve_above_usd": None}) if bought else request


async def finalize_shards(
    run_id: str, *, sandbox: bool, announcer: Announcer | None = None
) -> dict[str, Any] | None:
    """Write what a run leaves, if its last part has ended; None where it has not. See `finalize_run`."""
    async with open_account(settings_for(RunRequest(sandbox=sandbox))) as account:
        return await finalize_run(account, run_id, announcer=announcer)


async def finalize_run(
    account: AccountSession, run_id: str, *, anyway: bool = False, announcer: Announcer | None = None
) -> dict[str, Any] | None:
    """Write what a run leaves where nobody owns any of it, and (save `anyway`) nothing is left to do for it.

    Returns its summary; None where there is work left, where a process owns a part (which finalizes it
    later), where it is closed, and where its folder is not on this machine. Repeating it is harmless.
    `announcer` tells that the run has ended, in the name of the caller's own flow run.
    """
    try:
        with account.ledger.claim(run_id):
            ctx = await _to_finalize(account, run_id, anyway=anyway)
            if ctx is None:
                return None
            return await finalize(ctx if announcer is None else replace(ctx, announcer=announcer))
    except Busy:
        return None


async def _to_finalize(account: AccountSession, run_id: str, *, anyway: bool) -> RunContext | None:
    run = await account.do(queries.run, run_id)
    has_work = any(each.has_work for each in await account.do(parts.work, run_id))
    if run.closed_ms is not None or (has_work and not anyway):
        return None
    try:
        folder = folder_here(run, account.settings)
    except UsageError:
        return None
    stop = StopSignal()
    if run.stopping_ms is not None:
        stop.drain(RunStopping(f"run {run_id} was stopped"))
    ctx = context_of(account, run, RunRequest.of(run), stop, folder=folder)
    if ctx.storage is not None:
        await fetch_opening(ctx)
    return ctx if (folder / PLAN_FILES[0]).is_file() else None
