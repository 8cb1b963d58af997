"""Shards as Prefect runs them: deployments in a work pool, started one by one."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import Any
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import WorkerStatus
from prefect.deployments import arun_deployment
from prefect.exceptions import ObjectNotFound
from prefect.runtime import flow_run

from callsheet.engine.context import RunContext
from callsheet.engine.coordinator import (
    IN_FLIGHT,
    RESERVED_MS,
    Start,
    coordinate,
    finalize_together,
    split_run,
)
from callsheet.errors import CallsheetError
from callsheet.ledger import PartWork, Range
from tasks.artifacts import publish_results

SHARD_FLOW = "render-shard"

RESERVED_S = RESERVED_MS / 1000

MOST_AT_ONCE = 8
"""Shards of a run that are at work at the same time at most; one for each worker below that."""


async def split_for_pool(ctx: RunContext) -> list[Range]:
    """Split a run for the workers of this flow run's work pool. None where there is no pool, or one part."""
    pool = await work_pool()
    if pool is None:
        return []
    if not await _is_deployed(pool):
        ctx.state.notice(
            f"the work pool {pool} has no deployment {SHARD_FLOW}/{pool}, so one process renders the run; "
            "`callsheet deploy` registers it"
        )
        return []
    return await split_run(ctx)


async def work_pool() -> str | None:
    """Return the work pool that this flow run, or the one that called it, belongs to."""
    with suppress(Exception):  # without an answer the run is rendered here
        for name in (flow_run.id, flow_run.root_flow_run_id):
            if name:
                async with get_client() as client:
                    found = (await client.read_flow_run(UUID(str(name)))).work_pool_name
                if found:
                    return str(found)
    return None


async def _is_deployed(pool: str) -> bool:
    try:
        async with get_client() as client:
            await client.read_deployment_by_name(f"{SHARD_FLOW}/{pool}")
    except ObjectNotFound:
        return False
    return True


async def render_shards(ctx: RunContext) -> dict[str, Any]:
    """Let the pool's workers render the parts of a run, and write what it leaves. Returns the summary."""
    pool = await work_pool()
    assert pool is not None, "a run is split for a work pool"
    await coordinate(ctx, starter(pool, sandbox=ctx.request.sandbox), lambda: shards_at_once(pool))
    summary = await finalize_together(ctx)
    await publish_results(ctx, summary)
    return summary


def starter(pool: str, *, sandbox: bool) -> Start:
    """Return what starts a flow run for a part. Starting the same part of the same owner twice starts one."""

    async def start(each: PartWork) -> None:
        window = time.time() // RESERVED_S  # one that failed before it owned its part is started anew
        try:
            await arun_deployment(
                f"{SHARD_FLOW}/{pool}",
                parameters={"run_id": each.run_id, "part": each.part, "sandbox": sandbox},
                timeout=0,
                as_subflow=False,
                idempotency_key=f"{each.run_id}:{each.part}:{each.token}:{window:.0f}",
                flow_run_name=f"{each.run_id} {each.part}".rstrip(),
            )
        except Exception as error:  # whatever keeps Prefect from it, the ledger is as it was
            raise CallsheetError(
                f"Prefect did not start part {each.part} of {each.run_id}: {error}"
            ) from error

    return start


async def shards_at_once(pool: str) -> int:
    """Return how many shards of a run are at work at the same time: one for each worker, at least two."""
    online = 0
    with suppress(Exception):
        async with get_client() as client:
            workers = await client.read_workers_for_work_pool(pool)
        online = sum(each.status is WorkerStatus.ONLINE for each in workers)
    return max(IN_FLIGHT, min(MOST_AT_ONCE, online))
