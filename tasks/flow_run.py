"""The flow run of a run: its name, tags, address, events and end, and what a person does to it in Prefect."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from itertools import chain, repeat
from typing import Any
from uuid import UUID

from prefect import get_run_logger
from prefect.client.orchestration import get_client
from prefect.client.schemas import State
from prefect.client.schemas.objects import StateType
from prefect.context import FlowRunContext
from prefect.events import emit_event
from prefect.runtime import flow_run
from prefect.states import Cancelled, Completed
from prefect.utilities.urls import url_for

from callsheet.engine.cancel import cancel_run
from callsheet.engine.context import RunContext
from callsheet.engine.stopping import beside, take_signals
from callsheet.errors import Interrupted
from callsheet.notify.message import Message, counted

PREFIX = "callsheet."
"""`budget.80` is the event `callsheet.budget.80`."""

LOOK_EVERY_S = 5.0
"""How often Prefect is asked whether a person has cancelled the flow run, in seconds."""

ANSWER_S = 3.0
"""How long Prefect's answer is waited for, in seconds."""

PLACE_S = 60.0
"""How long a brief flow run that has died keeps its place, in seconds: the shortest that Prefect allows."""

RENEW_AFTER_S = (0.5, 1.0, 2.0, 4.0)
"""Pauses between the first renewals, in seconds: Prefect's own first one, of five minutes, may come between
them. Its next one comes after four minutes."""

RENEW_EVERY_S = 15.0

MOST_TAGS = 10
MOST_CHARS = 500
"""Length at most of a state's message."""

CANCELLED = frozenset({StateType.CANCELLING, StateType.CANCELLED})


@asynccontextmanager
async def following_flow_run(ctx: RunContext) -> AsyncIterator[None]:
    """Name and tag the flow run, say where it is shown, and cancel the run when a person cancels it.

    The process's signals go to the run from here on: Prefect's own handler would raise in the middle of a
    step. SIGTERM from a worker is a cancellation where Prefect says so, and otherwise a stop.
    """
    flow_run_id = str(flow_run.id)
    loop = asyncio.get_running_loop()
    take_signals(ctx.stop, terminate=lambda: loop.create_task(_terminated(ctx, flow_run_id)))
    if url := url_for("flow-run", obj_id=flow_run_id):
        ctx.tell(f"Prefect: {url}")
    with suppress(Exception):  # Prefect shows the run; it does not carry it
        await _describe(ctx, flow_run_id)
    ctx.announcer.listeners.append(event_sender(flow_run_id))
    async with beside(_follow(ctx, flow_run_id)):
        yield


@asynccontextmanager
async def brief_place() -> AsyncIterator[None]:
    """Keep the place of this flow run for a minute at a time, where Prefect would keep it for five.

    A run of every minute has the only place of its deployment: where its process dies, the next one begins as
    soon as the place is free.
    """
    context = FlowRunContext.get()
    assert context is not None, "a flow runs"
    state = context.flow_run.state if context.flow_run else None
    lease = state.state_details.deployment_concurrency_lease_id if state else None
    if lease is None:  # a deployment without a limit, or none
        yield
        return
    async with beside(_renew_place(lease)):
        yield


async def _renew_place(lease: UUID) -> None:
    async with get_client() as client:
        for pause_s in chain(RENEW_AFTER_S, repeat(RENEW_EVERY_S)):
            with suppress(Exception):  # the next renewal comes long before the place is lost
                await client.renew_concurrency_lease(lease, PLACE_S)
            await asyncio.sleep(pause_s)


def ended(summary: Mapping[str, Any]) -> State[Any]:
    """Return Prefect's state for a run, or a part of one, that has ended: counts, and why it was stopped.

    One that a person cancelled or did not approve is Cancelled. One that stopped buying is Stopped, which
    is no failure of the flow: what was at fal was collected.
    """
    if summary["cancelled"]:
        return Cancelled(message="; ".join(summary["remarks"][-1:])[:MOST_CHARS])
    counts = counted(summary["statuses"])
    if why := summary["stopped_by"]:
        return Completed(name="Stopped", message=f"{why} ({counts})"[:MOST_CHARS], data=dict(summary))
    return Completed(message=counts, data=dict(summary))


async def _describe(ctx: RunContext, flow_run_id: str) -> None:
    rows = await ctx.jobs()
    clients = sorted({row.client for row in rows if row.client})
    models = sorted({row.model for row in rows})
    tags = ["callsheet", ctx.run.campaign, *models, *(clients if len(clients) <= MOST_TAGS else ())]
    name = f"{ctx.run.campaign} {ctx.run.run_id}" + (f" {ctx.within.name}" if ctx.within else "")
    async with get_client() as client:
        await client.update_flow_run(UUID(flow_run_id), name=name, tags=tags)


async def _follow(ctx: RunContext, flow_run_id: str) -> None:
    while ctx.stop.admitting:
        await asyncio.sleep(LOOK_EVERY_S)
        if await _is_cancelled(flow_run_id):
            await cancel_run(ctx, "cancelled in Prefect")


async def _is_cancelled(flow_run_id: str) -> bool:
    """Say whether a person has cancelled the flow run; a server that does not answer says no."""
    with suppress(Exception):
        async with asyncio.timeout(ANSWER_S), get_client() as client:
            state = (await client.read_flow_run(UUID(flow_run_id))).state
            return state is not None and state.type in CANCELLED
    return False


async def _terminated(ctx: RunContext, flow_run_id: str) -> None:
    """React to SIGTERM: a worker sends it when a person cancels the flow run, and when it is shut down.

    A cancellation may have been seen before: what renders is collected until the worker kills the process.
    """
    if ctx.state.cancelled:
        return
    if await _is_cancelled(flow_run_id):
        await cancel_run(ctx, "cancelled in Prefect")
    else:
        ctx.stop.stop(Interrupted("terminated"))


def event_sender(flow_run_id: str) -> Callable[[Message], None]:
    """Return what writes each message of a run into the log of its flow run, and emits it as an event.

    Called within the flow.
    """
    logger = get_run_logger()
    related = [
        {"prefect.resource.id": f"prefect.flow-run.{flow_run_id}", "prefect.resource.role": "flow-run"}
    ]

    def send(message: Message) -> None:
        logger.info("%s. %s", message.title, " ".join(message.text.splitlines()))
        emit_event(
            PREFIX + message.event,
            resource=resource_of(message),
            related=related,
            payload={"title": message.title, "text": message.text, **message.facts},
        )

    return send


def resource_of(message: Message) -> dict[str, Any]:
    """Return what an event is about: the run, with its campaign as a label that automations can filter by."""
    run, campaign = message.facts["run"], message.facts["campaign"]
    return {
        "prefect.resource.id": f"callsheet.run.{run}",
        "prefect.resource.name": str(run),
        "callsheet.campaign": str(campaign),
    }
