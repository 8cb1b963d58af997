"""How many task runs a campaign becomes: one per job up to a thousand jobs, above that one per shard."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any

from callsheet.engine.canary import send_canaries
from callsheet.engine.dispatch import dispatch, in_order
from callsheet.engine.pace import learn
from callsheet.engine.studio import Studio
from callsheet.ledger import JobRow, Ledger
from tasks.artifacts import progress_of
from tasks.render import render_named, render_shard

JOBS_AS_TASK_RUNS = 1000
"""Above this Prefect's server falls behind, and bursts over about 3,300 task runs lose history."""

SHARD_JOBS = 1000
SHARDS_AT_ONCE = 2
"""The next shard starts while the last one ends, so that its tail leaves no slot idle."""


async def render_canaries(studio: Studio, most: int | None) -> None:
    """Render one job of each price cell first, where the run was asked to; a task run each, as any job."""
    if most is not None:
        await send_canaries(studio, most, render_named)


async def render_all(studio: Studio) -> None:
    """Render whatever of the run is still to be done."""
    rows = in_order(await studio.books(Ledger.jobs, studio.run.run_id))
    if not studio.is_sandbox:
        await learn(studio, rows)
    if len(rows) <= JOBS_AS_TASK_RUNS:
        await dispatch(studio, rows, render_named)
    else:
        await _render_shards(studio, rows)


async def _render_shards(studio: Studio, rows: list[JobRow]) -> None:
    shards = [rows[start : start + SHARD_JOBS] for start in range(0, len(rows), SHARD_JOBS)]
    gate = asyncio.Semaphore(SHARDS_AT_ONCE)

    async def one(number: int, shard: list[JobRow]) -> None:
        async with gate, progress_of(studio, number, shard):
            name = f"shard {number} of {len(shards)}: {shard[0].custom_id} to {shard[-1].custom_id}"
            await render_shard(name, [row.job_id for row in shard])

    await together([one(number, shard) for number, shard in enumerate(shards, start=1)])


async def together(works: Sequence[Coroutine[Any, Any, None]]) -> None:
    """Do all of them; where one fails, the others have ended before its error is raised.

    The run is ours only until then: nobody may go on sending for it afterwards.
    """
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
