"""Following one submission until the render ends at fal; that moment frees the slot."""

from __future__ import annotations

import time

from callsheet.engine.studio import Studio
from callsheet.ledger import JobRow, Ledger, State
from callsheet.provider.messages import Completed, InProgress, Ticket
from callsheet.provider.polling import PollSchedule
from manifests.job import Job
from pricing.quotes import quote
from pricing.render_times import RenderKind


def cell_of(studio: Studio, job: Job) -> RenderKind:
    """Return the kind of job this is, as far as render times go."""
    priced = quote(studio.catalog, job.shot)
    return RenderKind(job.endpoint.id, priced.width_px * priced.height_px, priced.frames)


async def watch(studio: Studio, job: Job, row: JobRow, ticket: Ticket) -> None:
    """Return when the render has ended, well or badly, and the ledger knows it.

    Raises Unavailable when fal did not say so in time, or no longer holds the request: then nothing is known
    and nothing is changed.
    """
    cell = cell_of(studio, job)
    schedule = PollSchedule(
        estimate=studio.times.estimate(cell),
        submitted_s=time.monotonic() - _age_s(row),
        run_timeout_s=studio.settings.run_timeout_s,
        start_timeout_s=studio.settings.start_timeout_s,
        jitter=studio.seeds.random,
    )
    waiting = row.state is State.IN_QUEUE
    async for seen in studio.queue.watch(ticket, schedule):
        schedule.learn(studio.times.estimate(cell), time.monotonic())
        if isinstance(seen, InProgress) and waiting:
            await studio.books(Ledger.start, row.job_id, attempt=row.attempt)
            waiting = False
        if isinstance(seen, Completed):
            now_s = time.monotonic()
            render_s = schedule.render_s(seen, now_s)
            started_ms = int((time.time() - render_s) * 1000) if waiting else None
            await studio.books(Ledger.render, row.job_id, started_ms=started_ms, attempt=row.attempt)
            if not seen.error:
                studio.times.observe(cell, render_s)


def _age_s(row: JobRow) -> float:
    """Seconds since fal took the job; wall clock, because another process may have submitted it."""
    submitted_ms = row.submission.submitted_ms if row.submission else None
    return 0.0 if submitted_ms is None else max(0.0, time.time() - submitted_ms / 1000)
