"""The coordinator of a run: it splits the run into parts, starts their shards and waits, by the ledger alone.

A part is about an hour of work: long enough that starting a process for it costs nothing, short enough that
a dead process leaves little behind, and that two campaigns can take turns. The coordinator owns nothing that
is rendered. If it dies, shards go on, and the keeper starts the rest.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

from callsheet.engine.context import RunContext, context_of, open_account
from callsheet.engine.finalize import written_summary
from callsheet.engine.job import render_kind
from callsheet.engine.outage import through_outages
from callsheet.engine.request import RunRequest, settings_for
from callsheet.engine.run_folder import folder_here, publish_report
from callsheet.engine.scheduler import waiting_jobs
from callsheet.engine.shard import finalize_run
from callsheet.engine.stopping import StopSignal
from callsheet.engine.uploads import uploaded_images
from callsheet.errors import Busy, CallsheetError
from callsheet.ledger import JobRow, PartWork, Range, parts, queries
from callsheet.ledger.executor import LedgerExecutor
from manifests.job import decode_job

logger = logging.getLogger(__name__)

PART_S = 3600.0
"""How long the jobs of a part should take, in seconds."""

MOST_JOBS = 1000
"""Jobs of a part at most: above that Prefect's server loses the history of task runs that end in a burst."""

IN_FLIGHT = 2
"""Parts of a run at work at the same time, at least: the last jobs of one leave slots to the next."""

UPLOADS_AT_ONCE = 4

LOOK_EVERY_S = 2.0
"""How often the ledger is asked how far the shards are, in seconds."""

RESERVED_MS = 600_000
"""How long a part is kept for the process that is started for it, in milliseconds."""

FINALIZE_TRIES = 60
"""How often, a second apart, a run is tried to be owned for its end: another process may be at it."""

Start = Callable[[PartWork], Awaitable[None]]
"""Starts a process for a part. Raises CallsheetError where it cannot: the part is tried again."""

AtOnce = Callable[[], Awaitable[int]]
"""Says how many parts of a run are to be at work at the same time."""


def part_size(render_s: float, slots: int) -> int:
    """Return how many jobs a part has, 1 to MOST_JOBS.

    `render_s` is how long one render takes; a part may expect its share of the `slots`.
    """
    return max(1, min(MOST_JOBS, round(PART_S / render_s * slots / IN_FLIGHT)))


async def split_run(ctx: RunContext) -> list[Range]:
    """Split a run into parts where it has more jobs than one, so that several machines can render it.

    Returns none where one process renders all of it. What the parts need from this machine is sent first:
    images become addresses at fal, and the plan goes where the results go.
    """
    known = await ctx.do(parts.ranges, ctx.run.run_id)
    if known or not ctx.stop.admitting or ctx.request.shard_jobs == 0:
        return known
    rows = await waiting_jobs(ctx)
    size = ctx.request.shard_jobs or part_size(_render_s(ctx, rows), ctx.settings.concurrency)
    if len(rows) <= size:
        return []
    await _upload_images(ctx, rows)
    await publish_report(ctx)
    return await ctx.do(parts.split, ctx.run.run_id, size)


def _render_s(ctx: RunContext, rows: Sequence[JobRow]) -> float:
    """Return how long a render of these jobs takes on average, in seconds."""
    kinds = Counter(row.render_kind for row in rows)
    of_kind = {row.render_kind: row for row in rows}
    total_s = 0.0
    for name, count in kinds.items():
        job = decode_job(of_kind[name].payload, ctx.catalog)
        total_s += count * ctx.state.times.estimate(render_kind(ctx, job)).expected_s
    return max(0.1, total_s / max(1, len(rows)))


async def _upload_images(ctx: RunContext, rows: Sequence[JobRow]) -> None:
    """Upload the images that are files here. One that fails is tried again with its job, which says why."""
    gate = asyncio.Semaphore(UPLOADS_AT_ONCE)

    async def one(row: JobRow) -> None:
        job = decode_job(row.payload, ctx.catalog)
        if any(image.sha256 is not None for image in job.images):
            async with gate:
                with suppress(CallsheetError):
                    await uploaded_images(ctx, job)

    await asyncio.gather(*(one(row) for row in rows))


@asynccontextmanager
async def coordinating(request: RunRequest, run_id: str) -> AsyncIterator[RunContext]:
    """Open the context of a run whose parts others render. Nothing is owned yet."""
    settings = settings_for(request)
    async with open_account(settings) as account:
        run = await account.do(queries.run, run_id)
        yield context_of(account, run, request, StopSignal(), folder=folder_here(run, settings))


async def coordinate(ctx: RunContext, start: Start, at_once: AtOnce) -> None:
    """Start shards, a few at a time, and return when none is at work and none is to be started.

    Once the run is stopped none is started. Returns at once where this process is to end. Raises Busy where
    another process coordinates the run.
    """
    with ctx.account.ledger.claim(ctx.run.run_id, part=parts.COORDINATOR):
        while ctx.stop.phase != "stopped":
            if await through_outages(ctx, lambda: _is_over(ctx, start, at_once)):
                return
            if ctx.stop.admitting:
                await ctx.stop.pause(LOOK_EVERY_S)
            else:
                await asyncio.sleep(LOOK_EVERY_S)


async def _is_over(ctx: RunContext, start: Start, at_once: AtOnce) -> bool:
    """Start what is due. True where nothing is at work and nothing is to be started."""
    run = await ctx.do(queries.run, ctx.run.run_id)
    work = await ctx.do(parts.work, run.run_id)
    may_start = run.is_going_on and ctx.stop.admitting
    if may_start:
        for each in await start_parts(ctx.do, work, start, await at_once()):
            ctx.tell(f"shard {each.part} started")
    is_due = may_start and any(each.is_due or (each.reserved and each.has_work) for each in work)
    return not is_due and not any(each.alive for each in work)


def to_start(work: Sequence[PartWork], most: int) -> list[PartWork]:
    """Return the parts that a process is to be started for, so that `most` of them are at work.

    A part whose owner died holds slots until somebody follows its renders: it goes first.
    """
    taken = sum(each.is_taken for each in work)
    due = [each for each in work if each.is_due]
    in_turn = sorted(due, key=lambda each: not each.active)
    return in_turn[: max(0, most - taken)]


async def start_parts(
    do: LedgerExecutor, work: Sequence[PartWork], start: Start, at_once: int
) -> list[PartWork]:
    """Start processes for the parts that are due, so that `at_once` are at work. Returns those started.

    Each is reserved first, so that of several who look at the same time one starts it.
    """
    begun = []
    for each in to_start(work, at_once):
        if not await do(parts.reserve, each.run_id, each.part, for_ms=RESERVED_MS):
            continue
        try:
            await start(each)
        except CallsheetError as error:
            level = logging.DEBUG if isinstance(error, Busy) else logging.WARNING
            logger.log(level, "%s", error, extra={"run": each.run_id})
            await do(parts.release, each.run_id, each.part)
        else:
            begun.append(each)
    return begun


async def finalize_together(ctx: RunContext) -> dict[str, Any]:
    """Write what the run leaves, once nobody owns any of it. Returns its summary.

    Where another process has just written it, or the run goes on without this process, the summary is what
    the ledger says now.
    """
    if ctx.stop.phase != "stopped":
        for _ in range(FINALIZE_TRIES):
            if summary := await finalize_run(
                ctx.account, ctx.run.run_id, anyway=True, announcer=ctx.announcer
            ):
                remarks = [*summary["remarks"], *ctx.state.notices]
                return {**summary, "remarks": remarks, "cancelled": ctx.state.cancelled}
            if (await ctx.do(queries.run, ctx.run.run_id)).closed_ms is not None:
                break
            await asyncio.sleep(1)
    return await written_summary(ctx)
