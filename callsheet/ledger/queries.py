"""What is read from the ledger: runs, jobs, tallies, entries. Nothing here changes anything."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterator
from typing import Any, cast

from sqlalchemy import Connection, Row, Select, and_, bindparam, func, literal, select

from callsheet.errors import UsageError
from callsheet.ledger import schema
from callsheet.ledger.names_here import named_here
from callsheet.ledger.records import (
    Entry,
    EntryFilter,
    JobRow,
    Output,
    Overrun,
    Purchase,
    RenderTime,
    Run,
    Settled,
    Submission,
    Tally,
    Ticket,
)
from callsheet.ledger.scopes import AccountRef
from callsheet.ledger.steps import chunks
from callsheet.ledger.submission import Event, State
from manifests.changes import MadeJob

ROWS_AT_ONCE = 500
"""Rows of a run that the database hands over at a time."""

_JOB = [column for column in schema.job.c if column.name not in ("submissions", "output_id")]
_SUBMISSION = [column.label(f"s_{column.name}") for column in schema.submission.c]
_OUTPUT = [column.label(f"o_{column.name}") for column in schema.output.c]


def run(connection: Connection, run_id: str) -> Run:
    """Return a run. Raises UsageError for an unknown one, naming the nearest."""
    table = schema.run
    row = connection.execute(select(table).where(table.c.run_id == run_id)).one_or_none()
    if row is None:
        raise UsageError(_no_such_run(connection, run_id))
    return _as_run(row)


def runs(connection: Connection, *, limit: int) -> list[Run]:
    """Return the newest runs, newest first."""
    table = schema.run
    query = select(table).order_by(table.c.created_ms.desc(), table.c.run_id.desc()).limit(limit)
    return [_as_run(row) for row in connection.execute(query)]


def latest_unfinished(connection: Connection) -> Run | None:
    """Return the newest run that nobody closed."""
    table = schema.run
    row = connection.execute(
        select(table)
        .where(table.c.closed_ms.is_(None))
        .order_by(table.c.created_ms.desc(), table.c.run_id.desc())
        .limit(1)
    ).one_or_none()
    return None if row is None else _as_run(row)


def jobs(connection: Connection, run_id: str, states: Collection[State] | None = None) -> Iterator[JobRow]:
    """Yield a run's jobs in the plan's order."""
    job = schema.job
    query = _job_query().where(job.c.run_id == run_id).order_by(job.c.position)
    if states is not None:
        query = query.where(job.c.state.in_([state.value for state in states]))
    reused = states is None or State.ALREADY_MADE in states
    named = {row.job_id: row for row in _reused(connection, run_id)} if reused else {}
    read = connection.execute(query, execution_options={"yield_per": ROWS_AT_ONCE})
    return (named.get(row.job_id) or _as_job(row) for row in read)


def _reused(connection: Connection, run_id: str) -> list[JobRow]:
    """Return the jobs of a run that have the file of another one, each file with a name of its own."""
    job = schema.job
    mine = (job.c.run_id == run_id, job.c.state == State.ALREADY_MADE.value)
    rows = [_as_job(row) for row in connection.execute(_job_query().where(*mine).order_by(job.c.position))]
    return named_here(rows, lambda: _own_files(connection, run_id), lambda: _reused_ms(connection, run_id))


def _own_files(connection: Connection, run_id: str) -> dict[str, str]:
    """Return the files that a run made itself, {path in its folder: SHA-256}."""
    job, output = schema.job, schema.output
    rows = connection.execute(
        select(output.c.path, output.c.sha256)
        .join_from(output, job, job.c.output_id == output.c.output_id)
        .where(output.c.run_id == run_id, job.c.run_id == run_id, job.c.state == State.SUCCEEDED.value)
    )
    return {row.path: row.sha256 for row in rows}


def _reused_ms(connection: Connection, run_id: str) -> dict[int, int]:
    """Return when jobs of a run were given the file of another run, {job: Unix milliseconds}."""
    job, event = schema.job, schema.event
    rows = connection.execute(
        select(event.c.job_id, func.max(event.c.at_ms).label("at_ms"))
        .join_from(event, job, job.c.job_id == event.c.job_id)
        .where(job.c.run_id == run_id, event.c.event == Event.REUSE.value)
        .group_by(event.c.job_id)
    )
    return {row.job_id: row.at_ms for row in rows}


def job(connection: Connection, job_id: int) -> JobRow:
    """Return one job. Raises UsageError for an unknown one."""
    row = connection.execute(_one_job, {"wanted": job_id}).one_or_none()
    if row is None:
        raise UsageError(f"the ledger has no job {job_id}")
    return _as_job(row)


def open_jobs(connection: Connection, states: Collection[State]) -> list[JobRow]:
    """Return the jobs of every run that are in one of these states, oldest first."""
    job = schema.job
    wanted = job.c.state.in_([state.value for state in states])
    return [_as_job(row) for row in connection.execute(_job_query().where(wanted).order_by(job.c.job_id))]


def tally(connection: Connection, run_id: str) -> Tally:
    """Count a run's jobs by state, with the money of its own account."""
    job, account = schema.job, schema.account
    counts = connection.execute(
        select(job.c.state, func.count()).where(job.c.run_id == run_id).group_by(job.c.state)
    )
    ref = AccountRef("run", run_id)
    money = connection.execute(
        select(account.c.held_nano, account.c.spent_nano, account.c.frozen).where(
            account.c.scope == ref.scope, account.c.key == ref.key, account.c.window == ref.window
        )
    ).one_or_none()
    held_nano, spent_nano, frozen = money or (0, 0, 0)
    return Tally(
        counts={State(state): count for state, count in counts},
        held_nano=held_nano,
        spent_nano=spent_nano,
        frozen=bool(frozen),
    )


def already_made(connection: Connection, campaign: str, fingerprints: Collection[str]) -> dict[str, JobRow]:
    """Return the newest succeeded job of the campaign for each fingerprint that has one."""
    job, table = schema.job, schema.run
    made: dict[str, JobRow] = {}
    for piece in chunks(set(fingerprints)):
        query = (
            _job_query()
            .join(table, table.c.run_id == job.c.run_id)
            .where(
                table.c.campaign == campaign,
                job.c.state == State.SUCCEEDED.value,
                job.c.output_id.is_not(None),
                job.c.fingerprint.in_(piece),
            )
            .order_by(job.c.job_id)
        )
        made.update((row.fingerprint, row) for row in map(_as_job, connection.execute(query)))
    return made


def made_jobs(connection: Connection, campaign: str) -> list[MadeJob]:
    """Return every job of the campaign that was made and whose file was kept, oldest first."""
    job, table = schema.job, schema.run
    rows = connection.execute(
        select(job.c.job_id, job.c.custom_id, job.c.fingerprint, job.c.spent_nano.label("paid_nano"))
        .join_from(job, table, table.c.run_id == job.c.run_id)
        .where(
            table.c.campaign == campaign,
            job.c.state == State.SUCCEEDED.value,
            job.c.output_id.is_not(None),
        )
        .order_by(job.c.job_id)
    )
    return [MadeJob(*row) for row in rows]


def payloads(connection: Connection, job_ids: Collection[int]) -> dict[int, str]:
    """Return the engine's own texts of these jobs."""
    job = schema.job
    found: dict[int, str] = {}
    for piece in chunks(job_ids):
        rows = connection.execute(select(job.c.job_id, job.c.payload).where(job.c.job_id.in_(piece)))
        found.update((job_id, payload) for job_id, payload in rows)
    return found


def render_times(connection: Connection, cell: str, *, limit: int) -> list[RenderTime]:
    """Return how long the newest renders of a cell took, newest first."""
    job, table = schema.job, schema.submission
    rows = connection.execute(
        select(table.c.submitted_ms, table.c.started_ms, table.c.rendered_ms)
        .join_from(table, job, table.c.job_id == job.c.job_id)
        .where(job.c.cell == cell, table.c.started_ms.is_not(None), table.c.rendered_ms.is_not(None))
        .order_by(table.c.submission_id.desc())
        .limit(limit)
    )
    return [
        RenderTime(waited_ms=max(0, started - submitted), rendered_ms=max(0, rendered - started))
        for submitted, started, rendered in rows
    ]


BILLED = ("billing_event", "billable_units")
"""Bases of a cost that fal itself has said; anything else is our own arithmetic."""


def settled(connection: Connection, *, limit: int) -> list[Settled]:
    """Return the newest renders whose cost fal has said, newest first."""
    job, table = schema.job, schema.submission
    rows = connection.execute(
        select(job.c.endpoint, job.c.cell, job.c.payload, table.c.cost_nano, table.c.cost_basis)
        .join_from(table, job, job.c.job_id == table.c.job_id)
        .where(table.c.cost_basis.in_(BILLED), table.c.cost_nano > 0, table.c.result_json.is_not(None))
        .order_by(table.c.submission_id.desc())
        .limit(limit)
    )
    return [Settled(**row._mapping) for row in rows]  # noqa: SLF001 - SQLAlchemy's documented name


def uploaded(connection: Connection, sha256: str, *, since_ms: int) -> str | None:
    """Return where a picture was uploaded to at `since_ms` or later."""
    table = schema.upload
    return connection.execute(
        select(table.c.url).where(table.c.sha256 == sha256, table.c.uploaded_ms >= since_ms)
    ).scalar_one_or_none()


def entries(connection: Connection, wanted: EntryFilter) -> Iterator[Entry]:
    """Yield the book's lines that are wanted, oldest first."""
    entry, submission, job, table = schema.entry, schema.submission, schema.job, schema.run
    decided = schema.event
    query = (
        select(
            entry.c.entry_id,
            entry.c.at_ms,
            entry.c.kind,
            entry.c.amount_nano,
            entry.c.submission_id,
            submission.c.admitted_ms,
            submission.c.request_id,
            job.c.job_id,
            job.c.run_id,
            job.c.custom_id,
            job.c.client,
            job.c.model,
            table.c.campaign,
            func.coalesce(decided.c.why, literal("")).label("why"),
        )
        .join_from(entry, submission, submission.c.submission_id == entry.c.submission_id)
        .outerjoin(decided, _decides(decided, submission, entry))
        .join(job, job.c.job_id == submission.c.job_id)
        .join(table, table.c.run_id == job.c.run_id)
        .order_by(entry.c.entry_id)
    )
    named = (
        (job.c.run_id, wanted.run_id),
        (table.c.campaign, wanted.campaign),
        (job.c.client, wanted.client),
        (job.c.model, wanted.model),
    )
    query = query.where(*(column == value for column, value in named if value is not None))
    if wanted.since_ms is not None:
        query = query.where(submission.c.admitted_ms >= wanted.since_ms)
    if wanted.until_ms is not None:
        query = query.where(submission.c.admitted_ms < wanted.until_ms)
    for row in connection.execute(query.execution_options(yield_per=1000)):
        yield Entry(**row._mapping)  # noqa: SLF001 - SQLAlchemy's documented name


def identity(connection: Connection) -> tuple[str, int]:
    """Return the ledger's own id and the number of its entries."""
    gate = schema.gate
    ledger_id, entries = connection.execute(select(gate.c.ledger_id, gate.c.entries)).one()
    return ledger_id, entries


def overruns(connection: Connection, *, run_id: str | None, limit: int) -> list[Overrun]:
    """Return the newest submissions that cost more than was held for them, newest first."""
    submission, job = schema.submission, schema.job
    query = (
        select(
            submission.c.booked_ms.label("at_ms"),
            job.c.run_id,
            job.c.custom_id,
            submission.c.request_id,
            submission.c.hold_nano,
            submission.c.cost_nano,
        )
        .join_from(submission, job, job.c.job_id == submission.c.job_id)
        .where(submission.c.cost_nano > submission.c.hold_nano)
        .order_by(submission.c.booked_ms.desc(), submission.c.submission_id.desc())
        .limit(limit)
    )
    if run_id is not None:
        query = query.where(job.c.run_id == run_id)
    return [Overrun(**row._mapping) for row in connection.execute(query)]  # noqa: SLF001 - as above


_DECISIONS = (Event.WRITE_OFF.value, Event.DECLARE_ABSENT.value, Event.FIND.value)


def _decides(decided: Any, submission: Any, entry: Any) -> Any:
    """The one event that settled what nobody knew belongs to the lines that were written after it."""
    return and_(
        decided.c.job_id == submission.c.job_id,
        decided.c.number == submission.c.number,
        decided.c.event.in_(_DECISIONS),
        entry.c.kind != "hold",
    )


def known_requests(connection: Connection, request_ids: Collection[str]) -> dict[str, int]:
    """Return which of these request ids the ledger has, each with the job that it was bought for."""
    table = schema.submission
    known: dict[str, int] = {}
    for piece in chunks(request_ids):
        rows = connection.execute(
            select(table.c.request_id, table.c.job_id).where(table.c.request_id.in_(piece))
        )
        known.update((request_id, job_id) for request_id, job_id in rows)
    return known


def purchases(connection: Connection, *, since_ms: int) -> list[Purchase]:
    """Return every submission that was accepted at `since_ms` or later, oldest first."""
    job, table = schema.job, schema.submission
    own = ("request_id", "submitted_ms", "hold_nano", "cost_nano", "cost_basis", "booked_ms")
    query = (
        select(job.c.run_id, job.c.job_id, job.c.custom_id, job.c.endpoint, *(table.c[name] for name in own))
        .join_from(table, job, job.c.job_id == table.c.job_id)
        .where(table.c.request_id.is_not(None), table.c.submitted_ms >= since_ms)
        .order_by(table.c.submission_id)
    )
    return [Purchase(**row._mapping) for row in connection.execute(query)]  # noqa: SLF001 - as above


def _job_query() -> Select[Any]:
    job, submission, output = schema.job, schema.submission, schema.output
    last = and_(submission.c.job_id == job.c.job_id, submission.c.number == job.c.submissions)
    return (
        select(*_JOB, *_SUBMISSION, *_OUTPUT)
        .outerjoin_from(job, submission, last)
        .outerjoin(output, output.c.output_id == job.c.output_id)
    )


_one_job = _job_query().where(schema.job.c.job_id == bindparam("wanted"))


def _as_run(row: Row[Any]) -> Run:
    return Run(**row._mapping)  # noqa: SLF001 - SQLAlchemy's documented name


def _as_job(row: Row[Any]) -> JobRow:
    values: dict[str, Any] = dict(row._mapping)  # noqa: SLF001 - SQLAlchemy's documented name
    own = {column.name: values[column.name] for column in _JOB}
    own["state"] = State(own["state"])
    return JobRow(
        **own,
        submission=_as_submission(values),
        output=_as_output(values),
        output_run_id=values["o_run_id"],
        output_path_there=values["o_path"],
    )


_TICKET = ("request_id", "status_url", "response_url", "cancel_url")


def _as_submission(values: dict[str, Any]) -> Submission | None:
    if values["s_submission_id"] is None:
        return None
    names = [column.name for column in schema.submission.c if column.name not in _TICKET]
    ticket = None
    if values["s_request_id"] is not None:
        ticket = Ticket(*(cast("str", values[f"s_{name}"]) for name in _TICKET))
    return Submission(ticket=ticket, **{name: values[f"s_{name}"] for name in names})


def _as_output(values: dict[str, Any]) -> Output | None:
    if values["o_output_id"] is None:
        return None
    names = ("path", "url", "sha256", "bytes", "width_px", "height_px", "fps", "duration_s")
    return Output(has_audio=bool(values["o_has_audio"]), **{name: values[f"o_{name}"] for name in names})


def _no_such_run(connection: Connection, run_id: str) -> str:
    known = [found.run_id for found in runs(connection, limit=200)]
    if near := difflib.get_close_matches(run_id, known, n=1, cutoff=0.0):
        return (
            f"there is no run {run_id!r}; the nearest is {near[0]!r} (`callsheet ledger statement --by run` "
            "lists what was bought)"
        )
    return f"there is no run {run_id!r}; this ledger has no runs yet (the sandbox's is opened by --sandbox)"
