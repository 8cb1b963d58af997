"""Rendering as Prefect shows it: one row per job, named as the manifest names it.

The tasks take ids only. Neither is ever retried by Prefect: a second try around a paid step would be a
second purchase, so trying again is decided in the engine, where it is known what is free.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas import State
from prefect.states import Completed, Failed

from callsheet.engine.dispatch import dispatch, end_by_mistake
from callsheet.engine.render import render_job
from callsheet.engine.slots import Place
from callsheet.engine.studio import current_studio
from callsheet.ledger import JobRow, Ledger
from callsheet.ledger import State as JobState


@task(name="render", task_run_name="{custom_id}", retries=0, cache_policy=NO_CACHE, persist_result=False)
async def render(job_id: int, custom_id: str) -> State[Any]:
    """Render one job; the task run's state tells how it ended, in words."""
    studio = current_studio.get()
    place = studio.handed_over.pop(job_id)
    try:
        row = await render_job(studio, job_id, place)
    except Exception as error:  # noqa: BLE001 -- Prefect would keep it in the task run, and buying would go on
        return Failed(message=end_by_mistake(studio, custom_id, error))
    return _prefect_state(row)


# Prefect's overloads do not know that an async task that returns a state is awaited with return_state.
_run: Callable[..., Awaitable[object]] = render


async def render_named(row: JobRow, place: Place) -> object:
    """Start the task of one job, handing its place over beside Prefect and not through it."""
    studio = current_studio.get()
    studio.handed_over[row.job_id] = place
    return await _run(row.job_id, row.custom_id, return_state=True)


@task(name="render-shard", task_run_name="{name}", retries=0, cache_policy=NO_CACHE, persist_result=False)
async def render_shard(name: str, job_ids: list[int]) -> None:  # noqa: ARG001 -- Prefect reads the name
    """Render many jobs under one task run: above a thousand, a row per job would drown the server."""
    studio = current_studio.get()
    place_in_line = {job_id: index for index, job_id in enumerate(job_ids)}
    rows = await studio.books(Ledger.jobs, studio.run.run_id)
    mine = [row for row in rows if row.job_id in place_in_line]

    async def one(row: JobRow, place: Place) -> object:
        try:
            return await render_job(studio, row.job_id, place)
        except Exception as error:  # noqa: BLE001 -- as above
            return end_by_mistake(studio, row.custom_id, error)

    await dispatch(studio, sorted(mine, key=lambda row: place_in_line[row.job_id]), one)


def _prefect_state(row: JobRow) -> State[Any]:
    if row.state in {JobState.SUCCEEDED, JobState.ALREADY_MADE}:
        return Completed(message=row.output.path if row.output else "")
    if row.state is JobState.FAILED:
        return Failed(message=f"{row.error_type}: {row.error}"[:500])
    return Completed(name=row.state.value.replace("_", " ").title().replace(" ", ""), message=row.error[:500])
