"""The whole job: plan, hold, render, collect, report. The order of steps and nothing else."""

from __future__ import annotations

from typing import Any

from prefect import flow
from prefect.client.schemas import State

from callsheet.engine.closing import finish
from callsheet.engine.request import RunRequest
from callsheet.engine.session import opened, studio_for
from callsheet.engine.surroundings import settings_for
from callsheet.engine.watchers import current_stop
from tasks.approval import is_approved, turned_down
from tasks.artifacts import publish_results
from tasks.rendering import render_all, render_canaries


@flow(name="run-campaign", flow_run_name="{request.label}", persist_result=False)
async def run_campaign(request: RunRequest) -> dict[str, Any] | State[Any]:
    """Run a manifest, a campaign file or a plan file, or go on with a run that was opened before."""
    settings = settings_for(request)
    run_id = request.run_id or opened(request, settings)
    async with studio_for(request, run_id, settings, current_stop()) as studio:
        if not await is_approved(studio, request):
            return await turned_down(studio)
        await render_canaries(studio, request.canary)
        studio.may_buy = True
        await render_all(studio)
        summary = await finish(studio)
        await publish_results(studio, summary)
    return summary
