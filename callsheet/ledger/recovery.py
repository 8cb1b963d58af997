"""Recovery: what a dead owner left, what was given up and turned up at fal, and what is tried again."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from sqlalchemy import select, text

from callsheet.errors import IllegalTransition
from callsheet.ledger import queries, runs, schema, settlement, transitions
from callsheet.ledger.accounts import Booking, Settlement
from callsheet.ledger.admission import NO_ERROR
from callsheet.ledger.records import Range, Recovered
from callsheet.ledger.states import Event, State, next_state
from callsheet.ledger.steps import change, current, step, step_many
from callsheet.ledger.transaction import Transaction, read, write


@write()
def recover(tx: Transaction, run_id: str, *, within: Range | None = None) -> Recovered:
    """Repair what a dead owner left, in the whole run or in a part of it; call it inside `claim`.

    `submitting` becomes `unknown` (hold and slot stay), `held` goes back to `pending`.
    """
    job = schema.job
    left: dict[str, list[int]] = {State.SUBMITTING: [], State.HELD: []}
    query = select(job.c.job_id, job.c.state, job.c.position).where(
        job.c.run_id == run_id, job.c.state.in_(list(left))
    )
    for job_id, state, position in tx.execute(query).all():
        if within is None or position in within:
            left[state].append(job_id)
    for job_id in left[State.SUBMITTING]:
        transitions.lose(tx, job_id, why="its process ended while the request was under way")
    for job_id in left[State.HELD]:
        settlement.release(tx, job_id, why="its process ended before the request left")
    return Recovered(unknown=len(left[State.SUBMITTING]), released=len(left[State.HELD]))


@write()
def take_up(tx: Transaction, job_id: int, *, why: str, attempt: int | None = None) -> None:
    """Follow a failed job's last request again: `rendered`, with what was booked for it.

    Raises IllegalTransition for a job whose last submission fal never took, or that brought a file.
    """
    now = current(tx, job_id, attempt=attempt)
    next_state(now.state, Event.TAKE_UP, booked=now.booked)
    table, output = schema.submission, schema.output
    kept = select(output.c.output_id).where(output.c.submission_id == now.submission_id)
    if now.request_id is None or tx.execute(kept).first() is not None:
        raise IllegalTransition(f"job {job_id} has no request at fal whose file is still to come")
    told = {"error_type": NO_ERROR["error_type"], "error": NO_ERROR["error"]}
    step(tx, now, Event.TAKE_UP, why=why, job=told, submission={"closed_ms": None})
    mine = (table.c.submission_id == now.submission_id, table.c.rendered_ms.is_(None))
    tx.execute(table.update().where(*mine).values(rendered_ms=tx.at_ms))


@write()
def settle_found(tx: Transaction, job_id: int, found: Settlement, *, attempt: int | None = None) -> Booking:
    """Book what a render cost whose hold was written off as spent, and keep its result."""
    now = current(tx, job_id, attempt=attempt)
    if now.state is not State.RENDERED or not now.booked or now.request_id is None:
        raise IllegalTransition(f"job {job_id} is {now.state} and was not written off; nothing was changed")
    cost_nano, basis = found.cost_nano, found.cost_basis
    booking = settlement.correct(tx, now.request_id, cost_nano=cost_nano, cost_basis=basis)
    change(tx, schema.submission, {"submission_id": now.submission_id}, to=found.kept)
    return booking


@read()
def lost_jobs(tx: Transaction, error_types: Collection[str], *, since_ms: int) -> list[int]:
    """Return the failed jobs with one of these errors that fal took at `since_ms` or later, oldest first."""
    job, table = schema.job, schema.submission
    rows = tx.execute(
        select(job.c.job_id)
        .join_from(job, table, schema.IS_LAST)
        .where(
            job.c.state == State.FAILED.value,
            job.c.error_type.in_(list(error_types)),
            text("error_type <> ''"),  # the index of failed jobs
            table.c.request_id.is_not(None),
            table.c.submitted_ms >= since_ms,
        )
        .order_by(job.c.job_id)
    )
    return list(rows.scalars())


@read(short=True)
def given_up(tx: Transaction, job_id: int, number: int) -> str | None:
    """Return the hash of what an attempt sent that has ended without a request id; None for any other one."""
    table = schema.submission
    query = select(table.c.arguments_sha256).where(
        table.c.job_id == job_id,
        table.c.number == number,
        table.c.request_id.is_(None),
        table.c.closed_ms.is_not(None),
    )
    return tx.execute(query).scalar_one_or_none()


@write(fenced=False)
def note_orphan(tx: Transaction, job_id: int, number: int, request_id: str) -> None:
    """Keep that fal has a request of an attempt that was given up. True whoever owns the run by now."""
    orphan = schema.orphan
    if tx.execute(select(orphan.c.at_ms).where(orphan.c.request_id == request_id)).first() is None:
        row = {"request_id": request_id, "job_id": job_id, "number": number, "at_ms": tx.at_ms}
        tx.execute(orphan.insert(), row)


@read()
def orphans(tx: Transaction, *, since_ms: int) -> list[tuple[int, int, str]]:
    """Return such requests that were noted at `since_ms` or later and that no submission has, oldest first.

    Each is the job, its attempt and fal's request id.
    """
    orphan, table = schema.orphan, schema.submission
    claimed = select(table.c.request_id).where(table.c.request_id == orphan.c.request_id)
    query = select(orphan.c.job_id, orphan.c.number, orphan.c.request_id).where(
        orphan.c.at_ms >= since_ms, ~claimed.exists()
    )
    return [(job_id, number, each) for job_id, number, each in tx.execute(query.order_by(orphan.c.at_ms))]


@write()
def retry(
    tx: Transaction, job_ids: Collection[int], *, why: str = "", once: bool = False
) -> Mapping[int, int]:
    """Let failed, cancelled or skipped jobs be admitted again: all of them, or none.

    With `once`, what the campaign has made since is used and not bought: returns {job: the job that made
    it}. Of a job that finishes a draft only the finish is tried again. Raises UsageError where another
    unfinished run of the campaign has one of them to make.
    """
    made = _made_elsewhere(tx, job_ids) if once else {}
    step_many(tx, job_ids, Event.RETRY, why=why, job={**NO_ERROR, "output_id": schema.job.c.draft_output_id})
    transitions.reuse(tx, made)
    return made


def _made_elsewhere(tx: Transaction, job_ids: Collection[int]) -> Mapping[int, int]:
    """Return which of these jobs the campaign has made. Raises UsageError where another run buys one."""
    made: dict[int, int] = {}
    for (run_id, campaign), jobs in _by_run(tx, job_ids).items():
        known = queries.already_made(tx, campaign, set(jobs.values()))
        made.update((job, known[content].job_id) for job, content in jobs.items() if content in known)
        wanted = {content for content in jobs.values() if content not in known}
        runs.refuse_in_flight(tx, campaign, wanted, besides=run_id)
    return made


def _by_run(tx: Transaction, job_ids: Collection[int]) -> dict[tuple[str, str], dict[int, str]]:
    """Return the fingerprints of these jobs, {(run, campaign): {job: fingerprint}}; not of finishes."""
    job, run = schema.job, schema.run
    query = (
        select(job.c.job_id, job.c.fingerprint, run.c.run_id, run.c.campaign)
        .join_from(job, run, job.c.run_id == run.c.run_id)
        .where(job.c.draft_output_id.is_(None))
    )
    found: dict[tuple[str, str], dict[int, str]] = {}
    for job_id, fingerprint, run_id, campaign in tx.rows_with(query, job.c.job_id, job_ids):
        found.setdefault((run_id, campaign), {})[job_id] = fingerprint
    return found
