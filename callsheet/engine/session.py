"""A run from the first look into the ledger to its summary."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import AbstractContextManager, ExitStack, asynccontextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

from callsheet import failpoints
from callsheet.engine.caretaker import caretaker, last_look, look_back, rest
from callsheet.engine.desk import open_desk
from callsheet.engine.high_water import remember
from callsheet.engine.made_files import gone_files
from callsheet.engine.opening import open_run, require_a_cap, select
from callsheet.engine.overbilled import leave_out_the_rest
from callsheet.engine.prices import look_at_prices
from callsheet.engine.publishing import address_of, folder_for, publish_report, storage_of
from callsheet.engine.request import RunRequest
from callsheet.engine.slots import Places
from callsheet.engine.stopping import StopSign, signals_to
from callsheet.engine.studio import Studio, current_studio
from callsheet.engine.watchers import stop_sign
from callsheet.errors import AccountError, Busy
from callsheet.falqueue.polling import RenderTimes
from callsheet.ledger import FINISHED, Account, JobRow, Ledger, Overrun, Run, State
from callsheet.outputs.parts import sweep_parts
from callsheet.reconcile.desk import Desk
from callsheet.report.files import write_run_files
from callsheet.report.rows import result_row
from callsheet.report.summary import RunFacts, summary_document
from callsheet.sandbox.launcher import ensure_sandbox
from callsheet.settings import ApiKey, Settings, settings_from
from manifests.job_codec import decode_job
from manifests.plan import PlanOptions
from manifests.planning import make_plan
from pricing.catalog import load_catalog
from pricing.live import with_rates
from pricing.pins import read_pins

READY_AHEAD = 5
"""Jobs that are made ready before a place is free. Renders of one kind tend to end together."""

CLAIM_TRIES = 10
CLAIM_PAUSE_S = 0.3
"""How long a run is waited for that another process holds, in all three seconds."""

NO_KEY = (
    "no key for fal: set FAL_KEY (make one at fal.ai/dashboard/keys), or add --sandbox to run without a key "
    "and without money"
)


def settings_for(request: RunRequest) -> Settings:
    """Return the settings of one run: the environment's, with the request's own on top.

    A sandbox run gets the sandbox's addresses and key, and keeps a ledger of its own unless the environment
    names one: sandbox money never mixes with real money. Raises AccountError without a key.
    """
    settings = settings_from(os.environ)
    if request.concurrency is not None:
        settings = replace(settings, concurrency=request.concurrency)
    if not request.sandbox:
        if settings.key is None:
            raise AccountError(NO_KEY)
        return settings
    return sandbox_settings(settings, speed=request.speed)


def sandbox_settings(settings: Settings, *, speed: float) -> Settings:
    """Start the local sandbox, or find the one that runs, and return settings that point at it."""
    home = settings.data_dir / "sandbox"
    sandbox = ensure_sandbox(home, speed=speed)
    return replace(
        sandbox_ledger(settings),
        key=ApiKey(sandbox.key),
        queue_url=sandbox.url,
        rest_url=sandbox.url,
        cdn_url=sandbox.url,
        platform_url=f"{sandbox.url}/v1",
    )


def sandbox_ledger(settings: Settings) -> Settings:
    """Return settings whose ledger is the sandbox's, unless the environment names one."""
    if settings.ledger_url:
        return settings
    return replace(settings, ledger_url=f"sqlite:///{settings.data_dir / 'sandbox' / 'ledger.sqlite'}")


@asynccontextmanager
async def studio_for(
    request: RunRequest, run_id: str, settings: Settings, stop: StopSign
) -> AsyncIterator[Studio]:
    """Open the run for work: claimed by this process alone, everything it needs at hand."""
    scale = 1 / request.speed if request.sandbox else 1.0
    async with open_desk(settings) as desk:
        run = await desk.books(Ledger.run, run_id)
        async with _claimed(desk, run_id):
            with _own_signals(stop):
                studio = studio_at(desk, run, stop, scale=scale, is_sandbox=request.sandbox)
                current_studio.set(studio)
                await _recover(studio)
                await look_at_prices(studio, accept=request.accept_prices)
                async with caretaker(studio):
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


def _own_signals(stop: StopSign) -> AbstractContextManager[None]:
    """Take the signals over from Prefect where a command line watches; a worker's run leaves them to Prefect.

    Prefect puts a handler of its own in place when the flow begins, one that raises wherever the program
    happens to be; so ours must come after it.
    """
    return signals_to(stop) if stop is stop_sign.get() else nullcontext()


async def _recover(studio: Studio) -> None:
    """Put in order what dead processes left: requests nobody knows about, holds never used, part files.

    What other dead runs hold is looked at as well: their slots and their money are missing here. What is at
    fal for this run is not asked about, because it is followed next.
    """
    run_id = studio.run.run_id
    await studio.books(Ledger.reopen_run, run_id)
    await studio.books(Ledger.recover, run_id)
    await look_back(studio)
    failpoints.passing("after_reconcile")
    await asyncio.to_thread(sweep_parts, studio.media)


async def finish(studio: Studio) -> dict[str, Any]:
    """Write everything a run leaves and return its summary, as `run --json` prints it."""
    await leave_out_the_rest(studio)
    await rest(studio)
    await last_look(studio)
    rows = await studio.books(Ledger.jobs, studio.run.run_id)
    if all(row.state in FINISHED for row in rows):
        await studio.books(Ledger.close_run, studio.run.run_id)
    reused = [row for row in rows if row.state is State.ALREADY_MADE]
    studio.remarks.extend(await studio.books(gone_files, reused))
    run = await studio.books(Ledger.run, studio.run.run_id)
    accounts = await studio.books(Ledger.balances, scope="run", key=run.run_id)
    overruns = await studio.books(Ledger.overruns, run_id=run.run_id)
    await studio.books(remember, Path(run.out).parent, run.run_id)
    summary = await asyncio.to_thread(write_report, run, rows, accounts, overruns)
    await publish_report(studio, rows)
    told = {"notes": studio.notes, "remarks": studio.remarks, "published": address_of(run)}
    return {**summary, **told}


def write_report(
    run: Run, rows: list[JobRow], accounts: list[Account], overruns: list[Overrun]
) -> dict[str, Any]:
    """Write results, errors, summary and page of a run into its folder. Returns the summary."""
    import pyarrow.parquet as pq  # noqa: PLC0415 -- only a finished run pays for this import

    folder, catalog = Path(run.out), load_catalog()
    facts = RunFacts(
        run_id=run.run_id,
        campaign=run.campaign,
        dir=run.out,
        price_book=run.price_book,
        started_ms=run.created_ms,
        finished_ms=run.closed_ms,
        cap_nano=accounts[0].limit_nano if accounts else None,
        is_frozen=any(account.frozen for account in accounts),
        overruns=tuple(overruns),
        is_sandbox=RunRequest.model_validate_json(run.options).sandbox if run.options else False,
    )
    results = [result_row(row, decode_job(row.payload, catalog), run) for row in rows]
    return summary_document(
        write_run_files(folder, facts, pq.read_table(folder / "manifest.parquet"), results)
    )


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
    out = plan.out or settings.out
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
