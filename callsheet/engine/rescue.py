"""A result that the queue does not give: out of our own ledger, else out of fal's history, else a loss.

fal's queue keeps a result for an hour, the history keeps it for 30 days (fal.ai/docs, queue and headers).
What is paid for is written off only where both say that they do not have it: after that hour and the
history's lag, in two looks some time apart. A look that fails says nothing.
"""

from __future__ import annotations

from callsheet.engine.studio import Studio
from callsheet.errors import AccountError, RenderFailed, Unavailable
from callsheet.ledger import JobRow, Submission, history, queries
from callsheet.provider.messages import Rendered, Ticket, parse_result
from callsheet.provider.platform_messages import result_of
from callsheet.provider.replies import Reply
from callsheet.reconcile import absence
from callsheet.reconcile.absence import Due
from callsheet.reconcile.desk import Desk, sent_ms
from callsheet.reconcile.underway import Remembered, another_look, remembered

RESULT_KEPT_MS = 3_600_000
HISTORY_KEPT_MS = 30 * 86_400_000
"""How long after a render the queue and the history keep its result, in milliseconds."""

NOWHERE = "fal's queue and its history no longer hold the result"


async def rescued(studio: Studio, ticket: Ticket, error: Unavailable) -> Rendered:
    """Return the result of a request for whose result the queue answered with `error`.

    Raises RenderFailed for a render that failed, and for one whose result is lost: then what is held for it
    counts as spent. Raises Unavailable while it cannot be known which it is.
    """
    known = await studio.books(history.known_requests, [ticket.request_id])
    row = await studio.books(queries.job, known[ticket.request_id])
    assert row.submission is not None, "a request id belongs to a submission"
    if row.submission.result_json is not None:
        return parse_result(Reply(200, {}, row.submission.result_json.encode()))
    if not error.gone and studio.desk.now_ms() >= _ended_ms(row.submission) + HISTORY_KEPT_MS:
        raise _lost(f"fal keeps no result for longer than 30 days, and this one was never read ({error})")
    seen = await in_history(studio.desk, row)
    if seen.item is not None:
        try:
            return result_of(seen.item)
        except Unavailable:
            if seen.item.ended_ms is None:
                raise
    if not error.gone:
        raise error
    due = Due(
        deadline_ms=_ended_ms(row.submission) + max(RESULT_KEPT_MS, 1000 * studio.settings.history_lag_s),
        gap_ms=absence.gap_ms(studio.settings),
        first_look_ms=row.submission.unseen_ms,
    )
    if (wait := await another_look(studio.desk, row, due, seen.server_ms)) is not None:
        raise Unavailable(f"{NOWHERE}{wait.why}")
    raise _lost(f"{NOWHERE} of request {ticket.request_id}")


async def in_history(desk: Desk, row: JobRow) -> Remembered:
    """Ask fal's history about a job's last request. Raises Unavailable where it cannot be read."""
    assert row.submission is not None
    assert row.ticket is not None
    try:
        return await remembered(desk, row.endpoint, row.ticket.request_id, sent_ms(row.submission))
    except AccountError as error:  # the key may read the queue and still not the history
        raise Unavailable(
            f"the result has expired, and the history is closed to this key: {error}"
        ) from error


def _ended_ms(submission: Submission) -> int:
    return submission.rendered_ms or sent_ms(submission)


def _lost(why: str) -> RenderFailed:
    return RenderFailed(
        f"{why}; what was held for it counts as spent", error_type="result_lost", charged="unknown"
    )
