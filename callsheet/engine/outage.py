"""Waiting for a ledger whose server restarts or fails over, and going on if the run is still ours."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import ParamSpec, TypeVar

from callsheet.engine.context import RunContext
from callsheet.errors import IllegalTransition, LedgerUnavailable
from callsheet.ledger import Ledger
from callsheet.ledger.transaction import Verb

P = ParamSpec("P")
T = TypeVar("T")

PAUSES_S = (0.5, 1, 2, *(5,) * 180)
"""Pauses between attempts to reach the ledger, in seconds: a quarter of an hour in all."""


async def wait_for_ledger(ctx: RunContext, error: LedgerUnavailable) -> None:
    """Return once the ledger answers and this process still owns its runs.

    Raises ClaimLost where another process has taken a run over, and `error` where the ledger stays away.
    """
    for pause_s in PAUSES_S:
        ctx.tell_trouble(f"waiting for the ledger: {error}")
        await asyncio.sleep(pause_s)
        try:
            await ctx.do.call(Ledger.renew)
        except LedgerUnavailable as still:
            error = still
        else:
            ctx.tell_trouble("")
            return
    raise error


async def through_outages(ctx: RunContext, step: Callable[[], Awaitable[T]]) -> T:
    """Do a step that may be repeated, again after every outage that it meets. Raises as `wait_for_ledger`."""
    while True:
        try:
            return await step()
        except LedgerUnavailable as error:
            await wait_for_ledger(ctx, error)


async def record(ctx: RunContext, verb: Verb[P, object], *args: P.args, **kwargs: P.kwargs) -> None:
    """Record what is known to have happened, however long the ledger is away.

    A server that is lost while it commits may have recorded it all the same: then it is refused the second
    time, and all is well.
    """
    try:
        await ctx.do(verb, *args, **kwargs)
    except LedgerUnavailable as error:
        await wait_for_ledger(ctx, error)
        with suppress(IllegalTransition):
            await record(ctx, verb, *args, **kwargs)
