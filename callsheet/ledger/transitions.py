"""The verbs that move a job along, except admission and those that book a cost.

`attempt`, wherever a verb takes it, is the number of the submission that the caller means. Where the job is
at another one by now, IllegalTransition is raised and nothing changes. See `callsheet.ledger.states` for what
may follow what.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from dataclasses import asdict

from sqlalchemy import bindparam, func, select, text

from callsheet import failpoints
from callsheet.errors import IllegalTransition, LedgerError, RunStopping, UsageError
from callsheet.ledger import admission, schema
from callsheet.ledger.accounts import account_refs
from callsheet.ledger.records import NewJob, Output
from callsheet.ledger.states import Event, State, next_state
from callsheet.ledger.steps import change, current, step, step_many
from callsheet.ledger.transaction import Transaction, purchase, write
from callsheet.ticket import Ticket
from manifests.look import flags_json
from pricing.money import usd_text

logger = logging.getLogger(__name__)

_stopping = select(func.coalesce(schema.run.c.stopping_ms, schema.run.c.closed_ms)).where(
    schema.run.c.run_id == bindparam("wanted")
)
_owner = select(schema.submission.c.job_id).where(schema.submission.c.request_id == bindparam("wanted"))


@purchase()
def send(
    tx: Transaction,
    job_id: int,
    *,
    arguments_sha256: str,
    seed: int | None = None,
    start_timeout_s: int | None = None,
    account: str = "",
    queue_url: str = "",
    attempt: int | None = None,
) -> None:
    """Record that the POST is about to leave. Send it only once this has returned.

    `start_timeout_s`, above 0, is the wait for a start that goes with it. `account` is a hash of the
    key's id and `queue_url` the queue that gets the request: what another account or queue says about it
    proves nothing. Raises RunStopping where the run
    was asked to stop, or was closed, since the job was admitted.
    """
    now = current(tx, job_id, attempt=attempt)
    next_state(now.state, Event.SEND)
    stopping = tx.execute(_stopping, {"wanted": now.run_id}).scalar_one()
    if stopping is not None:
        raise RunStopping(f"run {now.run_id} is stopping; nothing more is sent until it is resumed")
    columns = {
        "sent_ms": tx.at_ms,
        "seed": seed,
        "arguments_sha256": arguments_sha256,
        "start_timeout_s": start_timeout_s,
        "account": account,
        "queue_url": queue_url,
    }
    step(tx, now, Event.SEND, more={"attempts": 1}, submission=columns)
    now.log(logger, "about to be sent")


@write(short=True)
def not_sent(tx: Transaction, job_id: int, *, why: str = "", attempt: int | None = None) -> None:
    """Record that the POST provably did nothing: back to `held`, and it is no attempt. Hold and slot stay."""
    now = current(tx, job_id, attempt=attempt)
    step(tx, now, Event.NOT_SENT, why=why, more={"attempts": -1}, submission={"sent_ms": None})


@write(fenced=False, short=True, urgent=True)
def accept(tx: Transaction, job_id: int, ticket: Ticket, *, attempt: int | None = None) -> None:
    """Store where fal keeps the request. Raises LedgerError when another job has this request id.

    A reply is true for its attempt, also if another process owns the run by now. So it is not fenced: it is
    also taken from a process that was taken for dead, whose attempt is `unknown` until then.
    """
    _take_ticket(tx, job_id, Event.ACCEPT, ticket, attempt=attempt)
    failpoints.passing("in_record_tx")


@write()
def find(tx: Transaction, job_id: int, ticket: Ticket, *, why: str = "", attempt: int | None = None) -> None:
    """Store the request id of an unknown request that was found in fal's records."""
    _take_ticket(tx, job_id, Event.FIND, ticket, why=why, attempt=attempt)


def _take_ticket(
    tx: Transaction,
    job_id: int,
    event: Event,
    ticket: Ticket,
    *,
    why: str = "",
    attempt: int | None = None,
) -> None:
    now = current(tx, job_id, attempt=attempt)
    if event is Event.ACCEPT and attempt is not None and now.state is State.UNKNOWN:
        event, why = Event.FIND, "the reply came after its process was taken for dead"
    other = tx.execute(_owner, {"wanted": ticket.request_id}).scalar_one_or_none()
    if other is not None:
        raise LedgerError(f"request {ticket.request_id} belongs to job {other} already, not to job {job_id}")
    columns = {**{name: getattr(ticket, name) for name in schema.TICKET}, "submitted_ms": tx.at_ms}
    step(tx, now, event, why=why, more={"purchases": 1}, submission=columns)
    now.log(logger, "%s, request %s", event, ticket.request_id, request_id=ticket.request_id)


@write()
def lose(
    tx: Transaction,
    job_id: int,
    *,
    why: str = "",
    lead_request_id: str | None = None,
    attempt: int | None = None,
) -> None:
    """Record that it is not known whether the POST arrived: `unknown`. Hold and slot stay."""
    now = current(tx, job_id, attempt=attempt)
    step(tx, now, Event.LOSE, why=why, submission={"lead_request_id": lead_request_id})
    now.log(logger, "outcome unknown")


@write()
def misname(tx: Transaction, job_id: int, *, why: str, attempt: int | None = None) -> None:
    """Take back the request id of a job at fal, which is another job's: `unknown`, with its hold and slot."""
    now = current(tx, job_id, attempt=attempt)
    step(
        tx,
        now,
        Event.MISNAME,
        why=why,
        job={"error": ""},
        more={"purchases": -1},
        submission=dict.fromkeys((*schema.TICKET, "submitted_ms", "started_ms", "unseen_ms")),
    )
    now.log(logger, "its request id was wrong: %s", why)


@write()
def note_unseen(tx: Transaction, job_id: int, *, at_ms: int | None, attempt: int | None = None) -> None:
    """Record when fal's complete records first did not show an open request; None takes it back.

    The job stays as it is.
    """
    now = current(tx, job_id, attempt=attempt)
    if now.state not in (State.UNKNOWN, State.IN_QUEUE, State.IN_PROGRESS, State.RENDERED):
        raise IllegalTransition(f"job {job_id} is {now.state}; only what is open can be unseen")
    change(tx, schema.submission, {"submission_id": now.submission_id}, to={"unseen_ms": at_ms})


@write()
def note_waiting(
    tx: Transaction, job_id: int, *, why: str, error_type: str = "", attempt: int | None = None
) -> None:
    """Record what a rendered job waits for, for `status`. Its file or its failure clears it.

    `error_type` is given where what fal delivers is no video: that counts as a failure of its price group.
    """
    now = current(tx, job_id, attempt=attempt)
    if now.state is not State.RENDERED:
        raise IllegalTransition(f"job {job_id} is {now.state}; only what is rendered waits for its file")
    change(tx, schema.job, {"job_id": job_id}, to={"error": why, "error_type": error_type})


@write(short=True)
def start(tx: Transaction, job_id: int, *, attempt: int | None = None) -> None:
    """Record that fal began to render."""
    now = current(tx, job_id, attempt=attempt)
    step(tx, now, Event.START, submission={"started_ms": tx.at_ms})


@write(short=True, urgent=True)
def render(
    tx: Transaction, job_id: int, *, started_ms: int | None = None, attempt: int | None = None
) -> None:
    """Record that the render ended at fal: the slot is free from here on, the hold stays until `settle`.

    `started_ms` is when it started, where that was not seen as it happened.
    """
    now = current(tx, job_id, attempt=attempt)
    columns = {"rendered_ms": tx.at_ms}
    if started_ms is not None and now.started_ms is None:
        columns["started_ms"] = started_ms
    step(tx, now, Event.RENDER, submission=columns)


@write(short=True)
def collect(
    tx: Transaction,
    job_id: int,
    output: Output,
    *,
    attempt: int | None = None,
    retake: NewJob | None = None,
) -> str:
    """Record that the verified file is there under its final name: `succeeded`.

    `retake` is ordered in the same transaction. Returns why it is not ordered, "" otherwise.
    """
    now = current(tx, job_id, attempt=attempt)
    next_state(now.state, Event.COLLECT, booked=now.booked)
    output_id = _store_output(tx, now.run_id, now.submission_id, output)
    made = {"output_id": output_id, "error": "", "error_type": ""}
    left = _order_retake(tx, now.run_id, retake) if retake is not None else ""
    why = "" if retake is None else left or f"retake {retake.custom_id} is ordered"
    step(tx, now, Event.COLLECT, why=why, job=made, submission={"closed_ms": tx.at_ms})
    return left


@write()
def fail_media(
    tx: Transaction,
    job_id: int,
    *,
    error_type: str,
    error: str,
    output: Output | None = None,
    attempt: int | None = None,
) -> None:
    """Record that the file is not the video that was ordered; `output` is the file that was kept."""
    now = current(tx, job_id, attempt=attempt)
    next_state(now.state, Event.FAIL_MEDIA, booked=now.booked)
    kept = None if output is None else _store_output(tx, now.run_id, now.submission_id, output)
    job = {"error_type": error_type, "error": error, **({"output_id": kept} if kept else {})}
    step(tx, now, Event.FAIL_MEDIA, why=error, job=job, submission={"closed_ms": tx.at_ms})


@write()
def skip(tx: Transaction, job_ids: Collection[int], *, why: str = "") -> None:
    """Leave out pending jobs that do not fit the budget: all of them, or none."""
    told = {"error_type": "budget", "error": why, "charged": "no"}
    step_many(tx, job_ids, Event.SKIP, why=why, job=told)


@write()
def reuse(tx: Transaction, made_by: Mapping[int, int]) -> None:
    """Give pending jobs the file of a job that succeeded before: {job: the job that made it}."""
    job = schema.job
    query = select(job.c.job_id, job.c.output_id).where(text(schema.MADE))
    rows = tx.rows_with(query, job.c.job_id, set(made_by.values()))
    outputs = {row.job_id: row.output_id for row in rows}
    if missing := set(made_by.values()) - set(outputs):
        raise UsageError(f"job {min(missing)} has no finished video to use again")
    step_many(tx, made_by, Event.REUSE, output_ids={job_id: outputs[made_by[job_id]] for job_id in made_by})


def _store_output(tx: Transaction, run_id: str, submission_id: int, output: Output) -> int:
    row = {**asdict(output), "has_audio": int(output.has_audio), "flags": flags_json(output.flags)}
    return tx.insert(schema.output, {**row, "submission_id": submission_id, "run_id": run_id})


def _order_retake(tx: Transaction, run_id: str, retake: NewJob) -> str:
    """Write a retake as a pending job of the run; return why it is not ordered, "" where it is.

    It is ordered while the run buys, and while every account that it will count in has headroom for its
    maximum, besides the retakes that are ordered and not held yet, and while no job of the run has its name:
    files of one name could replace each other in an object store. The tables allow each retake of a place in
    the plan once, and none above its allowance.
    """
    run = tx.execute(select(schema.run).where(schema.run.c.run_id == run_id)).one()
    if run.stopping_ms is not None or run.closed_ms is not None:
        return "the run was stopped"
    if retake.retake > retake.retakes_max:
        return "it was retaken as often as the campaign allows"
    waiting = select(func.coalesce(func.sum(schema.job.c.maximum_nano), 0)).where(
        schema.job.c.run_id == run_id, schema.job.c.retake > 0, schema.job.c.state == State.PENDING.value
    )
    taken = select(schema.job.c.job_id).where(
        schema.job.c.run_id == run_id,
        (schema.job.c.custom_id == retake.custom_id)
        | (schema.job.c.output_name == retake.output_name)
        | (func.lower(schema.job.c.output_name) == retake.output_name.lower()),
    )
    if tx.execute(taken.limit(1)).first() is not None:
        return f"the run has another job called {retake.custom_id!r}"
    needed_nano = retake.maximum_nano + int(tx.execute(waiting).scalar_one())
    refs = account_refs(
        campaign=run.campaign,
        client=retake.client,
        model=retake.model,
        run_id=run_id,
        at_ms=tx.at_ms,
        is_retake=True,
    )
    for ref, account in admission.headroom(tx, refs).items():
        if account.left_nano is not None and account.left_nano < needed_nano:
            limit_nano = account.limit_nano or 0
            return f"the cap on {ref} ({usd_text(limit_nano)} USD) has no room left for it"
    tx.insert(schema.job, {**asdict(retake), "draft": int(retake.draft), "run_id": run_id})
    logger.info("run %s: retake %s is ordered", run_id, retake.custom_id)
    return ""
