"""Many jobs: the next one is ready the moment a place is free, in the order of their priority."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from callsheet.engine.render import TO_DO
from callsheet.engine.slots import Place
from callsheet.engine.studio import Studio
from callsheet.errors import CallsheetError, ClaimLost
from callsheet.ledger import JobRow, State

Render = Callable[[JobRow, Place], Awaitable[Any]]


def in_order(rows: Iterable[JobRow]) -> list[JobRow]:
    """Sort jobs: what is paid for first, then by priority (higher first), then as in the manifest."""
    to_do = [row for row in rows if row.state in TO_DO]
    return sorted(to_do, key=lambda row: (row.state is State.PENDING, -row.priority, row.position))


async def dispatch(studio: Studio, rows: Iterable[JobRow], render: Render) -> None:
    """Render every row, at most the cap at a time, until done or until the run stops.

    A stop abandons waiting, not work: what is at fal stays there, and steps that may not be cut short
    (a POST and the writing down of its outcome) are finished first. A programming mistake in a job ends the
    run: the ledger has everything, and hiding it would help nobody.
    """
    running: set[asyncio.Future[Any]] = set()
    mistakes: list[BaseException] = []

    def ended(task: asyncio.Future[Any]) -> None:
        running.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            mistakes.append(error)

    stopped: asyncio.Future[Any] = asyncio.ensure_future(studio.stop.wait_stopped())
    try:
        for row in rows:
            place = await _next_place(studio, row, stopped)
            if mistakes:
                break
            if place is not None:
                task: asyncio.Future[Any] = asyncio.ensure_future(render(row, place))
                running.add(task)
                task.add_done_callback(ended)
        while running and not stopped.done() and not mistakes:
            await asyncio.wait({*running, stopped}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        stopped.cancel()
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
    if mistakes:
        raise mistakes[0]


def end_by_mistake(studio: Studio, custom_id: str, error: Exception) -> str:
    """Let the run drain because something that nobody foresaw happened to a job. Returns it in words.

    What else is at fal is finished; nothing more is bought, since the next job may fare the same.
    """
    if isinstance(error, ClaimLost):  # it goes on elsewhere: nothing is waited for here
        studio.stop.stop(error)
        return str(error)
    said = f"{custom_id}: {type(error).__name__}: {error}"[:500]
    studio.notes.append(said)
    studio.stop.drain(
        CallsheetError(f"{said}. Nothing more is bought; the ledger has everything: `{studio.again}` goes on")
    )
    return said


async def _next_place(studio: Studio, row: JobRow, stopped: asyncio.Future[Any]) -> Place | None:
    """Wait to be let in; None where the row will not be started any more."""
    if stopped.done() or (row.state is State.PENDING and not studio.stop.admitting):
        return None
    taking = asyncio.ensure_future(studio.places.enter())
    either: set[asyncio.Future[Any]] = {taking, stopped}
    await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
    if not taking.done():
        taking.cancel()
        return None
    place = taking.result()
    if row.state is State.PENDING and not studio.stop.admitting:
        place.give_back()
        return None
    return place
