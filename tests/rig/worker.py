"""One life of a worker: the engine as the flow runs it, without Prefect, over one run of the ledger."""

import asyncio
import os
from collections.abc import Callable
from dataclasses import dataclass

from callsheet import failpoints
from callsheet.engine import reconcile_loop
from callsheet.engine.request import RunRequest
from callsheet.engine.run import open_context
from callsheet.engine.scheduler import in_order, run_jobs
from callsheet.engine.stopping import StopSignal
from callsheet.errors import LedgerError
from callsheet.ledger import queries
from callsheet.provider.client import FalQueue
from callsheet.settings import Settings
from tests.rig.provider import SPEED, hurry, silence

GIVES_UP_S = 0.4
"""How long a worker waits for the reply to a POST: less than a late acceptance takes."""

LOOK_EVERY_S = 0.5

FETCH_PAUSES_S = (0.02, 0.05, 0.1, 0.2)
"""A file host in trouble answers the next request here."""


@dataclass(frozen=True, slots=True)
class Life:
    """What one worker process is told. `bug` changes the product before it begins."""

    settings: Settings
    run_id: str
    failpoint: str = ""
    bug: Callable[[], None] | None = None


def live(life: Life) -> None:
    """Go on with a run until there is nothing left that this process can do, or until killed."""
    silence()
    hurry()
    if life.failpoint:
        os.environ[failpoints.VARIABLE] = life.failpoint
    FalQueue.submit.__kwdefaults__["deadline_s"] = GIVES_UP_S
    reconcile_loop.LOOK_EVERY_S = LOOK_EVERY_S
    if life.bug is not None:
        life.bug()
    try:
        asyncio.run(_go_on(life))
    except LedgerError as error:
        # Whoever reconciles owns a dead run for a moment; a person would start again.
        if "worked on by another process" not in str(error):
            raise


async def _go_on(life: Life) -> None:
    request = RunRequest(run_id=life.run_id, sandbox=True, speed=SPEED)
    async with open_context(request, life.run_id, life.settings, StopSignal()) as ctx:
        ctx.state.may_buy = True
        ctx.state.fetch_pauses_s = FETCH_PAUSES_S
        await run_jobs(ctx, in_order(await ctx.do(queries.jobs, life.run_id)))
