"""A result that the queue no longer holds: out of our own ledger, else out of fal's history, else a loss.

fal's queue keeps a result for an hour, the history keeps it for 30 days (fal.ai/docs, queue and headers).
"""

from __future__ import annotations

from contextlib import suppress

from callsheet.engine.studio import Studio
from callsheet.errors import AccountError, RenderFailed, Unavailable
from callsheet.falqueue.messages import Rendered, Ticket, parse_result
from callsheet.falqueue.platform_messages import HistoryItem, result_of
from callsheet.falqueue.replies import Reply
from callsheet.ledger import Ledger, Submission
from callsheet.reconcile.underway import remembered


async def rescued(studio: Studio, ticket: Ticket, gone: Unavailable) -> Rendered:
    """Return the result of a request whose result the queue answered with `gone`.

    Raises RenderFailed for a render that failed, and for one whose result is lost: then what is held for it
    counts as spent. Raises Unavailable while it cannot be known which it is.
    """
    known = await studio.books(Ledger.known_requests, [ticket.request_id])
    submission = (await studio.books(Ledger.job, known[ticket.request_id])).submission
    assert submission is not None, "a request id belongs to a submission"
    if submission.result_json is not None:
        return parse_result(Reply(200, {}, submission.result_json.encode()))
    item = await _in_history(studio, ticket, submission)
    if item is not None:
        with suppress(Unavailable):
            return result_of(item)
    lag_ms = 1000 * studio.settings.history_lag_s
    if studio.desk.now_ms() < (submission.rendered_ms or 0) + lag_ms:
        raise gone
    raise RenderFailed(
        f"fal's queue and its history no longer hold the result of request {ticket.request_id};"
        " what was held for it counts as spent",
        error_type="result_lost",
        charged="unknown",
    )


async def _in_history(studio: Studio, ticket: Ticket, submission: Submission) -> HistoryItem | None:
    sent_ms = submission.sent_ms or submission.admitted_ms
    try:
        return await remembered(studio.desk, ticket.endpoint_id, ticket.request_id, sent_ms)
    except AccountError as error:  # the key may read the queue and still not the history
        raise Unavailable(
            f"the result has expired, and the history is closed to this key: {error}"
        ) from error
