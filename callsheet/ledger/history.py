"""What was bought, what it cost and how long it took; and which images were uploaded."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

from sqlalchemy import and_, cast, func, literal, or_, select, text, union_all

from callsheet.ledger import schema
from callsheet.ledger.accounts import Entry, EntryFilter, Grouping, Overrun, Purchase, Settled, Spending
from callsheet.ledger.records import PaidOutcome, RenderTime
from callsheet.ledger.scopes import window_at
from callsheet.ledger.states import Event, State
from callsheet.ledger.steps import chunks
from callsheet.ledger.transaction import Transaction, read, write
from pricing.budgets import client_key

EVERYTHING = EntryFilter()


@read()
def render_times(tx: Transaction, render_kind: str, *, limit: int = 50) -> list[RenderTime]:
    """Return how long the newest renders of a kind took, newest first."""
    job, table = schema.job, schema.submission
    newest = union_all(  # by the index on kind, state and job: a kind may have a million jobs
        *(
            select(
                select(job.c.job_id)
                .where(job.c.render_kind == render_kind, job.c.state == state.value)
                .order_by(job.c.job_id.desc())
                .limit(4 * limit + 20)  # some were not seen to start
                .subquery()
                .c.job_id
            )
            for state in (State.RENDERED, State.SUCCEEDED, State.FAILED)
        )
    ).subquery()
    rows = tx.connection.execute(
        select(table.c.submitted_ms, table.c.started_ms, table.c.rendered_ms)
        .join_from(newest, table, table.c.job_id == newest.c.job_id)
        .where(table.c.started_ms.is_not(None), table.c.rendered_ms.is_not(None))
        .order_by(table.c.submission_id.desc())
        .limit(limit)
    )
    return [
        RenderTime(waited_ms=max(0, started - submitted), rendered_ms=max(0, rendered - started))
        for submitted, started, rendered in rows
    ]


BILLED = ("billing_event", "billable_units")
"""Bases of a cost that fal itself has said; anything else is our own arithmetic."""


@read()
def settled(tx: Transaction, *, limit: int = 10_000) -> list[Settled]:
    """Return the newest renders whose cost fal has said, newest first."""
    job, table = schema.job, schema.submission
    rows = tx.connection.execute(
        select(job.c.endpoint, job.c.render_kind, job.c.payload, table.c.cost_nano, table.c.cost_basis)
        .join_from(table, job, job.c.job_id == table.c.job_id)
        .where(table.c.cost_basis.in_(BILLED), table.c.cost_nano > 0, table.c.result_json.is_not(None))
        .order_by(table.c.submission_id.desc())
        .limit(limit)
    )
    return [Settled(**row._mapping) for row in rows]  # noqa: SLF001 - SQLAlchemy's documented name


@read()
def paid_outcomes(tx: Transaction, run_id: str) -> list[PaidOutcome]:
    """Return how paid jobs of a run ended: few successes, then every failure, in the order of their ends.

    Of the successes it is one of each size, price and sound, and only where jobs of that size failed, too.
    """
    job, table, output = schema.job, schema.submission, schema.output
    ours = job.c.run_id == run_id
    failed = and_(ours, job.c.state == State.FAILED.value, job.c.charged != "no")
    kinds = select(job.c.render_kind).where(failed)
    made = (
        select(func.min(job.c.job_id))
        .join_from(job, output, output.c.output_id == job.c.output_id)
        .where(ours, job.c.state == State.SUCCEEDED.value, job.c.render_kind.in_(kinds))
        .group_by(job.c.render_kind, job.c.expected_nano, output.c.has_audio)
    )
    rows = tx.connection.execute(
        select(job.c.job_id, job.c.state, job.c.payload, job.c.error_type, job.c.error)
        .join_from(job, table, and_(table.c.job_id == job.c.job_id, table.c.number == job.c.submissions))
        .where(or_(failed, job.c.job_id.in_(made)))
        .order_by(job.c.state.desc(), table.c.closed_ms, table.c.submission_id)
    )
    return [PaidOutcome(job_id, State(state), *told) for job_id, state, *told in rows]


@read()
def uploaded(tx: Transaction, sha256: str, *, since_ms: int = 0) -> str | None:
    """Return where an image was uploaded to at `since_ms` or later."""
    table = schema.upload
    return tx.connection.execute(
        select(table.c.url).where(table.c.sha256 == sha256, table.c.uploaded_ms >= since_ms)
    ).scalar_one_or_none()


@read()
def entries(tx: Transaction, wanted: EntryFilter = EVERYTHING) -> Iterator[Entry]:
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
    for row in tx.connection.execute(query.execution_options(yield_per=1000)):
        if client is None or client_key(row.client) == client:
            yield Entry(**row._mapping)  # noqa: SLF001 - SQLAlchemy's documented name


@read()
def spending(tx: Transaction, by: Collection[Grouping], wanted: EntryFilter = EVERYTHING) -> list[Spending]:
    """Add up what was spent and is held by these groupings, in order of their names.

    Whole days count: those from `since_ms` to before `until_ms`. Different spellings of one client are groups
    of their own here.
    """
    table, run = schema.spending, schema.run
    names = {
        "campaign": run.c.campaign,
        "client": table.c.client,
        "model": table.c.model,
        "day": table.c.day,
        "run": table.c.run_id,
    }
    # A client is one however it is typed, which SQL cannot tell: what is asked for is chosen afterwards.
    asked = {*by, *(() if wanted.client is None else ("client",))}
    groups = [column.label(name) for name, column in names.items() if name in asked]
    sums = [
        cast(func.sum(table.c[name]), schema.INT).label(name)
        for name in ("submissions", "spent_nano", "held_nano")
    ]
    query = select(*groups, *sums).join_from(table, run, run.c.run_id == table.c.run_id)
    named = (
        (run.c.campaign, wanted.campaign),
        (table.c.run_id, wanted.run_id),
        (table.c.model, wanted.model),
    )
    query = query.where(*(column == value for column, value in named if value is not None))
    if wanted.since_ms is not None:
        query = query.where(table.c.day >= window_at("day", wanted.since_ms))
    if wanted.until_ms is not None:
        query = query.where(table.c.day < window_at("day", wanted.until_ms))
    columns = [names[name] for name in names if name in asked]
    rows = tx.connection.execute(query.group_by(*columns).order_by(*columns)).all()
    client = None if wanted.client is None else client_key(wanted.client)
    return [
        Spending(**row._mapping)  # noqa: SLF001 - SQLAlchemy's documented name
        for row in rows
        if row.submissions is not None and (client is None or client_key(row.client) == client)
    ]


@read()
def overruns(tx: Transaction, *, run_id: str | None = None, limit: int = 20) -> list[Overrun]:
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
        .where(text("cost_nano > hold_nano"))
        .order_by(submission.c.booked_ms.desc(), submission.c.submission_id.desc())
        .limit(limit)
    )
    if run_id is not None:
        query = query.where(job.c.run_id == run_id)
    return [Overrun(**row._mapping) for row in tx.connection.execute(query)]  # noqa: SLF001 - as above


_DECISIONS = (Event.WRITE_OFF.value, Event.DECLARE_ABSENT.value, Event.FIND.value)


def _decides(decided: Any, submission: Any, entry: Any) -> Any:
    """The one event that settled what nobody knew belongs to the lines that were written after it."""
    return and_(
        decided.c.job_id == submission.c.job_id,
        decided.c.number == submission.c.number,
        decided.c.event.in_(_DECISIONS),
        entry.c.kind != "hold",
    )


@read()
def known_requests(tx: Transaction, request_ids: Collection[str]) -> dict[str, int]:
    """Return which of these request ids the ledger has, each with the job that it was bought for."""
    table = schema.submission
    known: dict[str, int] = {}
    for piece in chunks(request_ids):
        rows = tx.connection.execute(
            select(table.c.request_id, table.c.job_id).where(table.c.request_id.in_(piece))
        )
        known.update((request_id, job_id) for request_id, job_id in rows)
    return known


@read()
def purchases(tx: Transaction, *, since_ms: int) -> list[Purchase]:
    """Return every submission that was accepted at `since_ms` or later, oldest first."""
    job, table = schema.job, schema.submission
    own = ("request_id", "submitted_ms", "hold_nano", "cost_nano", "cost_basis", "booked_ms")
    query = (
        select(job.c.run_id, job.c.job_id, job.c.custom_id, job.c.endpoint, *(table.c[name] for name in own))
        .join_from(table, job, job.c.job_id == table.c.job_id)
        .where(table.c.request_id.is_not(None), table.c.submitted_ms >= since_ms)
        .order_by(table.c.submission_id)
    )
    return [Purchase(**row._mapping) for row in tx.connection.execute(query)]  # noqa: SLF001 - as above


@write()
def remember_upload(tx: Transaction, sha256: str, url: str) -> None:
    """Remember where an image was uploaded to, so that it is uploaded once."""
    table = schema.upload
    tx.connection.execute(table.delete().where(table.c.sha256 == sha256))
    tx.connection.execute(table.insert(), {"sha256": sha256, "url": url, "uploaded_ms": tx.at_ms})
