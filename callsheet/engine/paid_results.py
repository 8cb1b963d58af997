"""Paid results that were not fetched: from our own ledger, from fal's queue, or from fal's history.

fal's queue keeps a result for an hour, the history keeps it for 30 days (fal.ai/docs, queue and headers).
What is paid for is written off only where both say that they do not have it: after that hour and the
history's lag, in two looks some time apart. A look that fails says nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field

from callsheet.engine.context import RunContext
from callsheet.errors import AccountError, QueueError, RenderFailed, Unavailable, UntrustedHost
from callsheet.ledger import JobRow, Ledger, State, history, queries, recovery
from callsheet.media.codes import MediaErrorCode
from callsheet.provider.messages import Rendered, parse_result
from callsheet.provider.platform_messages import HistoryItem, result_of
from callsheet.provider.replies import Reply
from callsheet.reconciliation import evidence
from callsheet.reconciliation.account import AccountSession, request_id_of, sent_ms, submission_of
from callsheet.reconciliation.evidence import Due
from callsheet.reconciliation.open_jobs import (
    LOOK_BACK_MS,
    NO_CONTROL,
    another_look,
    remembered,
)
from callsheet.ticket import Ticket
from manifests.diff import Changes
from manifests.plan import Plan

RESULT_KEPT_MS = 3_600_000
HISTORY_KEPT_MS = 30 * 86_400_000
"""How long after a render the queue and the history keep its result, in milliseconds."""

NOWHERE = "fal's queue and its history no longer hold the result"


async def recovered_result(ctx: RunContext, ticket: Ticket, error: Unavailable) -> Rendered:
    """Return the result of a request for whose result the queue answered with `error`.

    Raises RenderFailed for a render that failed, and for one whose result is lost: then what is held for it
    counts as spent. Raises Unavailable while it cannot be known which it is.
    """
    known = await ctx.do(history.known_requests, [ticket.request_id])
    row = await ctx.do(queries.job, known[ticket.request_id])
    submission = submission_of(row)
    if submission.result_json is not None:
        return parse_result(Reply(200, {}, submission.result_json.encode()))
    ended_ms = submission.rendered_ms or sent_ms(submission)
    if ctx.account.now_ms() >= ended_ms + HISTORY_KEPT_MS:
        raise _lost(f"fal keeps no result for longer than 30 days, and this one was never read ({error})")
    item, server_ms = await _in_history(ctx.account, row)
    if item is not None:
        try:
            return result_of(item)
        except Unavailable:
            if item.ended_ms is None:
                raise
    if not error.gone:
        raise error
    if item is None:
        await _require_control(ctx.account, row)
    due = Due(
        deadline_ms=ended_ms + max(RESULT_KEPT_MS, 1000 * ctx.settings.history_lag_s),
        gap_ms=evidence.gap_ms(ctx.settings),
        first_look_ms=submission.unseen_ms,
    )
    if (wait := await another_look(ctx.account, row, due, server_ms)) is not None:
        raise Unavailable(f"{NOWHERE}{wait.why}")
    raise _lost(f"{NOWHERE} of request {ticket.request_id}")


def kept_result(row: JobRow) -> Rendered | None:
    """Return the result of a job that the ledger has; None where it has none, or none that can be read."""
    kept = submission_of(row).result_json
    if kept is not None:
        with suppress(Unavailable, RenderFailed, UntrustedHost):
            return parse_result(Reply(200, {}, kept.encode()))
    return None


async def _require_control(account: AccountSession, row: JobRow) -> None:
    """Raise Unavailable where the endpoint's history shows no request of this ledger: it proves nothing."""
    start_ms = sent_ms(submission_of(row)) - LOOK_BACK_MS
    try:
        found = await account.platform.history([row.endpoint], start_ms=start_ms)
    except (Unavailable, AccountError) as error:
        raise Unavailable(f"{NOWHERE}: {error}") from error
    if not await account.do(history.known_requests, [item.request_id for item in found.items]):
        raise Unavailable(f"{NOWHERE}: {NO_CONTROL}")


async def _in_history(account: AccountSession, row: JobRow) -> tuple[HistoryItem | None, int | None]:
    """Ask fal's history as `remembered` does. Raises Unavailable where it cannot be read."""
    try:
        return await remembered(account, row)
    except AccountError as error:  # the key may read the queue and still not the history
        raise Unavailable(
            f"the result has expired, and the history is closed to this key: {error}"
        ) from error


def _lost(why: str) -> RenderFailed:
    return RenderFailed(
        f"{why}; what was held for it counts as spent", error_type="result_lost", charged="unknown"
    )


NOT_FETCHED = frozenset(
    {"result_lost", "result_failed", "lost_at_provider", "file_gone", "file_unreached", "untrusted_host"}
) | frozenset(code.value for code in MediaErrorCode)
"""Errors of failed jobs that were paid for and whose video fal may still have."""


@dataclass(slots=True)
class Reopened:
    """Jobs that fal has a video of, and those that it could not be asked about, with the reason."""

    found: set[int] = field(default_factory=set)
    unsure: dict[int, str] = field(default_factory=dict)


async def unfetched_jobs(account: AccountSession) -> list[JobRow]:
    """Return the failed jobs of all runs whose video may still be at fal."""
    since_ms = account.now_ms() - HISTORY_KEPT_MS
    job_ids = await account.do(recovery.lost_jobs, NOT_FETCHED, since_ms=since_ms)
    return [await account.do(queries.job, job_id) for job_id in job_ids]


def not_downloaded(ledger: Ledger, plan: Plan, changes: Changes) -> frozenset[int]:
    """Return the positions of a plan's jobs that failed after they were paid for, and may still be at fal.

    fal is not asked. What is made already or in flight is not among them, by `changes`.
    """
    since_ms = ledger.do(queries.now_ms) - HISTORY_KEPT_MS
    lost = ledger.do(recovery.lost_jobs, NOT_FETCHED, since_ms=since_ms)
    if not lost:
        return frozenset()
    ours = ledger.do(queries.runs_of, plan.campaign)
    rows = (ledger.do(queries.job, job_id) for job_id in lost)
    paid = {row.fingerprint for row in rows if row.run_id in ours}
    prints = enumerate(fingerprint for fingerprint, _ in plan.identities())
    return frozenset(at for at, fingerprint in prints if fingerprint in paid) - {*changes.costless}


async def reopen_unfetched(account: AccountSession, rows: Iterable[JobRow]) -> Reopened:
    """Ask fal once about each of these failed jobs. Those that it has a video of are `rendered` again.

    Their runs are the caller's own.
    """
    reopened = Reopened()
    for each in rows:
        row = await account.do(queries.job, each.job_id)  # it may have moved on since the list was read
        if row.state is not State.FAILED or row.error_type not in NOT_FETCHED or row.ticket is None:
            continue
        try:
            if await _is_there(account, row):
                why = "fal still has the video"
                await account.do(recovery.take_up, row.job_id, why=why, attempt=row.attempt)
                reopened.found.add(row.job_id)
        except (QueueError, AccountError) as error:
            reopened.unsure[row.job_id] = str(error)
    return reopened


async def _is_there(account: AccountSession, row: JobRow) -> bool:
    """Say whether result and file are to be had. Raises QueueError or AccountError where unknown."""
    rendered = await _result(account, row)
    if rendered is None:
        return False
    try:
        async with account.queue.open_download(rendered.video_url):
            return True
    except Unavailable as error:
        if error.gone:
            return False
        raise


async def _result(account: AccountSession, row: JobRow) -> Rendered | None:
    """Return what the render brought: from the ledger, the queue or the history; None where it is nowhere."""
    request_id = request_id_of(row)
    if (kept := kept_result(row)) is not None:
        return kept
    if not account.speaks_for(row.submission):
        raise Unavailable(f"request {request_id} was sent with another fal key: ask with that")
    try:
        return await account.queue.result(account.queue.ticket(row.endpoint, request_id))
    except RenderFailed:
        return None
    except Unavailable as error:
        unread = error
    item, _ = await _in_history(account, row)
    if item is not None and item.output is not None:
        with suppress(RenderFailed):
            return result_of(item)
        return None
    if not unread.gone or (item is not None and item.ended_ms is None):
        raise unread
    if item is None:
        await _require_control(account, row)
    return None
