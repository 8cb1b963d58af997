"""Looking after a ledger, every minute. The order of steps and nothing else."""

from __future__ import annotations

from typing import Any

from prefect import flow

from tasks.flow_run import brief_place
from tasks.nights import start_lost_runs
from tasks.upkeep import look_after


@flow(name="keeper", persist_result=False)
async def keeper(work_pool: str = "callsheet", *, sandbox: bool = False) -> dict[str, Any]:
    """Go on with what dead processes left, in any run of the ledger: in shards on a work pool."""
    async with brief_place():
        await start_lost_runs(work_pool, sandbox=sandbox)
        return await look_after(work_pool, sandbox=sandbox)
