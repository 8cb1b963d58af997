"""What a person decides about a submission with an unknown outcome, with the reason written down."""

from __future__ import annotations

import getpass
from collections.abc import Iterator
from contextlib import contextmanager

from callsheet.errors import AccountError, QueueError, Unavailable, UsageError
from callsheet.ledger import JobRow, Ledger, State, history, queries, settlement, transitions
from callsheet.provider.platform_messages import HistoryItem
from callsheet.reconciliation.account import AccountSession, attempt_of, claimed, sent_ms, submission_of
from callsheet.reconciliation.evidence import contradiction
from callsheet.reconciliation.findings import Finding, finding

MAX_REASON = 500


def assume_spent(ledger: Ledger, name: str, *, reason: str) -> Finding:
    """Count the hold of an unknown submission as spent; the job fails, and `retry` may buy it again."""
    row = unknown_job(ledger, name)
    why = signed("assumed spent", reason)
    with _owned(ledger, row):
        ledger.do(settlement.write_off, row.job_id, why=why, attempt=row.attempt)
    return finding("lost", row, why)


def resubmit(ledger: Ledger, name: str, *, reason: str) -> Finding:
    """Take it on oneself that an unknown submission never arrived: its money is free, the job pending."""
    row = unknown_job(ledger, name)
    why = signed("resubmitted", reason)
    with _owned(ledger, row):
        ledger.do(settlement.declare_absent, row.job_id, why=why, attempt=row.attempt)
    return finding("absent", row, why)


@contextmanager
def _owned(ledger: Ledger, row: JobRow) -> Iterator[None]:
    """Own the job's run while inside. Raises UsageError where another process works on it."""
    with claimed(ledger, [row.run_id]) as mine:
        if row.run_id not in mine:
            raise UsageError(f"run {row.run_id} is being worked on by another process; stop it first")
        yield


def unknown_job(ledger: Ledger, name: str) -> JobRow:
    """Return the unknown job of that number or custom_id. Raises UsageError where it is not exactly one."""
    rows = ledger.do(queries.open_jobs, states={State.UNKNOWN})
    named = [row for row in rows if str(row.job_id) == name] or [row for row in rows if row.custom_id == name]
    if len(named) == 1:
        return named[0]
    if named:
        which = ", ".join(f"{row.job_id} (run {row.run_id})" for row in named)
        raise UsageError(f"{len(named)} unknown submissions are called {name!r}; say one by number: {which}")
    which = ", ".join(f"{row.job_id} ({row.custom_id})" for row in rows) or "none"
    raise UsageError(f"there is no unknown submission {name!r}; unknown are: {which}")


def signed(decision: str, reason: str) -> str:
    """Return a decision with who made it and why. Raises UsageError for a reason that says nothing."""
    words = " ".join(reason.split())
    if not words:
        raise UsageError("a decision about money needs its reason: --reason 'seen in the dashboard of fal'")
    if len(words) > MAX_REASON or not words.isprintable():
        raise UsageError(f"the reason must be printable and at most {MAX_REASON} characters long")
    return f"{decision} by {_person()}: {words}"


def _person() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container without a user name
        return "a person"


LOOK_BACK_MS = 3_600_000
"""How long before the POST a request is looked for: one that is too old is then named as such."""


async def adopt(account: AccountSession, name: str, request_id: str, *, reason: str) -> Finding:
    """Give an unknown job the request that a person says it bought; from here on it is followed.

    The request must exist at fal, at the job's endpoint, and belong to no other job; nothing that fal shows
    of it may contradict what was sent. Raises UsageError where that is not so, Unavailable or AccountError
    where fal cannot be asked.
    """
    row = await account.do.call(unknown_job, name)
    why = signed(f"request {request_id} adopted", reason)
    ticket = account.queue.ticket(row.endpoint, request_id)
    await _require_free(account, row, request_id)
    await _require_at_fal(account, row, request_id)
    with _owned(account.ledger, row):
        await account.do(transitions.find, row.job_id, ticket, why=why, attempt=row.attempt)
    return finding("found", row, why, request_ids=(request_id,), was_found=True)


async def _require_free(account: AccountSession, row: JobRow, request_id: str) -> None:
    known = await account.do(history.known_requests, [request_id])
    if request_id in known:
        owner = await account.do(queries.job, known[request_id])
        raise UsageError(
            f"request {request_id} belongs to job {owner.job_id} ({owner.custom_id}, run {owner.run_id})"
            f" already, not to job {row.job_id}"
        )


async def _require_at_fal(account: AccountSession, row: JobRow, request_id: str) -> None:
    """Ask the history; where it does not show the request, or is closed, ask the queue.

    The queue knows an app and no endpoint of it, so there the person's word stands for the endpoint.
    """
    item = await _in_history(account, row, request_id)
    if item is not None:
        if no := contradiction(await attempt_of(account, row), item):
            raise UsageError(f"request {request_id} is not job {row.job_id} ({row.custom_id}): {no}")
        return
    try:
        await account.queue.status(account.queue.ticket(row.endpoint, request_id))
    except Unavailable as error:
        if not error.gone:
            raise
        raise UsageError(
            f"neither fal's request history nor its queue has a request {request_id}; nothing was changed"
        ) from error


async def _in_history(account: AccountSession, row: JobRow, request_id: str) -> HistoryItem | None:
    start_ms = sent_ms(submission_of(row)) - LOOK_BACK_MS
    try:
        # Of every endpoint: a request that was sent to another one is to be named, not missed.
        found = await account.platform.history(
            sorted(account.catalog.endpoints), start_ms=start_ms, request_id=request_id
        )
    except (QueueError, AccountError):
        return None
    return next((item for item in found.items if item.request_id == request_id), None)
