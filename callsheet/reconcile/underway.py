"""Submissions that fal took and whose end nobody has seen: asked about, so that their slots come free."""

from __future__ import annotations

from collections.abc import Sequence

from callsheet.errors import AccountError, QueueError, Unavailable
from callsheet.falqueue.messages import Completed, InProgress, Status
from callsheet.falqueue.platform_messages import HistoryItem, iso
from callsheet.ledger import JobRow, Ledger, State
from callsheet.reconcile.desk import Desk, sent_ms
from callsheet.reconcile.findings import Finding, finding

LOOK_BACK_MS = 86_400_000
"""How long before its acceptance a request is looked for in the history."""


async def look_at_open(desk: Desk, rows: Sequence[JobRow]) -> list[Finding]:
    """Ask once about each of these jobs. They are at fal, and their runs are the caller's own."""
    return [await _look(desk, row) for row in rows if row.ticket is not None]


async def _look(desk: Desk, row: JobRow) -> Finding:
    assert row.ticket is not None, "a job at fal has a ticket"
    request = (row.ticket.request_id,)
    try:
        seen = await desk.queue.status(desk.queue.ticket(row.endpoint, row.ticket.request_id))
    except Unavailable as error:
        if error.gone:
            return await _gone(desk, row)
        return finding("rendering", row, str(error), request_ids=request)
    except (QueueError, AccountError) as error:
        return finding("rendering", row, str(error), request_ids=request)
    return await _written(desk, row, seen)


async def _written(desk: Desk, row: JobRow, seen: Status) -> Finding:
    request = (row.ticket.request_id,) if row.ticket else ()
    if isinstance(seen, Completed):
        await desk.books(Ledger.render, row.job_id)
        return finding("rendered", row, "the render has ended", request_ids=request)
    if isinstance(seen, InProgress) and row.state is State.IN_QUEUE:
        await desk.books(Ledger.start, row.job_id)
    why = "it renders" if isinstance(seen, InProgress) else "it waits in fal's queue"
    return finding("rendering", row, why, request_ids=request)


async def _gone(desk: Desk, row: JobRow) -> Finding:
    """The queue no longer holds the request: the history does, or it is lost once it must have ended."""
    assert row.ticket is not None
    assert row.submission is not None
    request_id, submission = row.ticket.request_id, row.submission
    accepted_ms = sent_ms(submission)
    try:
        item = await remembered(desk, row.endpoint, request_id, accepted_ms)
    except (QueueError, AccountError) as error:
        return finding("rendering", row, str(error), request_ids=(request_id,))
    if item is not None and item.ended_ms is not None:
        await desk.books(Ledger.render, row.job_id)
        return finding("rendered", row, "the render has ended", request_ids=(request_id,))
    latest_ms = max(submission.submitted_ms or 0, accepted_ms) + desk.window_ms(submission)
    if item is not None or desk.now_ms() < latest_ms:
        why = f"the queue no longer holds it; it counts as lost from {iso(latest_ms)}"
        return finding("rendering", row, why, request_ids=(request_id,), again_ms=latest_ms)
    why = "neither fal's queue nor its history holds the request any more; its hold counts as spent"
    await desk.books(
        Ledger.fail_render, row.job_id, charged="unknown", error_type="lost_at_provider", error=why
    )
    return finding("lost", row, why, request_ids=(request_id,))


async def remembered(desk: Desk, endpoint: str, request_id: str, accepted_ms: int) -> HistoryItem | None:
    """Return what fal's history holds of one request; None where a whole read does not list it.

    Raises Unavailable or AccountError where it could not be read.
    """
    start_ms = accepted_ms - LOOK_BACK_MS
    history = await desk.platform.history([endpoint], start_ms=start_ms, request_id=request_id)
    return next((item for item in history.items if item.request_id == request_id), None)
