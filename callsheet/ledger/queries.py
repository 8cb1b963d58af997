"""What is read of runs and their jobs, each job with its last submission and its file."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Iterator
from typing import Any

from sqlalchemy import ColumnElement, Row, Select, and_, bindparam, case, cast, func, or_, select, text

from callsheet.errors import UsageError
from callsheet.ledger import schema
from callsheet.ledger.accounts import TOTAL
from callsheet.ledger.records import JobRow, Output, Range, Run, Submission, Tally
from callsheet.ledger.states import HAS_OPEN_SUBMISSION, State
from callsheet.ledger.steps import no_such_job
from callsheet.ledger.transaction import Transaction, chunks, read
from callsheet.ticket import Ticket
from manifests.diff import MadeJob
from manifests.look import read_flags

LOOK_UP_AT_ONCE = 5_000
"""Values of one statement: SQLite takes 32,766 since 3.32 (sqlite.org/limits.html), PostgreSQL 65,535."""

_job, _run, _account, _spending = schema.job, schema.run, schema.account, schema.spending
_unclosed = select(_run).where(_run.c.closed_ms.is_(None))
IS_MADE = or_(schema.job.c.state == State.SUCCEEDED.value, schema.job.c.draft_output_id.is_not(None))


@read()
def run(tx: Transaction, run_id: str) -> Run:
    """Return a run. Raises UsageError for an unknown one, naming the nearest."""
    found = tx.records(Run, select(_run).where(_run.c.run_id == run_id))
    if not found:
        raise UsageError(_no_such_run(tx, run_id))
    return found[0]


@read()
def runs(tx: Transaction, *, limit: int = 50) -> list[Run]:
    """Return the newest runs, newest first."""
    newest = select(_run).order_by(_run.c.created_ms.desc(), _run.c.run_id.desc())
    return tx.records(Run, newest.limit(limit))


@read()
def latest_unfinished(tx: Transaction) -> Run | None:
    """Return the newest run that was not closed."""
    newest = _unclosed.order_by(_run.c.created_ms.desc(), _run.c.run_id.desc())
    return next(iter(tx.records(Run, newest.limit(1))), None)


@read()
def unfinished(tx: Transaction, campaign: str) -> list[Run]:
    """Return the runs of a campaign that were not closed, oldest first."""
    ours = _unclosed.where(_run.c.campaign == campaign)
    return tx.records(Run, ours.order_by(_run.c.created_ms, _run.c.run_id))


@read()
def unsent(tx: Transaction) -> dict[str, int]:
    """Count the jobs of unfinished runs that were not sent, by run, in the order of the runs' ids."""
    pending = select(_job.c.run_id, func.count()).join_from(_job, _run, _job.c.run_id == _run.c.run_id)
    pending = pending.where(
        _job.c.state.in_([State.PENDING.value, State.HELD.value]), _run.c.closed_ms.is_(None)
    )
    counted = pending.group_by(_job.c.run_id).order_by(_job.c.run_id)
    return {run_id: count for run_id, count in tx.execute(counted)}  # noqa: C416 -- rows are no tuples


@read()
def tally(tx: Transaction, run_id: str) -> Tally:
    """Count a run's jobs by state, with the money of its own account."""
    states = select(_job.c.state, func.count()).where(_job.c.run_id == run_id).group_by(_job.c.state)
    counts = {State(state): count for state, count in tx.execute(states)}
    money = select(_account.c.held_nano, _account.c.spent_nano, _account.c.frozen).where(
        _account.c.scope == "run", _account.c.key == run_id, _account.c.window == TOTAL
    )
    held_nano, spent_nano, frozen = tx.execute(money).one_or_none() or (0, 0, 0)
    return Tally(counts=counts, held_nano=held_nano, spent_nano=spent_nano, frozen=bool(frozen))


@read()
def has_bought(tx: Transaction, run_id: str) -> bool:
    """Say whether anything of a run was ever admitted."""
    return tx.execute(select(_spending.c.run_id).where(_spending.c.run_id == run_id)).first() is not None


@read()
def made_by_fingerprint(tx: Transaction, campaign: str, fingerprints: Iterable[str]) -> dict[str, MadeJob]:
    """Return, by fingerprint, the newest job of the campaign that was made and whose file was kept."""
    return {each.fingerprint: each for each in _made(tx, campaign, schema.job.c.fingerprint, fingerprints)}


@read()
def made_by_name(tx: Transaction, campaign: str, custom_ids: Iterable[str]) -> dict[str, MadeJob]:
    """Return, by custom_id, the newest job of the campaign that was made and whose file was kept."""
    return {each.custom_id: each for each in _made(tx, campaign, schema.job.c.custom_id, custom_ids)}


def _made(
    tx: Transaction, campaign: str, column: ColumnElement[str], values: Iterable[str]
) -> Iterator[MadeJob]:
    """Yield what was made of these, looked up by an index, oldest first within each piece."""
    job = schema.job
    # The runs are compared here: joined, they would be taken for the smaller side, and all their jobs read.
    ours = runs_of(tx, campaign)
    if not ours:
        return
    query = (
        select(
            job.c.job_id,
            job.c.custom_id,
            job.c.fingerprint,
            job.c.spent_nano.label("paid_nano"),
            job.c.run_id,
        )
        .where(tx.is_among(column, "piece"), text(schema.MADE))
        .order_by(job.c.job_id)
    )
    for piece in chunks(values, LOOK_UP_AT_ONCE):
        for *made, run_id in tx.execute(query, {"piece": piece}):
            if run_id in ours:
                yield MadeJob(*made)


@read()
def waiting_since(tx: Transaction, campaign: str) -> dict[str, int]:
    """Return, by fingerprint, when a job of the campaign was first left out for want of budget (Unix ms)."""
    job = schema.job
    query = (
        select(job.c.fingerprint, func.min(_run.c.created_ms).label("since_ms"))
        .join_from(_run, job, job.c.run_id == _run.c.run_id)
        .where(
            _run.c.campaign == campaign,
            _run.c.opened_ms.is_not(None),
            job.c.state == State.SKIPPED_BUDGET.value,
        )
        .group_by(job.c.fingerprint)
    )
    return {row.fingerprint: row.since_ms for row in tx.execute(query)}


@read()
def now_ms(tx: Transaction) -> int:
    """Return the ledger's own time, by which days and months of caps begin (Unix ms)."""
    return tx.at_ms


@read()
def runs_of(tx: Transaction, campaign: str) -> set[str]:
    """Return the ids of a campaign's runs. One whose opening was broken off buys nothing and is none."""
    opened = select(_run.c.run_id).where(_run.c.campaign == campaign, _run.c.opened_ms.is_not(None))
    return set(tx.execute(opened).scalars())


@read()
def payloads(tx: Transaction, job_ids: Collection[int], *, with_etag: bool = False) -> dict[int, str]:
    """Return the engine's own texts of these jobs, or of those of them that remember an image's ETag."""
    query = select(_job.c.job_id, _job.c.payload)
    if with_etag:
        query = query.where(_job.c.payload.like('%"etag":%'))
    rows = tx.rows_with(query, _job.c.job_id, job_ids, LOOK_UP_AT_ONCE)
    return {row.job_id: row.payload for row in rows}


def _no_such_run(tx: Transaction, run_id: str) -> str:
    known = [found.run_id for found in runs(tx, limit=200)]
    near = difflib.get_close_matches(run_id, known, n=1, cutoff=0.0)
    nearest = f"; the nearest is {near[0]!r}" if near else ", which has no runs yet"
    return (
        f"there is no run {run_id!r} in the ledger {tx.ledger}{nearest}. Another one is chosen by --sandbox "
        "(in Prefect: `sandbox` of the request) and by CALLSHEET_LEDGER_URL"
    )


@read()
def jobs(
    tx: Transaction, run_id: str, *, states: Collection[State] | None = None, within: Range | None = None
) -> list[JobRow]:
    """Return a run's jobs in the plan's order, or those that are in one of `states` and `within` a part."""
    return list(each_job(tx, run_id, states=states, within=within))


@read()
def each_job(
    tx: Transaction, run_id: str, *, states: Collection[State] | None = None, within: Range | None = None
) -> Iterator[JobRow]:
    """Yield them a few hundred at a time. For `Ledger.stream`."""
    job = schema.job
    query = _job_query().where(job.c.run_id == run_id).order_by(job.c.position, job.c.retake)
    if states is not None:
        query = query.where(job.c.state.in_([state.value for state in states]))
    if within is not None:
        query = query.where(job.c.position.between(within.first, within.last))
    return map(_as_job, tx.stream(query))


@read(short=True)
def job(tx: Transaction, job_id: int) -> JobRow:
    """Return one job. Raises UsageError for an unknown one."""
    row = tx.execute(_one_job, {"wanted": job_id}).one_or_none()
    if row is None:
        raise no_such_job(job_id)
    return _as_job(row)


@read()
def open_jobs(
    tx: Transaction, *, states: Collection[State] = HAS_OPEN_SUBMISSION, sent_until_ms: int | None = None
) -> list[JobRow]:
    """Return the jobs of every run that are in one of these states, oldest first.

    With `sent_until_ms` those whose open submission was sent, or admitted, until then (Unix ms).
    """
    job, submission = schema.job, schema.submission
    wanted: ColumnElement[bool] = job.c.state.in_([state.value for state in states])
    # By the index of what is open: the history is not looked through.
    if sent_until_ms is not None or set(states) <= HAS_OPEN_SUBMISSION:
        still_open = select(submission.c.job_id).where(text("closed_ms IS NULL"))
        if sent_until_ms is not None:
            sent_ms = func.coalesce(submission.c.sent_ms, submission.c.admitted_ms)
            still_open = still_open.where(sent_ms <= sent_until_ms)
        wanted = and_(wanted, job.c.job_id.in_(still_open))
    return list(map(_as_job, tx.execute(_job_query().where(wanted).order_by(job.c.job_id))))


@read()
def given_up(tx: Transaction, *, since_ms: int) -> list[Submission]:
    """Return the submissions of which no request is known and that are over, since `since_ms` or later.

    They were declared absent, or written off and their hold booked as spent.
    """
    table = schema.submission
    query = (
        select(*_SUBMISSION)
        .where(
            table.c.unseen_ms >= since_ms,
            table.c.unseen_ms.is_not(None),
            table.c.request_id.is_(None),
            table.c.closed_ms.is_not(None),
        )
        .order_by(table.c.submission_id)
    )
    return [found for row in tx.execute(query) if (found := _as_submission(dict(row._mapping))) is not None]


@read()
def positions(tx: Transaction, run_id: str) -> list[int]:
    """Return the places in the plan of a run's jobs: what was made before has none."""
    return list(tx.execute(select(_job.c.position).where(_job.c.run_id == run_id)).scalars())


@read()
def already_made(tx: Transaction, campaign: str, fingerprints: Collection[str]) -> dict[str, JobRow]:
    """Return the newest job of the campaign that was made, for each fingerprint that has one."""
    return _newest(tx, campaign, fingerprints, and_(IS_MADE, _job.c.output_id.is_not(None)))


@read()
def made_files(tx: Transaction, campaign: str, fingerprints: Iterable[str]) -> Iterator[tuple[int, str, str]]:
    """Yield job, run and path of the newest file that the campaign made of each of these.

    The path is relative to the run's folder. For `Ledger.stream`.
    """
    output = schema.output
    query = (
        select(_job.c.job_id, _job.c.run_id, _job.c.fingerprint, output.c.run_id, output.c.path)
        .join_from(_job, output, output.c.output_id == _job.c.output_id)
        .where(tx.is_among(_job.c.fingerprint, "piece"), IS_MADE)
        .order_by(_job.c.job_id)
    )
    ours = runs_of(tx, campaign)  # compared here, as in `_made`
    for piece in chunks(fingerprints, LOOK_UP_AT_ONCE):
        found: dict[str, tuple[int, str, str]] = {}
        for job_id, job_run, fingerprint, *where in tx.execute(query, {"piece": piece}):
            if job_run in ours:
                found[fingerprint] = (job_id, *where)
        yield from found.values()


@read()
def paid_for(tx: Transaction, campaign: str, fingerprints: Collection[str]) -> dict[str, JobRow]:
    """Return, by fingerprint, the newest job of the campaign that was made, or else one that may yet be.

    The latter is in flight in an unfinished run, or failed after fal had accepted it.
    """
    failed = and_(_job.c.state == State.FAILED.value, schema.submission.c.request_id.is_not(None))
    states = [state.value for state in (State.PENDING, *HAS_OPEN_SUBMISSION, State.RENDERED)]
    unfinished = or_(_job.c.state.in_(states), failed)
    return _newest(tx, campaign, fingerprints, unfinished) | already_made(tx, campaign, fingerprints)


def _newest(
    tx: Transaction, campaign: str, fingerprints: Collection[str], wanted: ColumnElement[bool]
) -> dict[str, JobRow]:
    """Return, by fingerprint, the newest job of the campaign that is as `wanted`."""
    ours = runs_of(tx, campaign)  # compared here, as in `_made`
    query = _job_query().where(wanted).order_by(_job.c.job_id)
    rows = map(_as_job, tx.rows_with(query, _job.c.fingerprint, set(fingerprints)))
    return {row.fingerprint: row for row in rows if row.run_id in ours}


@read()
def by_name(tx: Transaction, campaign: str, custom_ids: Collection[str]) -> dict[str, JobRow]:
    """Return, by name, the newest job of the campaign, or the newest that was made where one was."""
    found: dict[str, JobRow] = {}
    ours, query = runs_of(tx, campaign), _job_query().order_by(_job.c.job_id)
    for row in map(_as_job, tx.rows_with(query, _job.c.custom_id, set(custom_ids))):
        last = found.get(row.custom_id)
        if row.run_id in ours and (last is None or row.is_made or not last.is_made):
            found[row.custom_id] = row
    return found


@read()
def output_paths(tx: Transaction, output_ids: Collection[int]) -> dict[int, str]:
    """Return where these files are in the folder of the run that made them, by output."""
    table = schema.output
    rows = tx.rows_with(select(table.c.output_id, table.c.path), table.c.output_id, output_ids)
    return {row.output_id: row.path for row in rows}


_JOB = [column for column in schema.job.c if column.name not in ("submissions", "output_id")]
_OF_SUBMISSION = [column for column in schema.submission.c if column.name != "spending_id"]
_SUBMISSION = [column.label(f"s_{column.name}") for column in _OF_SUBMISSION]

_draft, _bought = schema.output.alias(), schema.submission.alias()
_draft_submission = (
    select(_draft.c.submission_id)
    .where(_draft.c.output_id == schema.job.c.draft_output_id)
    .correlate(schema.job)
    .scalar_subquery()
)
_draft_cost = (
    select(cast(func.coalesce(func.sum(_bought.c.cost_nano), 0), schema.INT))
    .where(_bought.c.job_id == schema.job.c.job_id, _bought.c.submission_id <= _draft_submission)
    .correlate(schema.job)
    .scalar_subquery()
)
_DRAFT_NANO = case((schema.job.c.draft_output_id.is_(None), 0), else_=_draft_cost).label("draft_nano")
_OUTPUT = [column.label(f"o_{column.name}") for column in schema.output.c]


def _job_query() -> Select[Any]:
    """Return the query of all jobs, to be narrowed down."""
    job, submission, output = schema.job, schema.submission, schema.output
    return (
        select(*_JOB, _DRAFT_NANO, *_SUBMISSION, *_OUTPUT)
        .outerjoin_from(job, submission, schema.IS_LAST)
        .outerjoin(output, output.c.output_id == job.c.output_id)
    )


def _as_job(row: Row[Any]) -> JobRow:
    """Read one row of `_job_query`."""
    values: dict[str, Any] = dict(row._mapping)
    own = {column.name: values[column.name] for column in _JOB}
    own |= {"state": State(own["state"]), "draft": bool(own["draft"])}
    return JobRow(
        **own,
        draft_nano=values["draft_nano"],
        submission=_as_submission(values),
        output=_as_output(values),
        output_run_id=values["o_run_id"],
        output_path_there=values["o_path"],
    )


def _as_submission(values: dict[str, Any]) -> Submission | None:
    """Read the columns of `_SUBMISSION`; None where there is no submission."""
    if values["s_submission_id"] is None:
        return None
    names = [column.name for column in _OF_SUBMISSION if column.name not in schema.TICKET]
    ticket = None
    if values["s_request_id"] is not None:
        ticket = Ticket(
            endpoint_id=values["s_endpoint"], **{name: values[f"s_{name}"] for name in schema.TICKET}
        )
    return Submission(ticket=ticket, **{name: values[f"s_{name}"] for name in names})


def _as_output(values: dict[str, Any]) -> Output | None:
    if values["o_output_id"] is None:
        return None
    names = ("path", "url", "sha256", "bytes", "width_px", "height_px", "fps", "duration_s")
    return Output(
        has_audio=bool(values["o_has_audio"]),
        flags=read_flags(values["o_flags"]),
        **{name: values[f"o_{name}"] for name in names},
    )


_one_job = _job_query().where(schema.job.c.job_id == bindparam("wanted"))
