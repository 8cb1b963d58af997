"""The whole job: plan, hold, render, collect, report. The order of steps and nothing else."""

from __future__ import annotations

from typing import Any

from prefect import flow
from prefect.client.schemas import State

from callsheet.engine.closing import finish
from callsheet.engine.request import RunRequest
from callsheet.engine.session import studio_of
from tasks.approval import is_approved, turned_down
from tasks.artifacts import publish_results
from tasks.rendering import render_all, render_canaries


@flow(name="run-campaign", flow_run_name="{request.label}", persist_result=False)
async def run_campaign(request: RunRequest) -> dict[str, Any] | State[Any]:
    """Run a manifest, a campaign file or a plan file, or go on with a run that was opened before."""
    async with studio_of(request) as studio:
        if not await is_approved(studio, request):
            return await turned_down(studio)
        await render_canaries(studio, request.canary)
        await render_all(studio)
        summary = await finish(studio)
        await publish_results(studio, summary)
    return summary
