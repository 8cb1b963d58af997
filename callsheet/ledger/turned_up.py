"""Jobs that failed without their file although fal took them: what turns up after all is taken up again."""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import Connection, select

from callsheet.errors import IllegalTransition
from callsheet.ledger import schema
from callsheet.ledger.admission import NO_ERROR
from callsheet.ledger.records import Booking, Settlement
from callsheet.ledger.settlement import correct
from callsheet.ledger.states import Event, State, next_state
from callsheet.ledger.steps import current, step


def take_up(connection: Connection, job_id: int, at_ms: int, *, why: str, attempt: int | None) -> None:
    """Follow a failed job's last request again. See `Ledger.take_up`."""
    now = current(connection, job_id, attempt=attempt)
    next_state(now.state, Event.TAKE_UP, booked=now.booked)
    table, output = schema.submission, schema.output
    mine = table.c.submission_id == now.submission_id
    request_id = connection.execute(select(table.c.request_id).where(mine)).scalar_one()
    kept = select(output.c.output_id).where(output.c.submission_id == now.submission_id)
    if request_id is None or connection.execute(kept).first() is not None:
        raise IllegalTransition(f"job {job_id} has no request at fal whose file is still to come")
    told = {"error_type": NO_ERROR["error_type"], "error": NO_ERROR["error"]}
    step(connection, now, Event.TAKE_UP, at_ms, why=why, job=told, submission={"closed_ms": None})
    connection.execute(table.update().where(mine, table.c.rendered_ms.is_(None)).values(rendered_ms=at_ms))


def settle_found(
    connection: Connection, job_id: int, at_ms: int, settlement: Settlement, *, attempt: int | None
) -> Booking:
    """Book the real cost of a result that was written off and turned up. See `Ledger.settle_found`."""
    now = current(connection, job_id, attempt=attempt)
    if now.state is not State.RENDERED or not now.booked:
        raise IllegalTransition(f"job {job_id} is {now.state} and was not written off; nothing was changed")
    table = schema.submission
    mine = table.c.submission_id == now.submission_id
    request_id = connection.execute(select(table.c.request_id).where(mine)).scalar_one()
    cost_nano, basis = settlement.cost_nano, settlement.cost_basis
    booking = correct(connection, request_id, at_ms, cost_nano=cost_nano, cost_basis=basis)
    kept = {
        "result_json": settlement.result_json,
        "billable_units": settlement.billable_units,
        "seed_used": settlement.seed_used,
    }
    connection.execute(table.update().where(mine).values(kept))
    return booking


def lost_jobs(connection: Connection, error_types: Collection[str], *, since_ms: int) -> list[int]:
    """Return the failed jobs with one of these errors that fal took at `since_ms` or later, oldest first."""
    job, table = schema.job, schema.submission
    rows = connection.execute(
        select(job.c.job_id)
        .join_from(job, table, (table.c.job_id == job.c.job_id) & (table.c.number == job.c.submissions))
        .where(
            job.c.state == State.FAILED.value,
            job.c.error_type.in_(list(error_types)),
            table.c.request_id.is_not(None),
            table.c.submitted_ms >= since_ms,
        )
        .order_by(job.c.job_id)
    )
    return list(rows.scalars())


def note_waiting(connection: Connection, job_id: int, why: str, *, attempt: int | None) -> None:
    """Write down what a rendered job waits for. The job stays as it is."""
    now = current(connection, job_id, attempt=attempt)
    if now.state is not State.RENDERED:
        raise IllegalTransition(f"job {job_id} is {now.state}; only what is rendered waits for its file")
    job = schema.job
    connection.execute(job.update().where(job.c.job_id == job_id).values(error=why))
