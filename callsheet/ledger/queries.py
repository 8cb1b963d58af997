"""What is read from the ledger: runs, jobs, tallies, entries. Nothing here changes anything."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterator
from typing import Any

from sqlalchemy import Connection, Row, and_, func, literal, select

from callsheet.errors import UsageError
from callsheet.ledger import schema
from callsheet.ledger.records import (
    Entry,
    EntryFilter,
    Overrun,
    Purchase,
    RenderTime,
    Run,
    Settled,
    Tally,
)
from callsheet.ledger.scopes import AccountRef
from callsheet.ledger.states import Event, State
from callsheet.ledger.steps import chunks
from manifests.changes import MadeJob
from pricing.budgets import client_key


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
        (job.c.model, wanted.model),
    )
    query = query.where(*(column == value for column, value in named if value is not None))
    if wanted.since_ms is not None:
        query = query.where(submission.c.admitted_ms >= wanted.since_ms)
    if wanted.until_ms is not None:
        query = query.where(submission.c.admitted_ms < wanted.until_ms)
    client = None if wanted.client is None else client_key(wanted.client)
    for row in connection.execute(query.execution_options(yield_per=1000)):
        if client is None or client_key(row.client) == client:
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


def _as_run(row: Row[Any]) -> Run:
    return Run(**row._mapping)  # noqa: SLF001 - SQLAlchemy's documented name


def _no_such_run(connection: Connection, run_id: str) -> str:
    known = [found.run_id for found in runs(connection, limit=200)]
    if near := difflib.get_close_matches(run_id, known, n=1, cutoff=0.0):
        return (
            f"there is no run {run_id!r}; the nearest is {near[0]!r} (`callsheet ledger statement --by run` "
            "lists what was bought)"
        )
    return f"there is no run {run_id!r}; this ledger has no runs yet (the sandbox's is opened by --sandbox)"
