"""Paid videos that were given up: fal is asked for them once more, for free, before anything is bought again.

Only looks are made here. What is there is `rendered` in the ledger again, and fetched as any other.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field

from callsheet.engine.rescue import HISTORY_KEPT_MS, in_history
from callsheet.errors import AccountError, QueueError, RenderFailed, Unavailable, UntrustedHost
from callsheet.ledger import JobRow, State, queries, recovery
from callsheet.provider.messages import Rendered, parse_result
from callsheet.provider.platform_messages import result_of
from callsheet.provider.replies import Reply
from callsheet.reconcile.desk import Desk

GIVEN_UP = frozenset({"result_lost", "lost_at_provider", "file_gone", "file_unreached"})
"""Errors of jobs that fal took and that may have a video there after all."""


@dataclass(slots=True)
class Looked:
    """Jobs that fal has a video of, and those that it could not be asked about, with the reason."""

    found: set[int] = field(default_factory=set)
    unsure: dict[int, str] = field(default_factory=dict)


async def given_up_jobs(desk: Desk) -> list[JobRow]:
    """Return the jobs of all runs that were given up and that fal's history may still show."""
    since_ms = desk.now_ms() - HISTORY_KEPT_MS
    job_ids = await desk.books(recovery.lost_jobs, GIVEN_UP, since_ms=since_ms)
    return [await desk.books(queries.job, job_id) for job_id in job_ids]


async def look_for(desk: Desk, rows: Iterable[JobRow]) -> Looked:
    """Ask fal once about each of these jobs that was given up; take up those that it has a video of.

    Their runs are the caller's own.
    """
    looked = Looked()
    for each in rows:
        row = await desk.books(queries.job, each.job_id)  # it may have moved on since the list was read
        if row.state is not State.FAILED or row.error_type not in GIVEN_UP or row.ticket is None:
            continue
        try:
            if await _is_there(desk, row):
                why = "it was given up, and fal has it after all"
                await desk.books(recovery.take_up, row.job_id, why=why, attempt=row.attempt)
                looked.found.add(row.job_id)
        except (QueueError, AccountError) as error:
            looked.unsure[row.job_id] = str(error)
    return looked


async def _is_there(desk: Desk, row: JobRow) -> bool:
    """Say whether result and file are to be had. Raises QueueError or AccountError where nobody can know."""
    rendered = await _result(desk, row)
    if rendered is None:
        return False
    try:
        async with desk.queue.open_download(rendered.video_url):
            return True
    except Unavailable as error:
        if error.gone:
            return False
        raise


async def _result(desk: Desk, row: JobRow) -> Rendered | None:
    """Return what the render brought: from the ledger, the queue or the history; None where it is nowhere."""
    assert row.submission is not None
    assert row.ticket is not None
    if row.submission.result_json is not None:
        with suppress(Unavailable, RenderFailed, UntrustedHost):
            return parse_result(Reply(200, {}, row.submission.result_json.encode()))
    try:
        return await desk.queue.result(desk.queue.ticket(row.endpoint, row.ticket.request_id))
    except RenderFailed:
        return None
    except Unavailable as error:
        unread = error
    item = (await in_history(desk, row)).item
    if item is not None and item.output is not None:
        with suppress(RenderFailed):
            return result_of(item)
        return None
    if not unread.gone or (item is not None and item.ended_ms is None):
        raise unread
    return None
