"""What was bought, what it cost and how long it took; which images were uploaded, and what was told."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from functools import partial
from typing import Any

from sqlalchemy import (
    ColumnElement,
    FromClause,
    Row,
    Select,
    and_,
    cast,
    func,
    literal,
    or_,
    select,
    text,
    union_all,
)

from callsheet.ledger import admission, schema
from callsheet.ledger.accounts import (
    Entry,
    EntryFilter,
    Grouping,
    Overrun,
    Purchase,
    Settled,
    Spending,
    window_at,
)
from callsheet.ledger.records import PaidOutcome
from callsheet.ledger.states import FOLLOWED, Event, State
from callsheet.ledger.transaction import Transaction, read, write
from pricing.budgets import client_key

EVERYTHING = EntryFilter()

_job, _run, _submission, _entry = schema.job, schema.run, schema.submission, schema.entry


@read()
def owners(tx: Transaction, run_id: str) -> list[tuple[str, str]]:
    """Return the clients ("" for none) and models of a run's jobs, each pair once."""
    pairs = select(_job.c.client, _job.c.model).where(_job.c.run_id == run_id).distinct()
    return [(client, model) for client, model in tx.execute(pairs.order_by(_job.c.client, _job.c.model))]


@read()
def to_render(tx: Transaction, run_id: str) -> dict[str, int]:
    """Count a run's jobs whose render is still to come or to end, by render kind; not the unknown ones."""
    states = [state.value for state in (State.PENDING, *FOLLOWED)]
    kinds = (
        select(_job.c.render_kind, func.count().label("jobs"))
        .where(_job.c.run_id == run_id, _job.c.state.in_(states))
        .group_by(_job.c.render_kind)
    )
    return {row.render_kind: row.jobs for row in tx.execute(kinds)}


@read()
def render_times(tx: Transaction, render_kind: str, *, limit: int = 50) -> list[int]:
    """Return how long the newest renders of a kind took, in milliseconds, newest first."""
    job, table = _job, _submission
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
    rows = tx.execute(
        select(table.c.rendered_ms - table.c.started_ms)
        .join_from(newest, table, table.c.job_id == newest.c.job_id)
        .join(job, job.c.job_id == table.c.job_id)
        .where(table.c.endpoint == job.c.endpoint)  # a finished draft's own render is of another kind
        .where(table.c.started_ms.is_not(None), table.c.rendered_ms.is_not(None))
        .order_by(table.c.submission_id.desc())
        .limit(limit)
    )
    return [max(0, took_ms) for took_ms in rows.scalars()]


BILLED = ("billing_event", "billable_units")
"""Bases of a cost that fal itself has said; anything else is our own arithmetic."""


@read()
def settled(tx: Transaction, *, limit: int = 10_000) -> list[Settled]:
    """Return the newest renders whose cost fal has said, newest first."""
    job, table = _job, _submission
    query = (
        select(job.c.endpoint, job.c.render_kind, job.c.payload, table.c.cost_nano, table.c.cost_basis)
        .join_from(table, job, job.c.job_id == table.c.job_id)
        .where(table.c.endpoint == job.c.endpoint)
        .where(table.c.cost_basis.in_(BILLED), table.c.cost_nano > 0, table.c.result_json.is_not(None))
        .order_by(table.c.submission_id.desc())
        .limit(limit)
    )
    return tx.records(Settled, query)


@read()
def paid_outcomes(tx: Transaction, run_id: str) -> list[PaidOutcome]:
    """Return how paid jobs of a run ended: few successes, then every failure, in the order of their ends.

    Of the successes it is one of each size, price and sound, and only where jobs of that size failed, too.
    What fal delivers no video of counts as failed; it may still be fetched.
    """
    job, table, output = schema.job, schema.submission, schema.output
    ours = job.c.run_id == run_id
    failed = and_(
        ours,
        or_(
            and_(job.c.state == State.FAILED.value, job.c.charged != "no"),
            and_(job.c.state == State.RENDERED.value, job.c.error_type != ""),
        ),
    )
    kinds = select(job.c.render_kind).where(failed)
    made = (
        select(func.min(job.c.job_id))
        .join_from(job, output, output.c.output_id == job.c.output_id)
        .where(ours, job.c.state == State.SUCCEEDED.value, job.c.render_kind.in_(kinds))
        .group_by(job.c.render_kind, job.c.expected_nano, output.c.has_audio)
    )
    rows = tx.execute(
        select(job.c.job_id, job.c.state, job.c.payload, job.c.error_type, job.c.error)
        .join_from(job, table, schema.IS_LAST)
        .where(or_(failed, job.c.job_id.in_(made)))
        .order_by(job.c.state.desc(), table.c.closed_ms, table.c.submission_id)
    )
    return [PaidOutcome(job_id, State(state), *told) for job_id, state, *told in rows]


@read()
def uploaded(tx: Transaction, sha256: str, *, since_ms: int = 0) -> str | None:
    """Return where an image was uploaded to at `since_ms` or later."""
    table = schema.upload
    return tx.execute(
        select(table.c.url).where(table.c.sha256 == sha256, table.c.uploaded_ms >= since_ms)
    ).scalar_one_or_none()


@read()
def entries(tx: Transaction, wanted: EntryFilter = EVERYTHING) -> Iterator[Entry]:
    """Yield the wanted entries, oldest first."""
    entry, submission, job, run, decided = _entry, _submission, _job, _run, schema.event
    query = (
        select(
            *(entry.c[name] for name in ("entry_id", "at_ms", "kind", "amount_nano", "submission_id")),
            submission.c.admitted_ms,
            submission.c.request_id,
            *(job.c[name] for name in ("job_id", "run_id", "custom_id", "client", "model")),
            run.c.campaign,
            func.coalesce(decided.c.why, literal("")).label("why"),
        )
        .join_from(entry, submission, submission.c.submission_id == entry.c.submission_id)
        .outerjoin(
            decided,  # the event that settled an unknown request, with the entries written after it
            and_(
                decided.c.job_id == submission.c.job_id,
                decided.c.number == submission.c.number,
                decided.c.event.in_((Event.WRITE_OFF.value, Event.DECLARE_ABSENT.value, Event.FIND.value)),
                entry.c.kind != "hold",
            ),
        )
        .join(job, job.c.job_id == submission.c.job_id)
        .join(run, run.c.run_id == job.c.run_id)
        .where(*conditions(wanted, run.c.campaign, job.c.run_id, job.c.model, submission.c.admitted_ms))
        .order_by(entry.c.entry_id)
    )
    for row in tx.stream(query):
        if _is_of(wanted, row):
            yield Entry(**row._mapping)


@read()
def spending(tx: Transaction, by: Collection[Grouping], wanted: EntryFilter = EVERYTHING) -> list[Spending]:
    """Add up what was spent and is held by these groupings, in order of their names.

    Whole days count: those from `since_ms` to before `until_ms`. Different spellings of one client are groups
    of their own here.
    """
    table = schema.spending
    sums = [
        cast(func.sum(table.c[name]), schema.INT).label(name)
        for name in ("submissions", "spent_nano", "held_nano")
    ]
    return _grouped(tx, table, sums, by, wanted)


@read()
def held_submissions(
    tx: Transaction, by: Collection[Grouping], wanted: EntryFilter = EVERYTHING
) -> list[Spending]:
    """Count the submissions whose money is held, as `spending` groups it, which counts the booked ones."""
    table, held = schema.spending, _submission
    of_spending = table.join(held, held.c.spending_id == table.c.spending_id)
    no_money = [literal(0).label("spent_nano"), literal(0).label("held_nano")]
    sums = [func.count(held.c.submission_id).label("submissions"), *no_money]
    is_held = and_(held.c.closed_ms.is_(None), held.c.booked_ms.is_(None))
    return [each for each in _grouped(tx, of_spending, sums, by, wanted, is_held) if each.submissions]


def _grouped(
    tx: Transaction,
    spent: FromClause,
    sums: Sequence[ColumnElement[Any]],
    by: Collection[Grouping],
    wanted: EntryFilter,
    *which: ColumnElement[bool],
) -> list[Spending]:
    """Group what was spent by these names. `spent` is the table `spending`, joined with what is summed."""
    table, run = schema.spending, _run
    names = {"campaign": run.c.campaign, "client": table.c.client, "model": table.c.model}
    names |= {"day": table.c.day, "run": table.c.run_id}
    day_of = partial(window_at, "day")
    # A client is one however it is typed, which SQL cannot tell: what is asked for is chosen afterwards.
    asked = {*by, *(() if wanted.client is None else ("client",))}
    columns = {name: column for name, column in names.items() if name in asked}
    query = (
        select(*(column.label(name) for name, column in columns.items()), *sums)
        .join_from(spent, run, run.c.run_id == table.c.run_id)
        .where(*which)
        .where(*conditions(wanted, run.c.campaign, table.c.run_id, table.c.model, table.c.day, day_of))
        .group_by(*columns.values())
        .order_by(*columns.values())
    )
    return [
        Spending(**row._mapping)
        for row in tx.execute(query).all()
        if row.submissions is not None and _is_of(wanted, row)
    ]


def conditions(
    wanted: EntryFilter, campaign: Any, run_id: Any, model: Any, at: Any, of: Callable[[int], Any] = int
) -> list[ColumnElement[bool]]:
    """Return what a filter asks of these columns; `at` is when the money was put aside, as `of` writes it."""
    asked = ((campaign, wanted.campaign), (run_id, wanted.run_id), (model, wanted.model))
    found = [column == value for column, value in asked if value is not None]
    if wanted.since_ms is not None:
        found.append(at >= of(wanted.since_ms))
    if wanted.until_ms is not None:
        found.append(at < of(wanted.until_ms))
    return found


def _is_of(wanted: EntryFilter, row: Row[Any]) -> bool:
    return wanted.client is None or client_key(row.client) == client_key(wanted.client)


@read()
def overruns(
    tx: Transaction, *, run_id: str | None = None, since_release: bool = False, limit: int | None = 20
) -> list[Overrun]:
    """Return the newest submissions that cost more than was held for them, newest first.

    With `since_release` those alone that were booked since frozen accounts were last released. Without a
    `limit` it is all of them.
    """
    job, table = _job, _submission
    query = (
        select(
            job.c.run_id,
            job.c.custom_id,
            job.c.row,
            *(table.c[name] for name in ("request_id", "hold_nano", "cost_nano")),
        )
        .join_from(table, job, job.c.job_id == table.c.job_id)
        .where(text("cost_nano > hold_nano"))  # the words of the index
        .order_by(table.c.booked_ms.desc(), table.c.submission_id.desc())
        .limit(limit)
    )
    if since_release:
        booked = select(_entry.c.entry_id).where(
            _entry.c.submission_id == table.c.submission_id,
            _entry.c.kind == "settle",
            _entry.c.amount_nano > 0,
            _entry.c.entry_id > admission.released_up_to(tx),
        )
        query = query.where(booked.exists())
    return tx.records(Overrun, query if run_id is None else query.where(job.c.run_id == run_id))


@write()
def unfreeze(tx: Transaction) -> tuple[int, list[Overrun]]:
    """Let frozen accounts admit again, and return the bills that this is about.

    Both in one transaction: a bill that comes later is none that a person has seen. The number is that of the
    accounts; see `admission.unfreeze`.
    """
    found = overruns(tx, since_release=True, limit=None)
    return admission.unfreeze(tx), found


@read()
def known_requests(tx: Transaction, request_ids: Collection[str]) -> dict[str, int]:
    """Return which of these request ids the ledger has, each with the job that it was bought for."""
    table = schema.submission
    rows = tx.rows_with(select(table.c.request_id, table.c.job_id), table.c.request_id, request_ids)
    return {row.request_id: row.job_id for row in rows}


@read()
def has_purchases(tx: Transaction, *, since_ms: int) -> bool:
    """Say whether fal accepted any submission at `since_ms` or later."""
    return tx.execute(_accepted(since_ms, _submission.c.submission_id).limit(1)).first() is not None


@read()
def purchases(tx: Transaction, *, since_ms: int) -> Iterator[Purchase]:
    """Yield every submission that fal accepted at `since_ms` or later, oldest first. For `Ledger.stream`."""
    job, table = _job, _submission
    own = ("endpoint", "request_id", "submitted_ms", "hold_nano", "cost_nano", "cost_basis", "booked_ms")
    columns = (job.c.run_id, job.c.job_id, job.c.custom_id, job.c.row, *(table.c[name] for name in own))
    query = _accepted(since_ms, *columns).order_by(table.c.submission_id)
    for row in tx.stream(query):
        yield Purchase(**row._mapping)


def _accepted(since_ms: int, *columns: Any) -> Select[Any]:
    joined = select(*columns).join_from(_submission, _job, _job.c.job_id == _submission.c.job_id)
    return joined.where(_submission.c.request_id.is_not(None), _submission.c.submitted_ms >= since_ms)


@write()
def remember_upload(tx: Transaction, sha256: str, url: str) -> None:
    """Remember where an image was uploaded to, so that it is uploaded once."""
    table = schema.upload
    tx.execute(table.delete().where(table.c.sha256 == sha256))
    tx.execute(table.insert(), {"sha256": sha256, "url": url, "uploaded_ms": tx.at_ms})


@write()
def announce(tx: Transaction, keys: Iterable[str]) -> set[str]:
    """Write down what is about to be told. Returns the keys that nobody has told before."""
    table = schema.announcement
    wanted = set(keys)
    known = set(tx.execute(select(table.c.key).where(table.c.key.in_(wanted))).scalars())
    if fresh := wanted - known:
        tx.execute(table.insert(), [{"key": key, "at_ms": tx.at_ms} for key in sorted(fresh)])
    return fresh
