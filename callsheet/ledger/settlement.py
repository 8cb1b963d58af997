"""The verbs that end a hold: given back, or turned into a cost. A submission is booked once."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from sqlalchemy import select

from callsheet.errors import LedgerError, UsageError
from callsheet.ledger import schema
from callsheet.ledger.accounts import Booking, Settlement
from callsheet.ledger.booking import book_accounts, write_entry
from callsheet.ledger.states import HAS_OPEN_SUBMISSION, Charged, CostBasis, Event, next_state
from callsheet.ledger.steps import NOTHING, Current, current, step
from callsheet.ledger.transaction import Transaction, write
from pricing.money import usd_text

logger = logging.getLogger(__name__)


@write(short=True)
def release(tx: Transaction, job_id: int, *, why: str = "", attempt: int | None = None) -> None:
    """Give hold and slot back before anything was sent: `held` -> `pending`."""
    now = current(tx, job_id, attempt=attempt)
    _end(tx, now, Event.RELEASE, cost_nano=0, basis="none", why=why)


@write()
def declare_absent(tx: Transaction, job_id: int, *, why: str, attempt: int | None = None) -> None:
    """Release an unknown request that provably never arrived and cannot any more: back to `pending`.

    Its submission keeps `unseen_ms`, so that a request which turns up later can be named.
    """
    now = current(tx, job_id, attempt=attempt)
    _end(tx, now, Event.DECLARE_ABSENT, cost_nano=0, basis="none", why=why)
    _note_unseen(tx, now)


def _note_unseen(tx: Transaction, now: Current) -> None:
    """Let a submission have `unseen_ms`, now where it has none, if fal named no request for it."""
    if now.request_id is None:
        table = schema.submission
        never_seen = (table.c.submission_id == now.submission_id) & table.c.unseen_ms.is_(None)
        tx.execute(table.update().where(never_seen).values(unseen_ms=tx.at_ms))


@write(short=True)
def refuse(
    tx: Transaction,
    job_id: int,
    *,
    charged: Charged,
    error_type: str = "",
    error: str = "",
    attempt: int | None = None,
) -> Booking:
    """Record that fal refused the request. Released when `charged` is "no", else the hold is booked."""
    now = current(tx, job_id, attempt=attempt)
    return _fail(tx, now, Event.REFUSE, charged, error_type, error)


@write()
def fail_inputs(
    tx: Transaction,
    job_id: int,
    *,
    error_type: str = "",
    error: str = "",
    charged: Charged = "no",
    attempt: int | None = None,
) -> None:
    """Record that the job cannot be sent, as where its image is missing; nothing was sent.

    `charged` is "unknown" where fal may have billed an earlier attempt whose hold was released: this one is
    booked for it.
    """
    now = current(tx, job_id, attempt=attempt)
    _fail(tx, now, Event.FAIL_INPUTS, charged, error_type, error)


@write()
def write_off(
    tx: Transaction, job_id: int, *, why: str, error_type: str = "written_off", attempt: int | None = None
) -> Booking:
    """Stop looking for an unknown request and book its hold as spent. `why` says who decided, or on what.

    Its submission keeps `unseen_ms`, so that a request which turns up later can be named.
    """
    now = current(tx, job_id, attempt=attempt)
    booking = _fail(tx, now, Event.WRITE_OFF, "unknown", error_type, why)
    _note_unseen(tx, now)
    return booking


@write()
def fail_render(
    tx: Transaction,
    job_id: int,
    *,
    charged: Charged,
    error_type: str = "",
    error: str = "",
    cost_nano: int | None = None,
    cost_basis: CostBasis | None = None,
    billable_units: str | None = None,
    attempt: int | None = None,
) -> Booking:
    """Record that fal took the job and brought no video.

    "no" releases the hold, "yes" books `cost_nano`, "unknown" (or no `cost_nano`) books the hold.
    """
    known = None if cost_nano is None else (cost_nano, cost_basis or "expected")
    now = current(tx, job_id, attempt=attempt)
    kept = {"billable_units": billable_units}
    return _fail(tx, now, Event.FAIL_RENDER, charged, error_type, error, known=known, kept=kept)


def _fail(
    tx: Transaction,
    now: Current,
    event: Event,
    charged: Charged,
    error_type: str,
    error: str,
    *,
    known: tuple[int, CostBasis] | None = None,
    kept: Mapping[str, Any] = NOTHING,
) -> Booking:
    """End a submission that brought no video, at the `known` cost where fal charged that."""
    cost_nano, basis = _cost(charged, now.hold_nano, known)
    job = {"error_type": error_type, "error": error, "charged": charged}
    why = error or error_type
    return _end(tx, now, event, cost_nano=cost_nano, basis=basis, why=why, job=job, submission=kept)


def _cost(
    charged: Charged, hold_nano: int, known: tuple[int, CostBasis] | None = None
) -> tuple[int, CostBasis]:
    """Return nothing where fal charged nothing, the cost where it is known, and else the whole hold.

    What may have been spent counts as spent.
    """
    if charged == "no":
        return 0, "none"
    return known if known is not None and charged == "yes" else (hold_nano, "hold")


@write()
def cancel(
    tx: Transaction, job_id: int, *, charged: Charged = "no", why: str = "", attempt: int | None = None
) -> Booking:
    """End a job that is not to be made: before it was sent, or after fal confirmed that it was cancelled.

    What it holds, if anything, is released (`charged` "no") or booked.
    """
    now = current(tx, job_id, attempt=attempt)
    columns = {"error_type": "cancelled", "error": why, "charged": charged}
    if now.state not in HAS_OPEN_SUBMISSION:
        step(tx, now, Event.CANCEL, why=why, job={**columns, "charged": "no"})
        return Booking(cost_nano=0, cost_basis="none")
    cost_nano, basis = _cost(charged, now.hold_nano)
    return _end(tx, now, Event.CANCEL, cost_nano=cost_nano, basis=basis, why=why, job=columns)


@write(short=True)
def settle(tx: Transaction, job_id: int, settlement: Settlement, *, attempt: int | None = None) -> Booking:
    """Turn the hold into the real cost and keep the result. Calling it again changes nothing.

    A cost above the hold is booked in full, freezes the accounts, and is returned as `overrun_nano`.
    """
    now = current(tx, job_id, attempt=attempt)
    next_state(now.state, Event.SETTLE)
    if now.booked:
        return Booking(cost_nano=now.cost_nano or 0, cost_basis=now.cost_basis, replayed=True)
    cost_nano = settlement.cost_nano
    booking, booked = _book(tx, now, cost_nano, settlement.cost_basis)
    job = {"charged": "yes" if cost_nano else "no"}
    columns = {**booked, **settlement.kept}
    step(tx, now, Event.SETTLE, job=job, more={"spent_nano": cost_nano}, submission=columns)
    return booking


@write()
def correct(tx: Transaction, request_id: str, *, cost_nano: int, cost_basis: CostBasis) -> Booking:
    """Book the difference between what was booked for a request and what it cost in the end.

    Entries are never changed: a correction is one more of them. Where fal's own billing event is booked,
    nothing else replaces it. Raises UsageError for an unknown request and LedgerError for one that is not
    booked yet.
    """
    table = schema.submission
    row = tx.execute(select(table).where(table.c.request_id == request_id)).one_or_none()
    if row is None:
        raise UsageError(f"the ledger has no request {request_id}")
    if row.booked_ms is None:
        raise LedgerError(f"request {request_id} is not settled yet, so there is nothing to correct")
    _not_negative(cost_nano)
    if row.cost_basis == "billing_event" and cost_basis != "billing_event":
        return Booking(cost_nano=row.cost_nano, cost_basis=row.cost_basis, replayed=True)
    change_nano = cost_nano - row.cost_nano
    if change_nano == 0 and cost_basis == row.cost_basis:
        return Booking(cost_nano=cost_nano, cost_basis=cost_basis, replayed=True)
    allowed_nano = max(row.hold_nano, row.cost_nano)
    overrun_nano = max(0, cost_nano - allowed_nano)
    bought = row.cost_basis == "none" != cost_basis
    book_accounts(tx, row.submission_id, 0, change_nano, overrun=overrun_nano > 0, bought=bought)
    if change_nano:
        write_entry(tx, row.submission_id, "settle", change_nano)
    values = {"cost_nano": cost_nano, "cost_basis": cost_basis}
    tx.execute(table.update().where(table.c.submission_id == row.submission_id).values(values))
    job = schema.job
    mine = job.c.job_id == row.job_id
    tx.execute(job.update().where(mine).values(spent_nano=job.c.spent_nano + change_nano))
    latest = job.c.submissions == row.number
    charged = "yes" if cost_nano else "no"
    tx.execute(job.update().where(mine, latest).values(charged=charged))
    return Booking(cost_nano=cost_nano, cost_basis=cost_basis, overrun_nano=overrun_nano)


def _end(
    tx: Transaction,
    now: Current,
    event: Event,
    *,
    cost_nano: int,
    basis: CostBasis,
    why: str = "",
    job: Mapping[str, Any] = NOTHING,
    submission: Mapping[str, Any] = NOTHING,
) -> Booking:
    """Book a submission and close it, moving its job along `event`."""
    next_state(now.state, event, booked=now.booked)
    booking, booked = _book(tx, now, cost_nano, basis)
    columns = {**booked, **submission, "closed_ms": tx.at_ms}
    spent = {"spent_nano": cost_nano}
    step(tx, now, event, why=why, job=job, more=spent, submission=columns)
    return booking


def _book(tx: Transaction, now: Current, cost_nano: int, basis: CostBasis) -> tuple[Booking, dict[str, Any]]:
    """Book on the accounts and in the entries; return the submission's columns for its own row."""
    _not_negative(cost_nano)
    overrun_nano = max(0, cost_nano - now.hold_nano)
    overrun, bought = overrun_nano > 0, basis != "none"
    book_accounts(tx, now.submission_id, now.hold_nano, cost_nano, overrun=overrun, bought=bought)
    write_entry(tx, now.submission_id, "release", -now.hold_nano)
    if bought:
        write_entry(tx, now.submission_id, "settle", cost_nano)
    usd = usd_text(cost_nano)
    said = "booked at %s USD (%s), %s USD no longer held"
    now.log(logger, said, usd, basis, usd_text(now.hold_nano), usd=usd)
    columns = {"booked_ms": tx.at_ms, "cost_nano": cost_nano, "cost_basis": basis}
    return Booking(cost_nano=cost_nano, cost_basis=basis, overrun_nano=overrun_nano), columns


def _not_negative(cost_nano: int) -> None:
    if cost_nano < 0:
        raise LedgerError(f"a cost is at least 0, not {cost_nano}; nothing was booked")
