"""Rendering as Prefect tasks: one task run per job, named as the manifest names it; above 1,000 jobs, shards.

The tasks take ids only and are never retried by Prefect: a second attempt around a paid step would be a
second purchase. What may be repeated for free is repeated in the engine.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas import State
from prefect.states import Completed, Failed

from callsheet.engine.context import RunContext, current_run
from callsheet.engine.job import render_job
from callsheet.engine.scheduler import RenderJob, render_here, render_retakes, run_jobs, waiting_jobs
from callsheet.ledger import JobRow
from callsheet.ledger import State as JobState
from pricing.money import usd_text
from tasks.artifacts import progress_of

JOBS_AS_TASK_RUNS = 1000
"""Above this Prefect's server falls behind, and bursts of more than about 3,300 task runs lose history."""

SHARD_JOBS = 1000


@task(name="render", task_run_name="{custom_id}", retries=0, cache_policy=NO_CACHE, persist_result=False)
async def render(job_id: int, custom_id: str) -> State[Any]:  # noqa: ARG001 -- Prefect reads the name
    """Render one job. The task run's state says how it ended."""
    ctx = current_run.get()
    assert ctx is not None, "the flow opens the run"
    return prefect_state(await render_job(ctx, job_id))


@task(name="render-shard", task_run_name="{name}", retries=0, cache_policy=NO_CACHE, persist_result=False)
async def render_shard(number: int, name: str) -> None:  # noqa: ARG001 -- as above
    """Render the jobs of one shard."""
    ctx = current_run.get()
    assert ctx is not None, "the flow opens the run"
    shard = ctx.state.shards[number]
    await shard.render_all(ctx, f"shard {number}")
    shard.begun.set()


# Prefect's overloads do not know that an async task that returns a state is awaited with return_state.
_render: Callable[..., Coroutine[Any, Any, object]] = render
_render_shard: Callable[..., Coroutine[Any, Any, object]] = render_shard


async def render_in_task(ctx: RunContext, row: JobRow) -> None:
    """Render one job in a Prefect task; in this process alone where Prefect cannot make one."""
    try:
        await _render(row.job_id, row.custom_id, return_state=True)
    except Exception as error:  # noqa: BLE001 -- whatever keeps Prefect from it, the video matters more
        ctx.state.notice(f"Prefect does not show every job ({type(error).__name__}); the report does")
        await render_here(ctx, row)


@dataclass(slots=True)
class Shard:
    """Up to a thousand jobs that Prefect shows together. `begun` is set when the last one has begun."""

    rows: Sequence[JobRow]
    render_job: RenderJob
    begun: asyncio.Event = field(default_factory=asyncio.Event)
    ended: int = 0

    async def render(self, ctx: RunContext, row: JobRow) -> None:
        """Render one job and count it."""
        if row is self.rows[-1]:
            self.begun.set()
        try:
            await self.render_job(ctx, row)
        finally:
            self.ended += 1

    async def render_all(self, ctx: RunContext, what: str) -> None:
        """Render every job and show how far they are, as `what`."""
        async with progress_of(ctx, what, len(self.rows), lambda: self.ended):
            await run_jobs(ctx, self.rows, self.render)


async def render_all(ctx: RunContext) -> None:
    """Render what is left of the run."""
    rows = await waiting_jobs(ctx)
    if len(rows) <= JOBS_AS_TASK_RUNS:
        if rows:
            await Shard(rows, render_in_task).render_all(ctx, ctx.run.run_id)
        await render_retakes(ctx, render_in_task)
        return
    shards = [
        Shard(rows[start : start + SHARD_JOBS], render_here) for start in range(0, len(rows), SHARD_JOBS)
    ]
    async with asyncio.TaskGroup() as running:
        for number, shard in enumerate(shards, 1):
            running.create_task(_render_one_shard(ctx, number, len(shards), shard))
            await shard.begun.wait()  # the next one begins when this one has no more jobs to begin
    await render_retakes(ctx)


async def _render_one_shard(ctx: RunContext, number: int, of: int, shard: Shard) -> None:
    name = f"shard {number} of {of}: {shard.rows[0].custom_id} to {shard.rows[-1].custom_id}"
    ctx.state.shards[number] = shard
    try:
        await _render_shard(number, name, return_state=True)
    except Exception as error:  # noqa: BLE001 -- as for a single job
        ctx.state.notice(f"Prefect does not show every shard ({type(error).__name__}); the report does")
        await run_jobs(ctx, shard.rows, shard.render)
    finally:
        shard.begun.set()
        del ctx.state.shards[number]  # and its rows: the end of a large run needs the memory


def prefect_state(row: JobRow) -> State[Any]:
    """Say in Prefect's words how a job ended."""
    if row.state in {JobState.SUCCEEDED, JobState.ALREADY_MADE}:
        path = row.output.path if row.output else "no file"
        return Completed(message=f"{path}, {usd_text(row.spent_nano)} USD")
    if row.state is JobState.FAILED:
        return Failed(message=f"{usd_text(row.spent_nano)} USD, {row.error_type}: {row.error}"[:500])
    name = row.state.value.replace("_", " ").title().replace(" ", "")
    return Completed(name=name, message=row.error[:500])
