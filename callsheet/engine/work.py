"""The jobs of a run on their way: begun by whoever is there first, and shown wherever people look.

Rendering does not wait for Prefect. A run from the command line begins while Prefect is still being imported
and its server is starting; what Prefect shows is told to it from here, as the jobs start and as they end.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from callsheet.engine.dispatch import dispatch, end_by_mistake, in_order
from callsheet.engine.pace import learn
from callsheet.engine.render import render_job
from callsheet.engine.slots import Place
from callsheet.engine.studio import Studio
from callsheet.ledger import JobRow, queries

Ended = JobRow | str
"""How a job stands after this process has done what it could; a text where a mistake of ours ended it."""


@dataclass(frozen=True, slots=True)
class Started:
    """A job that was let in, the `index`-th of its work, counted from 0; `ended` tells how it came out."""

    index: int
    row: JobRow
    ended: asyncio.Future[Ended]


class Work:
    """Some jobs of a run that are being rendered. It has one watcher, who may come late.

    `rows` are the jobs as they stood at the beginning, as long as any of them waits; `names` are their
    custom_ids, for good.
    """

    def __init__(self, studio: Studio, rows: Sequence[JobRow]) -> None:
        self.rows = rows
        self.names = [row.custom_id for row in rows]
        self._studio = studio
        self._begun = 0
        self._started: asyncio.Queue[Started | None] = asyncio.Queue()
        self._dispatching = asyncio.ensure_future(self._dispatch())

    async def started(self) -> AsyncIterator[Started]:
        """Yield every job that is let in, from the first one on, until no more will be and all have ended."""
        while (job := await self._started.get()) is not None:
            yield job

    async def over(self) -> None:
        """Return when all has ended that will. Raises what nobody foresaw."""
        await asyncio.shield(self._dispatching)

    async def end(self) -> None:
        """Wait for nothing more: what is at fal stays there. Returns when nothing is done any more."""
        self._dispatching.cancel()
        await asyncio.gather(self._dispatching, return_exceptions=True)

    async def _dispatch(self) -> None:
        try:
            await dispatch(self._studio, self.rows, self._start)
        finally:
            self.rows = ()  # thousands of them would lie here until the report is written
            self._started.put_nowait(None)

    def _start(self, row: JobRow, place: Place) -> asyncio.Future[Ended]:
        ended: asyncio.Future[Ended] = asyncio.ensure_future(self._render(row, place))
        self._started.put_nowait(Started(self._begun, row, ended))
        self._begun += 1
        return ended

    async def _render(self, row: JobRow, place: Place) -> Ended:
        try:
            return await render_job(self._studio, row.job_id, place)
        except Exception as error:  # noqa: BLE001 -- Prefect would keep it to itself, and buying would go on
            return end_by_mistake(self._studio, row.custom_id, error)


async def begin(studio: Studio) -> Work:
    """Return the work of the whole run, begun now where it has not been. From here on the run may buy."""
    if studio.work is None:
        rows = in_order(await studio.books(queries.jobs, studio.run.run_id))
        if not studio.is_sandbox:
            await learn(studio, rows)
        studio.may_buy = True
        studio.work = Work(studio, rows)
    return studio.work
