"""How many task runs a campaign becomes: one per job up to a thousand jobs, above that one per shard.

The engine renders; these watch it. Prefect is for looking at: where it cannot be told of a job, the run says
so once and goes on, because the videos matter more.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from callsheet.engine.canary import send_canaries
from callsheet.engine.studio import Studio
from callsheet.engine.work import Started, Work, begin
from tasks.artifacts import progress_of
from tasks.render import show_job, show_shard

JOBS_AS_TASK_RUNS = 1000
"""Above this Prefect's server falls behind, and bursts over about 3,300 task runs lose history."""

SHARD_JOBS = 1000

TOLD_EVERY_S = 0.02
"""Between two jobs that Prefect is told of, in seconds. Making a task run takes the loop a few milliseconds;
those of all the jobs that started before Prefect was there, in one go, would keep renders waiting."""


async def render_canaries(studio: Studio, most: int | None) -> None:
    """Render one job of each price cell first, where the run was asked to; a task run each, as any job."""
    if most is not None:
        await send_canaries(studio, most, lambda work: _show_jobs(studio, work))


async def render_all(studio: Studio) -> None:
    """Render whatever of the run is still to be done."""
    work = await begin(studio)
    if len(work.names) <= JOBS_AS_TASK_RUNS:
        await _show_jobs(studio, work)
    else:
        await _show_shards(studio, work)


async def _show_jobs(studio: Studio, work: Work) -> None:
    async with asyncio.TaskGroup() as shown:
        async for started in work.started():
            await studio.places.calm()
            shown.create_task(_told(studio, show_job(studio, started)))
            await asyncio.sleep(TOLD_EVERY_S)
    await work.over()


async def _show_shards(studio: Studio, work: Work) -> None:
    shards: dict[int, Shard] = {}
    async with asyncio.TaskGroup() as shown:
        async for started in work.started():
            number = started.index // SHARD_JOBS
            if number not in shards:
                shards[number] = Shard(studio, work, number)
                shown.create_task(shards[number].show())
            shards[number].watch(started)
        for shard in shards.values():
            shard.over.set()
    await work.over()


class Shard:
    """A thousand jobs that Prefect shows as one task run, from the first start to the last end."""

    def __init__(self, studio: Studio, work: Work, number: int) -> None:
        self.over = asyncio.Event()
        self._studio = studio
        self._names = work.names[number * SHARD_JOBS :][:SHARD_JOBS]
        self._number = number + 1
        self._of = -(-len(work.names) // SHARD_JOBS)
        self._ended = 0

    def watch(self, started: Started) -> None:
        """Count a job when it ends; the shard is over with its last one."""
        started.ended.add_done_callback(self._count)

    def _count(self, _ended: object) -> None:
        self._ended += 1
        if self._ended == len(self._names):
            self.over.set()

    async def show(self) -> None:
        """Show the shard until it is over."""
        name = f"shard {self._number} of {self._of}: {self._names[0]} to {self._names[-1]}"
        async with progress_of(self._studio, self._number, len(self._names), lambda: self._ended):
            await _told(self._studio, show_shard(self._studio, self._number, name, self.over))


async def _told(studio: Studio, telling: Coroutine[Any, Any, object]) -> None:
    """Tell Prefect of a job; what keeps it from hearing is a remark, once."""
    try:
        await telling
    except Exception as error:  # noqa: BLE001 -- whatever it is, the videos matter more
        kind = type(error).__name__
        remark = f"Prefect was not told of every job ({kind}); the ledger and the report have them all"
        if remark not in studio.remarks:
            studio.remarks.append(remark)
