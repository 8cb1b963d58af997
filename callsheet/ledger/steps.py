"""One step of one job: check the transition, change the row if it is unchanged, and record the event."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from sqlalchemy import Table, Update, bindparam, func, select

from callsheet.errors import IllegalTransition, LedgerError, UsageError
from callsheet.ledger import schema
from callsheet.ledger.states import Event, State, next_state
from callsheet.ledger.transaction import Transaction

NOTHING: Mapping[str, Any] = {}

_current = (
    select(
        schema.job.c.job_id,
        schema.job.c.run_id,
        schema.job.c.custom_id,
        schema.job.c.state,
        schema.job.c.submissions.label("number"),
        func.coalesce(schema.submission.c.submission_id, 0).label("submission_id"),
        func.coalesce(schema.submission.c.hold_nano, 0).label("hold_nano"),
        schema.submission.c.cost_nano,
        schema.submission.c.cost_basis,
        schema.submission.c.booked_ms,
        schema.submission.c.started_ms,
        schema.submission.c.request_id,
    )
    .outerjoin_from(schema.job, schema.submission, schema.IS_LAST)
    .where(schema.job.c.job_id == bindparam("wanted"))
)

_write_event = schema.event.insert()


@dataclass(frozen=True, slots=True, kw_only=True)
class Current:
    """A job as a step finds it. Without a submission so far, `number` is 0 and `submission_id` 0."""

    job_id: int
    run_id: str
    custom_id: str
    state: State
    number: int
    submission_id: int
    hold_nano: int
    cost_nano: int | None
    cost_basis: Any
    booked_ms: int | None
    started_ms: int | None
    request_id: str | None

    @property
    def booked(self) -> bool:
        """Whether the cost of the submission is booked."""
        return self.booked_ms is not None

    def log(self, logger: logging.Logger, said: str, *values: object, **named: str) -> None:
        """Log what becomes of it. Fields of the line are its run, job and request, and what is `named`."""
        text = f"run %s job %d attempt %d: {said}"
        extra = {"run": self.run_id, "job": self.custom_id, "request_id": self.request_id, **named}
        logger.info(text, self.run_id, self.job_id, self.number, *values, extra=extra, stacklevel=2)


def no_such_job(job_id: int) -> UsageError:
    """Return the error for a job that the ledger does not have."""
    return UsageError(f"the ledger has no job {job_id}")


def current(tx: Transaction, job_id: int, *, attempt: int | None = None) -> Current:
    """Read a job and its last submission.

    `attempt` fences off a late owner: if it is given and is not the number of the last submission, another
    process has taken the job over, and IllegalTransition is raised. Raises UsageError for an unknown
    job.
    """
    row: Any = tx.execute(_current, {"wanted": job_id}).one_or_none()
    if row is None:
        raise no_such_job(job_id)
    if attempt is not None and attempt != row.number:
        raise IllegalTransition(
            f"submission {attempt} of job {job_id} is over: another process works on number {row.number}"
        )
    return Current(**{**row._mapping, "state": State(row.state)})


def step(
    tx: Transaction,
    now: Current,
    event: Event,
    *,
    why: str = "",
    job: Mapping[str, Any] = NOTHING,
    more: Mapping[str, int] = NOTHING,
    submission: Mapping[str, Any] = NOTHING,
) -> State:
    """Move a job along its arrow, changing the given columns of the job and its submission as well.

    `more` is added to the job's own numbers. Raises IllegalTransition, and the transaction then changes
    nothing, when there is no such arrow.
    """
    target = next_state(now.state, event, booked=now.booked)
    here = {"job_id": now.job_id, "state": now.state.value}
    if change(tx, schema.job, here, to={"state": target.value, **job}, more=more) != 1:
        raise LedgerError(f"job {now.job_id} was {now.state} a moment ago and is not any more")
    if submission:
        change(tx, schema.submission, {"submission_id": now.submission_id}, to=submission)
    tx.execute(_write_event, _event(now.job_id, now.number, event, now.state, target, tx.at_ms, why))
    return target


def step_many(
    tx: Transaction,
    job_ids: Collection[int],
    event: Event,
    *,
    why: str = "",
    job: Mapping[str, Any] | None = None,
    output_ids: Mapping[int, int] | None = None,
) -> None:
    """Move many jobs along the same arrow, all or none. None of them may have an open submission.

    `output_ids` gives jobs the file of another one.
    """
    table = schema.job
    query = select(table.c.job_id, table.c.state, table.c.submissions)
    rows = tx.rows_with(query, table.c.job_id, job_ids)
    found = {job_id: (State(state), number) for job_id, state, number in rows}
    if missing := set(job_ids) - set(found):
        raise no_such_job(min(missing))
    if not found:
        return
    events = [
        _event(job_id, number, event, state, next_state(state, event), tx.at_ms, why)
        for job_id, (state, number) in found.items()
    ]
    changes = [{"is_job_id": each["job_id"], "to_state": each["to_state"]} for each in events]
    values: dict[str, Any] = {"state": bindparam("to_state"), **(job or {})}
    if output_ids:
        values["output_id"] = bindparam("to_output_id")
        changes = [{**each, "to_output_id": output_ids[each["is_job_id"]]} for each in changes]
    tx.execute(table.update().where(table.c.job_id == bindparam("is_job_id")).values(values), changes)
    tx.execute(_write_event, events)


def _event(
    job_id: int, number: int, event: Event, before: State, after: State, at_ms: int, why: str
) -> dict[str, Any]:
    return {
        "at_ms": at_ms,
        "job_id": job_id,
        "number": number,
        "event": event.value,
        "from_state": before.value,
        "to_state": after.value,
        "why": why,
    }


def change(
    tx: Transaction,
    table: Table,
    where: Mapping[str, Any],
    *,
    to: Mapping[str, Any] = NOTHING,
    more: Mapping[str, int] = NOTHING,
) -> int:
    """Set the columns `to` these values and add `more` to these, in the rows where all of `where` holds.

    Returns how many rows that were.
    """
    statement = _statement(table, tuple(where), tuple(to), tuple(more))
    values = {f"is_{name}": value for name, value in where.items()}
    values |= {f"to_{name}": value for name, value in to.items()}
    values |= {f"more_{name}": value for name, value in more.items()}
    return tx.execute(statement, values).rowcount


@cache  # building an UPDATE costs more than executing it
def _statement(table: Table, where: tuple[str, ...], to: tuple[str, ...], more: tuple[str, ...]) -> Update:
    column = table.c
    values: dict[str, Any] = {name: bindparam(f"to_{name}") for name in to}
    values |= {name: column[name] + bindparam(f"more_{name}") for name in more}
    return table.update().where(*(column[name] == bindparam(f"is_{name}") for name in where)).values(values)
