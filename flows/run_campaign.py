"""The whole job: plan, hold, render, collect, report. The order of steps and nothing else."""

from __future__ import annotations

from typing import Any

from prefect import flow
from prefect.client.schemas import State
from prefect.states import Completed

from callsheet.engine.announce import refusals_told
from callsheet.engine.canary import render_canaries
from callsheet.engine.context import RunContext, current_run
from callsheet.engine.coordinator import coordinating
from callsheet.engine.request import RunRequest
from callsheet.engine.run import carry_out_campaign, finish, opened
from callsheet.engine.schedule_rules import ScheduleRules
from callsheet.engine.stopping import handlers_kept
from tasks.approval import is_approved
from tasks.artifacts import publish_plan, publish_results
from tasks.flow_run import ended, following_flow_run
from tasks.nights import SUPERSEDED, superseded_by
from tasks.render import render_all, render_in_task
from tasks.shards import render_shards, split_for_pool

DEFAULT_RULES = ScheduleRules()


@flow(name="run-campaign", flow_run_name="{request.label}", persist_result=False)
async def run_campaign(request: RunRequest, schedule: ScheduleRules = DEFAULT_RULES) -> State[Any]:
    """Run a manifest, a campaign file or a plan file, or go on with a run that was opened before.

    Unfinished runs of the same campaign are taken up first. Of several scheduled runs that were missed only
    one is carried out; the others end as successes that say so. Where the process has opened the run already
    (`current_run`), as the command line does, that run is carried out and nothing else.
    """
    if (ctx := current_run.get()) is not None:
        ctx.state.begun.set()
        return ended(await rendered(ctx) or await rendered_by_pool(request, ctx.run.run_id))
    if (why := await superseded_by(schedule)) is not None:
        return Completed(name=SUPERSEDED, message=why)

    async def carry(each: RunRequest) -> dict[str, Any]:
        return await carried_out(each, is_asked=each is request)

    with handlers_kept():  # a flow that this one is part of goes on, and can be interrupted
        async with refusals_told(request):
            summary = await carry_out_campaign(request, carry)
    return ended(summary)


async def carried_out(request: RunRequest, *, is_asked: bool = True) -> dict[str, Any]:
    """Open a run and carry it out: whole in this process, or in shards on the work pool. Returns its summary.

    A run that nobody asked for (`is_asked`) is left alone where it was stopped or has ended: Busy is raised.
    """
    async with opened(request, is_asked=is_asked) as ctx:
        summary = await rendered(ctx)
    return summary or await rendered_by_pool(request, ctx.run.run_id)


async def rendered(ctx: RunContext) -> dict[str, Any] | None:
    """Carry out an opened run and return its summary; None where it was split for the work pool instead."""
    async with following_flow_run(ctx):
        await publish_plan(ctx)
        if await is_approved(ctx):
            await render_canaries(ctx, render_in_task)
            if await split_for_pool(ctx):
                return None
            await render_all(ctx)
        summary = await finish(ctx)
        await publish_results(ctx, summary)
        return summary


async def rendered_by_pool(request: RunRequest, run_id: str) -> dict[str, Any]:
    """Let the workers of the pool render the parts of a run, which nobody owns meanwhile."""
    async with coordinating(request, run_id) as ctx, following_flow_run(ctx):
        return await render_shards(ctx)
