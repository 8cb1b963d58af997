"""Schedules a run's jobs: the next one begins when a slot is free, in the order of priority."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any

from callsheet.engine.context import RunContext
from callsheet.engine.job import TO_DO, group_of, note_error, render_job, render_kind, stop_on_error
from callsheet.engine.outage import through_outages
from callsheet.ledger import JobRow, State, history
from manifests.job import decode_job

RenderJob = Callable[[RunContext, JobRow], Awaitable[Any]]
"""Renders one job. It may raise: the run then stops buying, and goes on with what is at fal."""

REMEMBERED = 30
"""Earlier renders of a kind from which render times are learned; older hardware is not comparable."""

KINDS = 50
"""Kinds of jobs whose render times are looked up: each is a query."""


async def render_here(ctx: RunContext, row: JobRow) -> None:
    """Render one job in this process, without Prefect."""
    await render_job(ctx, row.job_id)


def in_order(rows: Iterable[JobRow]) -> list[JobRow]:
    """Sort jobs: paid for first, retakes last, then by priority (higher first), then as in the manifest."""
    to_do = [row for row in rows if row.state in TO_DO]
    return sorted(
        to_do, key=lambda row: (row.state is State.PENDING, row.retake, -row.priority, row.position)
    )


async def waiting_jobs(ctx: RunContext) -> list[JobRow]:
    """Return what is left to do here, in order. From here on the run may buy."""
    rows = in_order(await through_outages(ctx, lambda: ctx.jobs(*TO_DO)))
    if not ctx.request.sandbox:  # the sandbox renders at any speed
        await through_outages(ctx, lambda: _learn_render_times(ctx, rows))
    ctx.state.may_buy = True
    return rows


async def run_jobs(ctx: RunContext, rows: Sequence[JobRow], render: RenderJob = render_here) -> None:
    """Render every row, as many at a time as there are slots, until done or until the run stops.

    A stop ends waiting, not work: what is at fal goes on there, and steps that may not be cut short (a POST
    and the recording of its outcome) are finished. What was left out because its price group was stopped is
    rendered in the end if a clip of the group has passed meanwhile.
    """
    running: set[asyncio.Future[Any]] = set()
    stopped: asyncio.Future[Any] = asyncio.ensure_future(ctx.stop.wait_stopped())
    try:
        while rows:
            left = []
            for row in rows:
                if not await _may_begin(ctx, row, stopped):
                    left.append(row)
                    continue
                task: asyncio.Future[Any] = asyncio.ensure_future(_rendered(ctx, row, render))
                running.add(task)
                task.add_done_callback(running.discard)
            while running and not stopped.done():
                await asyncio.wait({*running, stopped}, return_when=asyncio.FIRST_COMPLETED)
            rows = [] if stopped.done() else [row for row in left if _is_wanted(ctx, row)]
    finally:
        stopped.cancel()
        ending = tuple(running)
        for task in ending:
            task.cancel()
        await asyncio.gather(*ending, return_exceptions=True)


async def render_waiting(ctx: RunContext, render: RenderJob = render_here) -> None:
    """Render what is left to do here, and then the retakes that the run has ordered meanwhile."""
    await run_jobs(ctx, await waiting_jobs(ctx), render)
    await render_retakes(ctx, render)


async def render_retakes(ctx: RunContext, render: RenderJob = render_here) -> None:
    """Render retakes until there are no new ones. Each is begun once: what stays pending is for `resume`."""
    begun: set[int] = set()
    while not ctx.stop.reason:
        pending = await through_outages(ctx, lambda: ctx.jobs(State.PENDING))
        rows = [row for row in pending if row.retake and row.job_id not in begun]
        if not rows:
            return
        begun.update(row.job_id for row in rows)
        await run_jobs(ctx, in_order(rows), render)


async def _may_begin(ctx: RunContext, row: JobRow, stopped: asyncio.Future[Any]) -> bool:
    """Wait for a slot. False where the job is not begun any more."""
    if stopped.done() or not _is_wanted(ctx, row):
        return False
    entering = asyncio.ensure_future(ctx.state.limiter.enter(row.job_id))
    waited: set[asyncio.Future[Any]] = {entering, stopped}
    await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
    if not entering.done():
        entering.cancel()
        return False
    if not _is_wanted(ctx, row):
        ctx.state.limiter.leave(row.job_id)
        return False
    return True


def _is_wanted(ctx: RunContext, row: JobRow) -> bool:
    if row.state is not State.PENDING:
        return True
    breaker = ctx.state.breaker
    return ctx.stop.admitting and not (breaker.has_tripped and breaker.is_open(group_of(ctx, row)))


async def _rendered(ctx: RunContext, row: JobRow, render: RenderJob) -> None:
    try:
        await render(ctx, row)
    except Exception as error:  # noqa: BLE001 -- what is at fal is still collected
        if ctx.stop.admitting:  # an error of `render_job` has stopped the buying already
            stop_on_error(ctx, row.job_id, error, what="error of the render function")
        else:
            note_error(ctx, row.job_id, error)
    finally:
        ctx.state.limiter.leave(row.job_id)


async def _learn_render_times(ctx: RunContext, rows: Iterable[JobRow]) -> None:
    """Learn from the ledger how long earlier renders of the run's kinds of jobs took, oldest first."""
    kinds = {row.render_kind: row for row in reversed(list(rows))}
    for name, row in list(kinds.items())[:KINDS]:
        kind = render_kind(ctx, decode_job(row.payload, ctx.catalog))
        for took_ms in reversed(await ctx.do(history.render_times, name, limit=REMEMBERED)):
            ctx.state.times.observe(kind, took_ms / 1000)
