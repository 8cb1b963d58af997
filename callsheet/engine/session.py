"""A run from the first look into the ledger to its summary."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path

from callsheet import failpoints
from callsheet.engine.caretaker import caretaker, look_back
from callsheet.engine.desk import open_desk
from callsheet.engine.high_water import go_on_from_the_mark, rising_mark
from callsheet.engine.made_files import bring_all
from callsheet.engine.opening import open_run, require_a_cap, select
from callsheet.engine.prices import look_at_prices
from callsheet.engine.publishing import folder_for, lasting, storage_of
from callsheet.engine.request import RunRequest
from callsheet.engine.slots import Places
from callsheet.engine.stopping import StopSign, take_signals
from callsheet.engine.studio import Studio, current_studio
from callsheet.engine.surroundings import settings_for
from callsheet.engine.watchers import begun_studio, current_stop, stop_sign
from callsheet.engine.work import begin
from callsheet.errors import Busy
from callsheet.files import sweep_parts
from callsheet.ledger import Ledger, Run
from callsheet.reconcile.desk import Desk
from callsheet.settings import Settings
from manifests.plan import PlanOptions
from manifests.planning import make_plan
from pricing.price_list import read_pins, with_rates
from pricing.render_times import RenderTimes

READY_AHEAD = 5
"""Jobs that are made ready before a place is free. Renders of one kind tend to end together."""

CLAIM_TRIES = 10
CLAIM_PAUSE_S = 0.3
"""How long a run is waited for that another process holds, in all three seconds."""


@asynccontextmanager
async def studio_for(
    request: RunRequest, run_id: str, settings: Settings, stop: StopSign
) -> AsyncIterator[Studio]:
    """Open the run for work: claimed by this process alone, everything it needs at hand."""
    scale = 1 / request.speed if request.sandbox else 1.0
    async with open_desk(settings) as desk:
        run = await desk.books(Ledger.run, run_id)
        async with _claimed(desk, run_id):
            await desk.books(go_on_from_the_mark, Path(run.out).parent, run_id)
            studio = studio_at(desk, run, stop, scale=scale, is_sandbox=request.sandbox)
            current_studio.set(studio)
            await _recover(studio)
            await look_at_prices(studio, accept=request.accept_prices)
            async with rising_mark(studio), caretaker(studio):
                try:
                    yield studio
                finally:
                    if studio.work is not None:
                        await studio.work.end()


def waits_for_its_flow(request: RunRequest) -> bool:
    """Whether steps of the flow come before the first job: a person's approval, or canaries."""
    return request.canary is not None or request.approve_above_usd is not None


@asynccontextmanager
async def head_start(
    request: RunRequest, run_id: str, settings: Settings, stop: StopSign
) -> AsyncIterator[Studio | None]:
    """Begin to render an opened run before its flow is there: Prefect takes seconds to import and to start.

    Yields None, and does nothing, where a person or a canary has a word first: their steps are the flow's.
    """
    if waits_for_its_flow(request):
        yield None
        return
    async with studio_for(request, run_id, settings, stop) as studio:
        begun_studio.set(studio)
        await begin(studio)
        yield studio


@asynccontextmanager
async def studio_of(request: RunRequest) -> AsyncIterator[Studio]:
    """Return the studio of the run that has begun already, or open the run that is asked for.

    Prefect puts a handler for signals of its own in place when a flow begins, one that raises wherever the
    program happens to be. Where a command line watches, the signals are its own; a worker's run leaves them
    to Prefect.
    """
    stop = current_stop()
    if stop is stop_sign.get():
        take_signals(stop)
    if (begun := begun_studio.get()) is not None:
        yield begun
        return
    settings = settings_for(request)
    run_id = request.run_id or opened(request, settings)
    async with studio_for(request, run_id, settings, stop) as studio:
        yield studio


@asynccontextmanager
async def _claimed(desk: Desk, run_id: str) -> AsyncIterator[None]:
    """Own the run. Another process that only looks after what a dead one left is waited for; it is quick.

    Raises Busy where somebody goes on owning it.
    """
    with ExitStack() as owned:
        for left in range(CLAIM_TRIES - 1, -1, -1):
            try:
                owned.enter_context(desk.ledger.claim(run_id))
            except Busy:
                if not left:
                    raise
                await asyncio.sleep(CLAIM_PAUSE_S)
            else:
                break
        yield


def studio_at(
    desk: Desk, run: Run, stop: StopSign, *, scale: float = 1.0, is_sandbox: bool = False
) -> Studio:
    """Return the studio of a run; `scale` is how long renders take compared with fal's own."""
    pins = read_pins(run.prices, desk.catalog)
    return Studio(
        settings=desk.settings,
        catalog=with_rates(desk.catalog, pins[-1].rates),
        pins=pins,
        books=desk.books,
        queue=desk.queue,
        run=run,
        folder=Path(run.out),
        stop=stop,
        places=Places(desk.settings.concurrency, ahead=READY_AHEAD),
        times=RenderTimes(scale=scale),
        desk=desk,
        is_sandbox=is_sandbox,
        storage=storage_of(run),
    )


async def _recover(studio: Studio) -> None:
    """Put in order what dead processes left: requests nobody knows about, holds never used, files.

    What other dead runs hold is looked at as well: their slots and their money are missing here. What is at
    fal for this run is not asked about, because it is followed next.
    """
    run_id = studio.run.run_id
    await studio.books(Ledger.reopen_run, run_id)
    await studio.books(Ledger.recover, run_id)
    await look_back(studio)
    failpoints.passing("after_reconcile")
    await asyncio.to_thread(sweep_parts, studio.folder)
    await studio.books(bring_all, run_id, studio.folder)


def opened(request: RunRequest, settings: Settings) -> str:
    """Plan what the request names and open a run for it, as a schedule does: no questions are asked."""
    plan = make_plan(
        request.source or "",
        overrides=PlanOptions(
            budget_usd=request.budget_usd,
            concurrency=request.concurrency,
            out=request.out,
            allow_private_hosts=settings.allow_private_hosts,
        ),
    )
    out = lasting(plan.out or settings.out, request.source or "", settings)
    with Ledger.open(settings.ledger) as ledger:
        if not request.sandbox:
            require_a_cap(ledger, plan)
        selection = select(ledger, plan, fit=request.fit, again=request.again)
        return open_run(
            ledger,
            plan,
            selection,
            out=folder_for(out, settings),
            options=request.model_copy(update={"out": out}).kept,
        )
