"""The verbs that end a hold: given back, or turned into a cost. A submission is booked once."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, select

from callsheet.errors import LedgerError, UsageError
from callsheet.ledger import schema
from callsheet.ledger.booking import book_accounts, write_entry
from callsheet.ledger.records import Booking, Settlement
from callsheet.ledger.states import HAS_OPEN_SUBMISSION, Charged, CostBasis, Event, next_state
from callsheet.ledger.steps import Current, current, step


def give_back(
    connection: Connection,
    job_id: int,
    event: Event,
    at_ms: int,
    *,
    why: str = "",
    job: dict[str, Any] | None = None,
    attempt: int | None = None,
) -> None:
    """End a submission that cost nothing: its whole hold is released."""
    now = current(connection, job_id, attempt=attempt)
    _end(connection, now, event, at_ms, cost_nano=0, basis="none", why=why, job=job)


def fail(
    connection: Connection,
    job_id: int,
    event: Event,
    at_ms: int,
    *,
    charged: Charged,
    error_type: str,
    error: str,
    cost_nano: int | None = None,
    cost_basis: CostBasis | None = None,
    submission: dict[str, Any] | None = None,
    attempt: int | None = None,
) -> Booking:
    """End a submission that brought no video.

    Booked is nothing when fal charged nothing, `cost_nano` when it is known, and else the whole hold: what
    may have been spent counts as spent.
    """
    now = current(connection, job_id, attempt=attempt)
    basis: CostBasis
    if charged == "no":
        cost_nano, basis = 0, "none"
    elif charged == "yes" and cost_nano is not None:
        basis = cost_basis or "expected"
    else:
        cost_nano, basis = now.hold_nano, "hold"
    job = {"error_type": error_type, "error": error, "charged": charged}
    return _end(
        connection,
        now,
        event,
        at_ms,
        cost_nano=cost_nano,
        basis=basis,
        why=error or error_type,
        job=job,
        submission=submission,
    )


def cancel(
    connection: Connection, job_id: int, at_ms: int, *, charged: Charged, why: str, attempt: int | None
) -> Booking:
    """End a job that shall not be made; what it holds, if anything, is released or booked."""
    now = current(connection, job_id, attempt=attempt)
    columns = {"error_type": "cancelled", "error": why, "charged": charged}
    if now.state not in HAS_OPEN_SUBMISSION:
        step(connection, now, Event.CANCEL, at_ms, why=why, job={**columns, "charged": "no"})
        return Booking(cost_nano=0, cost_basis="none")
    cost_nano, basis = _cancelled_cost(now, charged)
    return _end(connection, now, Event.CANCEL, at_ms, cost_nano=cost_nano, basis=basis, why=why, job=columns)


def settle(
    connection: Connection, job_id: int, at_ms: int, settlement: Settlement, *, attempt: int | None
) -> Booking:
    """Book what a render cost and keep its result, in one go. A replay changes nothing."""
    now = current(connection, job_id, attempt=attempt)
    next_state(now.state, Event.SETTLE)
    if now.booked:
        return Booking(cost_nano=now.cost_nano or 0, cost_basis=now.cost_basis, replayed=True)
    columns = {
        "result_json": settlement.result_json,
        "billable_units": settlement.billable_units,
        "seed_used": settlement.seed_used,
    }
    booking, booked = _book(connection, now, at_ms, settlement.cost_nano, settlement.cost_basis)
    step(
        connection,
        now,
        Event.SETTLE,
        at_ms,
        job={"charged": "yes" if settlement.cost_nano else "no"},
        more={"spent_nano": settlement.cost_nano},
        submission={**booked, **columns},
    )
    return booking


def correct(
    connection: Connection, request_id: str, at_ms: int, *, cost_nano: int, cost_basis: CostBasis
) -> Booking:
    """Book the difference between what was booked for a request and what it cost in the end.

    Entries are never changed: a correction is one more of them. Where fal's own billing event is booked,
    nothing else replaces it. Raises UsageError for an unknown request and LedgerError for one that is not
    booked yet.
    """
    table = schema.submission
    row = connection.execute(select(table).where(table.c.request_id == request_id)).one_or_none()
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
    book_accounts(connection, row.submission_id, hold_nano=0, cost_nano=change_nano, overrun=overrun_nano > 0)
    if change_nano:
        _entry(connection, row.submission_id, at_ms, "settle", change_nano)
    values = {"cost_nano": cost_nano, "cost_basis": cost_basis}
    connection.execute(table.update().where(table.c.submission_id == row.submission_id).values(values))
    job = schema.job
    mine = job.c.job_id == row.job_id
    connection.execute(job.update().where(mine).values(spent_nano=job.c.spent_nano + change_nano))
    latest = job.c.submissions == row.number
    charged = "yes" if cost_nano else "no"
    connection.execute(job.update().where(mine, latest).values(charged=charged))
    return Booking(cost_nano=cost_nano, cost_basis=cost_basis, overrun_nano=overrun_nano)


def _cancelled_cost(now: Current, charged: Charged) -> tuple[int, CostBasis]:
    return (0, "none") if charged == "no" else (now.hold_nano, "hold")


def _end(
    connection: Connection,
    now: Current,
    event: Event,
    at_ms: int,
    *,
    cost_nano: int,
    basis: CostBasis,
    why: str = "",
    job: dict[str, Any] | None = None,
    submission: dict[str, Any] | None = None,
) -> Booking:
    """Book a submission and close it, moving its job along `event`."""
    next_state(now.state, event, booked=now.booked)
    booking, booked = _book(connection, now, at_ms, cost_nano, basis)
    columns = {**booked, **(submission or {}), "closed_ms": at_ms}
    spent = {"spent_nano": cost_nano}
    step(connection, now, event, at_ms, why=why, job=job or {}, more=spent, submission=columns)
    return booking


def _book(
    connection: Connection, now: Current, at_ms: int, cost_nano: int, basis: CostBasis
) -> tuple[Booking, dict[str, Any]]:
    """Book on the accounts and in the entries; return the submission's columns for its own row."""
    _not_negative(cost_nano)
    overrun_nano = max(0, cost_nano - now.hold_nano)
    book_accounts(
        connection,
        now.submission_id,
        hold_nano=now.hold_nano,
        cost_nano=cost_nano,
        overrun=overrun_nano > 0,
    )
    _entry(connection, now.submission_id, at_ms, "release", -now.hold_nano)
    if basis != "none":
        _entry(connection, now.submission_id, at_ms, "settle", cost_nano)
    columns = {"booked_ms": at_ms, "cost_nano": cost_nano, "cost_basis": basis}
    return Booking(cost_nano=cost_nano, cost_basis=basis, overrun_nano=overrun_nano), columns


def _entry(connection: Connection, submission_id: int, at_ms: int, kind: Any, amount_nano: int) -> None:
    write_entry(connection, at_ms=at_ms, submission_id=submission_id, kind=kind, amount_nano=amount_nano)


def _not_negative(cost_nano: int) -> None:
    if cost_nano < 0:
        raise LedgerError(f"a cost is at least 0, not {cost_nano}; nothing was booked")
