"""Splitting a run into parts: how large they are, and what is sent before others render them.

A part is about an hour of work: long enough that starting a process for it costs nothing, short enough that
a dead process leaves little behind, and that two campaigns can take turns.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress

from callsheet.engine.context import RunContext
from callsheet.engine.job import render_kind
from callsheet.engine.run_folder import publish_report
from callsheet.engine.scheduler import waiting_jobs
from callsheet.engine.uploads import uploaded_images
from callsheet.errors import CallsheetError
from callsheet.ledger import JobRow, Range, parts
from manifests.job import decode_job

PART_S = 3600.0
"""How long the jobs of a part should take, in seconds."""

MOST_JOBS = 1000
"""Jobs of a part at most: above that Prefect's server loses the history of task runs that end in a burst."""

IN_FLIGHT = 2
"""Parts of a run at work at the same time, at least: the last jobs of one leave slots to the next."""

UPLOADS_AT_ONCE = 4


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
