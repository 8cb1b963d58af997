"""The verbs that move a job along, except admission and those that book a cost."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from sqlalchemy import Connection, bindparam, func, select

from callsheet.errors import IllegalTransition, LedgerError, RunStopping, UsageError
from callsheet.ledger import schema
from callsheet.ledger.records import Output, Recovered, Ticket
from callsheet.ledger.settlement import give_back
from callsheet.ledger.states import Event, State, next_state
from callsheet.ledger.steps import chunks, current, step, step_many

_stopping = select(func.coalesce(schema.run.c.stopping_ms, schema.run.c.closed_ms)).where(
    schema.run.c.run_id == bindparam("wanted")
)
_owner = select(schema.submission.c.job_id).where(schema.submission.c.request_id == bindparam("wanted"))


def send(
    connection: Connection,
    job_id: int,
    at_ms: int,
    *,
    seed: int | None,
    arguments_sha256: str,
    start_timeout_s: int | None,
    attempt: int | None,
) -> None:
    """Write down that the POST is about to leave: from here on it may have arrived.

    Raises RunStopping where the run was asked to stop, or was closed, since the job was admitted.
    """
    now = current(connection, job_id, attempt=attempt)
    next_state(now.state, Event.SEND)
    stopping = connection.execute(_stopping, {"wanted": now.run_id}).scalar_one()
    if stopping is not None:
        raise RunStopping(f"run {now.run_id} is stopping; nothing more is sent until it is resumed")
    columns = {
        "sent_ms": at_ms,
        "seed": seed,
        "arguments_sha256": arguments_sha256,
        "start_timeout_s": start_timeout_s,
    }
    step(connection, now, Event.SEND, at_ms, more={"attempts": 1}, submission=columns)


def not_sent(connection: Connection, job_id: int, at_ms: int, *, why: str, attempt: int | None) -> None:
    """Write down that the POST provably did nothing: it is no attempt."""
    now = current(connection, job_id, attempt=attempt)
    step(connection, now, Event.NOT_SENT, at_ms, why=why, more={"attempts": -1}, submission={"sent_ms": None})


def take_ticket(
    connection: Connection,
    job_id: int,
    event: Event,
    ticket: Ticket,
    at_ms: int,
    *,
    why: str = "",
    attempt: int | None = None,
) -> None:
    """Store fal's request id (`accept` or `find`). Raises LedgerError when another submission has it."""
    now = current(connection, job_id, attempt=attempt)
    if event is Event.ACCEPT and attempt is not None and now.state is State.UNKNOWN:
        event, why = Event.FIND, "the reply came after its process was taken for dead"
    other = connection.execute(_owner, {"wanted": ticket.request_id}).scalar_one_or_none()
    columns = {
        "request_id": ticket.request_id,
        "status_url": ticket.status_url,
        "response_url": ticket.response_url,
        "cancel_url": ticket.cancel_url,
        "submitted_ms": at_ms,
    }
    if other is not None:
        raise LedgerError(f"request {ticket.request_id} belongs to job {other} already, not to job {job_id}")
    step(connection, now, event, at_ms, why=why, more={"purchases": 1}, submission=columns)


def lose(
    connection: Connection,
    job_id: int,
    at_ms: int,
    *,
    why: str,
    lead_request_id: str | None,
    attempt: int | None,
) -> None:
    """Write down that nobody knows whether the POST arrived. Hold and slot stay."""
    now = current(connection, job_id, attempt=attempt)
    step(connection, now, Event.LOSE, at_ms, why=why, submission={"lead_request_id": lead_request_id})


def note_unseen(connection: Connection, job_id: int, at_ms: int | None, *, attempt: int | None) -> None:
    """Write down when fal's records first did not show a request, or its result. The job stays as it is."""
    now = current(connection, job_id, attempt=attempt)
    if now.state not in (State.UNKNOWN, State.IN_QUEUE, State.IN_PROGRESS, State.RENDERED):
        raise IllegalTransition(f"job {job_id} is {now.state}; only what is open can be unseen")
    table = schema.submission
    connection.execute(
        table.update().where(table.c.submission_id == now.submission_id).values(unseen_ms=at_ms)
    )


def start(connection: Connection, job_id: int, at_ms: int, *, attempt: int | None) -> None:
    """Write down that fal began to render."""
    now = current(connection, job_id, attempt=attempt)
    step(connection, now, Event.START, at_ms, submission={"started_ms": at_ms})


def render(
    connection: Connection, job_id: int, at_ms: int, *, started_ms: int | None, attempt: int | None
) -> None:
    """Write down that the render ended at fal: the slot is free from here on."""
    now = current(connection, job_id, attempt=attempt)
    columns = {"rendered_ms": at_ms}
    if started_ms is not None and now.started_ms is None:
        columns["started_ms"] = started_ms
    step(connection, now, Event.RENDER, at_ms, submission=columns)


def collect(connection: Connection, job_id: int, at_ms: int, output: Output, *, attempt: int | None) -> None:
    """Write down that the verified file stands under its final name."""
    now = current(connection, job_id, attempt=attempt)
    next_state(now.state, Event.COLLECT, booked=now.booked)
    made = {"output_id": _store_output(connection, now.run_id, now.submission_id, output), "error": ""}
    step(connection, now, Event.COLLECT, at_ms, job=made, submission={"closed_ms": at_ms})


def fail_media(
    connection: Connection,
    job_id: int,
    at_ms: int,
    *,
    error_type: str,
    error: str,
    output: Output | None,
    attempt: int | None,
) -> None:
    """Write down that the file is not the video that was asked for; `output` is the file that was kept."""
    now = current(connection, job_id, attempt=attempt)
    next_state(now.state, Event.FAIL_MEDIA, booked=now.booked)
    columns: dict[str, Any] = {"error_type": error_type, "error": error}
    if output is not None:
        columns["output_id"] = _store_output(connection, now.run_id, now.submission_id, output)
    step(connection, now, Event.FAIL_MEDIA, at_ms, why=error, job=columns, submission={"closed_ms": at_ms})


def skip(connection: Connection, job_ids: Collection[int], at_ms: int, *, why: str) -> None:
    """Leave pending jobs out because the budget does not reach."""
    told = {"error_type": "budget", "error": why, "charged": "no"}
    step_many(connection, job_ids, Event.SKIP, at_ms, why=why, job=told)


def reuse(connection: Connection, made_by: Mapping[int, int], at_ms: int) -> None:
    """Give jobs the file of a job that succeeded before: {job: the job that made it}."""
    table = schema.job
    outputs: dict[int, int] = {}
    for piece in chunks(set(made_by.values())):
        rows = connection.execute(
            select(table.c.job_id, table.c.output_id).where(
                table.c.job_id.in_(piece), table.c.state == State.SUCCEEDED.value
            )
        )
        outputs.update((job_id, output_id) for job_id, output_id in rows)
    if missing := set(made_by.values()) - set(outputs):
        raise UsageError(f"job {min(missing)} has no finished video to use again")
    step_many(
        connection, made_by, Event.REUSE, at_ms, output_ids={job: outputs[made_by[job]] for job in made_by}
    )


def recover(connection: Connection, run_id: str, at_ms: int, *, job_ids: Collection[int] | None) -> Recovered:
    """Put right what a dead owner left: a POST under way is unknown, a hold not yet used is given back."""
    left = _left_behind(connection, run_id, job_ids)
    for job_id in left[State.SUBMITTING]:
        lose(
            connection,
            job_id,
            at_ms,
            why="its process ended while the request was under way",
            lead_request_id=None,
            attempt=None,
        )
    for job_id in left[State.HELD]:
        give_back(connection, job_id, Event.RELEASE, at_ms, why="its process ended before the request left")
    return Recovered(unknown=len(left[State.SUBMITTING]), released=len(left[State.HELD]))


def _left_behind(
    connection: Connection, run_id: str, job_ids: Collection[int] | None
) -> dict[State, list[int]]:
    table = schema.job
    left: dict[State, list[int]] = {State.SUBMITTING: [], State.HELD: []}
    rows = connection.execute(
        select(table.c.job_id, table.c.state).where(
            table.c.run_id == run_id, table.c.state.in_([state.value for state in left])
        )
    )
    ours = None if job_ids is None else set(job_ids)
    for job_id, state in rows:
        if ours is None or job_id in ours:
            left[State(state)].append(job_id)
    return left


def _store_output(connection: Connection, run_id: str, submission_id: int, output: Output) -> int:
    written = connection.execute(
        schema.output.insert().values(
            submission_id=submission_id,
            run_id=run_id,
            path=output.path,
            url=output.url,
            sha256=output.sha256,
            bytes=output.bytes,
            width_px=output.width_px,
            height_px=output.height_px,
            fps=output.fps,
            duration_s=output.duration_s,
            has_audio=int(output.has_audio),
        )
    )
    key = written.inserted_primary_key
    assert key is not None
    return int(key[0])
