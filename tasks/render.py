"""Rendering as Prefect shows it: one row per job, named as the manifest names it.

The tasks take ids only, and watch what the engine does. Neither is ever retried by Prefect: a second try
around a paid step would be a second purchase, so trying again is decided in the engine, where it is known
what is free.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas import State
from prefect.states import Cancelled, Completed, Failed

from callsheet.engine.studio import Studio, current_studio
from callsheet.engine.work import Ended, Started
from callsheet.ledger import State as JobState

STOPPED = "not waited for any more; what is at fal goes on there, and `callsheet resume` collects it"


@task(name="render", task_run_name="{custom_id}", retries=0, cache_policy=NO_CACHE, persist_result=False)
async def render(job_id: int, custom_id: str) -> State[Any]:  # noqa: ARG001 -- Prefect reads the name
    """Follow one job to its end; the task run's state tells in words how it came out."""
    ended = current_studio.get().watched.pop(f"job {job_id}")
    await asyncio.wait({ended})
    return Cancelled(message=STOPPED) if ended.cancelled() else prefect_state(ended.result())


@task(name="render-shard", task_run_name="{name}", retries=0, cache_policy=NO_CACHE, persist_result=False)
async def render_shard(number: int, name: str) -> None:  # noqa: ARG001 -- as above
    """Follow many jobs under one task run: above a thousand, a row per job would drown the server."""
    await current_studio.get().watched.pop(f"shard {number}")


# Prefect's overloads do not know that an async task that returns a state is awaited with return_state.
_job: Callable[..., Coroutine[Any, Any, object]] = render
_shard: Callable[..., Coroutine[Any, Any, object]] = render_shard


async def show_job(studio: Studio, started: Started) -> None:
    """Show a job, handing what is watched over beside Prefect and not through it."""
    studio.watched[f"job {started.row.job_id}"] = started.ended
    await _job(started.row.job_id, started.row.custom_id, return_state=True)


async def show_shard(studio: Studio, number: int, name: str, over: asyncio.Event) -> None:
    """Show the `number`-th shard until it is over."""
    studio.watched[f"shard {number}"] = asyncio.ensure_future(over.wait())
    await _shard(number, name, return_state=True)


def prefect_state(ended: Ended) -> State[Any]:
    """Say in Prefect's words how a job ended."""
    if isinstance(ended, str):
        return Failed(message=ended)
    if ended.state in {JobState.SUCCEEDED, JobState.ALREADY_MADE}:
        return Completed(message=ended.output.path if ended.output else "")
    if ended.state is JobState.FAILED:
        return Failed(message=f"{ended.error_type}: {ended.error}"[:500])
    name = ended.state.value.replace("_", " ").title().replace(" ", "")
    return Completed(name=name, message=ended.error[:500])
