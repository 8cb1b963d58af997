"""Looks after unknown submissions while a run goes on, so that they do not hold its slots until it ends.

A lost reply keeps its slot. Were nobody to look before the next `resume`, ten of them would leave the run
waiting for ever. What is found is followed here to its file; what provably never arrived is bought again,
where the run may buy by then.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

from callsheet.engine.render import render_job
from callsheet.engine.slots import Places
from callsheet.engine.studio import Studio
from callsheet.errors import CallsheetError
from callsheet.ledger import State, queries
from callsheet.reconcile.findings import Finding, Findings, Outcome
from callsheet.reconcile.steps import settle_ledger

CARE_EVERY_S = 60.0
"""Pause between two looks, in seconds. Without anything unknown a look is one question to the ledger."""


@asynccontextmanager
async def caretaker(studio: Studio) -> AsyncIterator[None]:
    """Look again and again while inside. At the end nothing more is waited for: the ledger has everything."""
    looking = asyncio.ensure_future(_look_after(studio))
    try:
        yield
    finally:
        ours = {looking, *studio.followed}
        for task in ours:
            task.cancel()
        await asyncio.gather(*ours, return_exceptions=True)


async def rest(studio: Studio) -> None:
    """Wait for what was found during the run, or until the run is to end at once."""
    stopped: asyncio.Future[Any] = asyncio.ensure_future(studio.stop.wait_stopped())
    try:
        while studio.followed and not stopped.done():
            await asyncio.wait({*studio.followed, stopped}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        stopped.cancel()


async def look_back(studio: Studio) -> Findings:
    """Settle what is unknown, here and in dead runs. What this run has at fal it follows itself."""
    run_id = studio.run.run_id
    return await settle_ledger(studio.desk, owned={run_id}, leave={run_id})


async def last_look(studio: Studio) -> None:
    """Look once more before the run ends, so that a lost reply need not wait for the next command."""
    if not studio.stop.admitting:
        return
    run_id = studio.run.run_id
    if await studio.books(queries.jobs, run_id, states={State.UNKNOWN}):
        with _noted(studio):
            await _look(studio)
        await rest(studio)


async def _look_after(studio: Studio) -> None:
    while True:
        await asyncio.sleep(CARE_EVERY_S)
        with _noted(studio):
            if await studio.books(queries.open_jobs, states={State.UNKNOWN}):
                await _look(studio)


@contextmanager
def _noted(studio: Studio) -> Iterator[None]:
    """Let nothing but a cancellation end the looking after: what goes wrong is a note, once, and no more."""
    try:
        yield
    except Exception as error:  # noqa: BLE001 -- nobody waits for this task, so nobody would ever hear of it
        note = str(error) if isinstance(error, CallsheetError) else f"looking back failed: {error!r}"
        if note not in studio.notes:
            studio.notes.append(note)


async def _look(studio: Studio) -> None:
    # Asked before the look: what it frees earlier is among the pending jobs that the run then goes through.
    outcomes: tuple[Outcome, ...] = ("found", "absent") if studio.may_buy else ("found",)
    findings = await look_back(studio)
    for each in findings.by(*outcomes):
        if each.run_id == studio.run.run_id:
            _follow(studio, each)


def _follow(studio: Studio, each: Finding) -> None:
    task: asyncio.Future[Any] = asyncio.ensure_future(_followed(studio, each))
    studio.followed.add(task)
    task.add_done_callback(studio.followed.discard)


async def _followed(studio: Studio, each: Finding) -> None:
    # What is found holds its slot already; a place is needed only for what is bought again.
    places = studio.places if each.outcome == "absent" else Places(1, ahead=0)
    with _noted(studio):
        await render_job(studio, each.job_id, await places.enter())
