"""A person says which of fal's requests belongs to an unknown submission."""

from __future__ import annotations

from callsheet.errors import AccountError, QueueError, Unavailable, UsageError
from callsheet.ledger import JobRow, Ticket, history, queries, transitions
from callsheet.provider.platform_messages import HistoryItem
from callsheet.reconcile.attempts import attempt_of
from callsheet.reconcile.decisions import require_owned, signed, unknown_job
from callsheet.reconcile.desk import Desk, claimed, sent_ms
from callsheet.reconcile.findings import Finding, finding
from callsheet.reconcile.matching import contradiction

LOOK_BACK_MS = 3_600_000
"""How long before the POST a request is looked for: one that is too old is then named as such."""


async def adopt(desk: Desk, name: str, request_id: str, *, reason: str) -> Finding:
    """Give an unknown job the request that a person says it bought; from here on it is followed.

    The request must exist at fal, at the job's endpoint, and belong to no other job; nothing that fal shows
    of it may contradict what was sent. Raises UsageError where that is not so, Unavailable or AccountError
    where fal cannot be asked.
    """
    row = await desk.books.call(unknown_job, name)
    why = signed(f"request {request_id} adopted", reason)
    found = desk.queue.ticket(row.endpoint, request_id)
    await _require_free(desk, row, request_id)
    await _require_at_fal(desk, row, request_id)
    ticket = Ticket(found.request_id, found.status_url, found.response_url, found.cancel_url)
    with claimed(desk.ledger, [row.run_id]) as mine:
        require_owned(row, mine)
        await desk.books(transitions.find, row.job_id, ticket, why=why, attempt=row.attempt)
    return finding("found", row, why, request_ids=(request_id,), was_found=True)


async def _require_free(desk: Desk, row: JobRow, request_id: str) -> None:
    known = await desk.books(history.known_requests, [request_id])
    if request_id in known:
        owner = await desk.books(queries.job, known[request_id])
        raise UsageError(
            f"request {request_id} belongs to job {owner.job_id} ({owner.custom_id}, run {owner.run_id})"
            f" already, not to job {row.job_id}"
        )


async def _require_at_fal(desk: Desk, row: JobRow, request_id: str) -> None:
    """Ask the history; where it does not show the request, or is closed, ask the queue.

    The queue knows an app and no endpoint of it, so there the person's word stands for the endpoint.
    """
    item = await _in_history(desk, row, request_id)
    if item is not None:
        if no := contradiction(await attempt_of(desk, row), item):
            raise UsageError(f"request {request_id} is not job {row.job_id} ({row.custom_id}): {no}")
        return
    try:
        await desk.queue.status(desk.queue.ticket(row.endpoint, request_id))
    except Unavailable as error:
        if not error.gone:
            raise
        raise UsageError(
            f"neither fal's request history nor its queue has a request {request_id}; nothing was changed"
        ) from error


async def _in_history(desk: Desk, row: JobRow, request_id: str) -> HistoryItem | None:
    assert row.submission is not None, "an unknown job has a submission"
    start_ms = sent_ms(row.submission) - LOOK_BACK_MS
    try:
        # Of every endpoint: a request that was sent to another one is to be named, not missed.
        found = await desk.platform.history(
            sorted(desk.catalog.endpoints), start_ms=start_ms, request_id=request_id
        )
    except (QueueError, AccountError):
        return None
    return next((item for item in found.items if item.request_id == request_id), None)
