"""The whole job: plan, hold, render, collect, report. The order of steps and nothing else."""

from __future__ import annotations

from typing import Any

from prefect import flow

from callsheet.engine.request import RunRequest
from callsheet.engine.session import finish, opened, settings_for, studio_for
from callsheet.engine.watchers import current_stop
from tasks.artifacts import publish_results
from tasks.rendering import render_all, render_canaries


@flow(name="run-campaign", flow_run_name="{request.label}", persist_result=False)
async def run_campaign(request: RunRequest) -> dict[str, Any]:
    """Run a manifest, a campaign file or a plan file, or go on with a run that was opened before."""
    settings = settings_for(request)
    run_id = request.run_id or opened(request, settings)
    async with studio_for(request, run_id, settings, current_stop()) as studio:
        await render_canaries(studio, request.canary)
        await render_all(studio)
        summary = await finish(studio)
        await publish_results(studio, summary)
    return summary
