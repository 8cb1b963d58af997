"""A run that Prefect's flow carries out. Imported late: Prefect takes a second, while its server starts."""

from __future__ import annotations

import asyncio
import signal
from typing import Any

from prefect.events.worker import EventsWorker
from prefect.exceptions import CancelledRun
from prefect.logging.handlers import APILogWorker

from callsheet.engine.context import RunContext, as_current_run
from callsheet.engine.run import carry_out
from callsheet.engine.stopping import StopSignal, take_signals
from callsheet.errors import CallsheetError
from flows.run_campaign import run_campaign

PREFECT_BEGIN_S = 30.0
"""How long a run waits until Prefect begins its flow, in seconds. Prefect's own timeouts are for the
time between two pieces of an answer, so an answer that never ends passes them all."""

PREFECT_END_S = 15.0
"""How long a finished run waits for Prefect's end of its flow, in seconds. Where its server died, Prefect
tries for 10 s, and for 21 s where it hangs."""

SIGNAL_LOOK_S = 0.02


async def carry_out_through_prefect(ctx: RunContext) -> tuple[dict[str, Any], bool]:
    """Let the flow carry out the run; finish it here where Prefect fails.

    Returns the summary, and whether Prefect still tries to reach its server.
    """
    with as_current_run(ctx):
        running = asyncio.ensure_future(run_campaign(ctx.request.public))
    begun = asyncio.ensure_future(ctx.state.begun.wait())
    finalized = asyncio.ensure_future(ctx.state.finalized.wait())
    taking_back = asyncio.ensure_future(_take_signals_back(ctx.stop))
    first = asyncio.FIRST_COMPLETED
    await asyncio.wait({running, begun}, timeout=PREFECT_BEGIN_S, return_when=first)
    if ctx.state.begun.is_set():
        await asyncio.wait({running, finalized}, return_when=first)
        await asyncio.wait({running}, timeout=PREFECT_END_S)
    for each in (begun, finalized, taking_back):
        each.cancel()
    is_stuck = not running.done()
    if is_stuck:
        running.cancel()
        _note_in_part(ctx, "its server does not answer")
    elif (error := running.exception()) is not None and not isinstance(error, CancelledRun):
        if isinstance(error, CallsheetError):
            await asyncio.to_thread(_drain_prefect)
            raise error
        is_stuck = True
        _note_in_part(ctx, str(error))
    summary = await carry_out(ctx)
    if not is_stuck:
        await asyncio.to_thread(_drain_prefect)
    # What was said meanwhile belongs to the summary as well.
    return {**summary, "remarks": ctx.state.notices}, is_stuck


def _note_in_part(ctx: RunContext, why: str) -> None:
    """Say once that Prefect does not show all of the run, in place of each thing that it does not show."""
    others = [text for text in ctx.state.notices if not text.startswith("Prefect does not show")]
    ctx.state.notices[:] = [*others, f"Prefect shows this run in part or not at all: {why}"[:500]]


async def _take_signals_back(stop: StopSignal) -> None:
    """Let the process's signals go to the run again once Prefect's engine has set its own handler.

    That one raises in the middle of whatever is being done. The flow takes the signals in its first line, but
    until then Prefect talks to its server, which may be slow.
    """
    ours = signal.getsignal(signal.SIGTERM)
    while signal.getsignal(signal.SIGTERM) is ours:  # noqa: ASYNC110 -- replacing a handler sets no event
        await asyncio.sleep(SIGNAL_LOOK_S)
    take_signals(stop)


def _drain_prefect() -> None:
    """Let Prefect's background senders finish before its server goes away."""
    EventsWorker.drain_all(timeout=5)
    APILogWorker.drain_all(timeout=5)
