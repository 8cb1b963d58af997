"""A look at a campaign's manifest, every minute. The order of steps and nothing else."""

from __future__ import annotations

from prefect import flow
from prefect.client.schemas import State

from tasks.flow_run import brief_place
from tasks.nights import look_at_manifest


@flow(name="watch-manifest", persist_result=False)
async def watch_manifest(source: str, deployment: str) -> State[None]:
    """Start a campaign's deployment where the files of its manifest have changed and are whole."""
    async with brief_place():
        return await look_at_manifest(source, deployment)
