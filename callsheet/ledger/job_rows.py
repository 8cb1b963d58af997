"""Jobs as they are read from the ledger: each with its last submission and its file."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any, cast

from sqlalchemy import Connection, Row, Select, and_, bindparam, func, select

from callsheet.errors import UsageError
from callsheet.ledger import schema
from callsheet.ledger.names_here import named_here
from callsheet.ledger.records import JobRow, Output, Submission, Ticket
from callsheet.ledger.states import Event, State
from callsheet.ledger.steps import chunks

ROWS_AT_ONCE = 500
"""Rows of a run that the database hands over at a time."""

_JOB = [column for column in schema.job.c if column.name not in ("submissions", "output_id")]
_SUBMISSION = [column.label(f"s_{column.name}") for column in schema.submission.c]
_OUTPUT = [column.label(f"o_{column.name}") for column in schema.output.c]


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


def _job_query() -> Select[Any]:
    job, submission, output = schema.job, schema.submission, schema.output
    last = and_(submission.c.job_id == job.c.job_id, submission.c.number == job.c.submissions)
    return (
        select(*_JOB, *_SUBMISSION, *_OUTPUT)
        .outerjoin_from(job, submission, last)
        .outerjoin(output, output.c.output_id == job.c.output_id)
    )


_one_job = _job_query().where(schema.job.c.job_id == bindparam("wanted"))


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
