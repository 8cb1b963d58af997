"""All runs of a ledger at a glance, and what the whole ledger has under way."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Row, case, func, select, text

from callsheet.ledger import parts, queries, schema
from callsheet.ledger.accounts import TOTAL, Account, window_at
from callsheet.ledger.admission import balances, slots_taken
from callsheet.ledger.locks import WHOLE, claims_of, is_alive, is_owned, is_reserved
from callsheet.ledger.records import OpenWork, Owner, Run, Tally
from callsheet.ledger.states import State
from callsheet.ledger.transaction import Transaction, read

_job, _run, _submission = schema.job, schema.run, schema.submission


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOverview:
    """One run: its jobs and money, who claimed it last, and whether a living process owns any part of it.

    `stopped_by` says why it was stopped before its end; "" where it was not, or goes on. `reserved` says that
    a process is being started for a part of it.
    """

    run: Run
    tally: Tally
    owner: Owner | None
    alive: bool
    stopped_by: str = ""
    reserved: bool = False

    @property
    def state(self) -> str:
        """finished, stopped (on purpose), opening, running, or idle: not finished, and nobody works on it."""
        if self.run.closed_ms is not None:
            return "finished"
        if self.alive:
            return "running"
        if self.run.stopping_ms is not None:
            return "stopped"
        return "opening" if self.run.opened_ms is None else "idle"

    def count(self, *states: State) -> int:
        """Return how many of its jobs are in these states."""
        return sum(self.tally.counts.get(state, 0) for state in states)


@dataclass(frozen=True, slots=True)
class Extent:
    """How far a ledger is: the number of its entries, and by their ids when runs were opened, in Unix ms."""

    entries: int
    created_ms: Mapping[str, int]


@read()
def extent(tx: Transaction, run_ids: Collection[str] = ()) -> Extent:
    """Return how far the ledger is, with those of these runs that it has."""
    entries = tx.execute(select(schema.ledger_head.c.entries)).scalar_one()
    runs = select(_run.c.run_id, _run.c.created_ms).where(_run.c.run_id.in_(run_ids))
    created = {found.run_id: found.created_ms for found in tx.execute(runs)} if run_ids else {}
    return Extent(entries, created)


MOST_RUNS = 1_000
"""What a look at the runs of a ledger takes at most."""


@read()
def overview(tx: Transaction, *, campaign: str | None = None, limit: int = 20) -> list[RunOverview]:
    """Return the newest runs, newest first, at most `limit`; those of one campaign where one is named."""
    query = select(_run).order_by(_run.c.created_ms.desc(), _run.c.run_id.desc()).limit(limit)
    found = tx.records(Run, query if campaign is None else query.where(_run.c.campaign == campaign))
    claims = claims_of(tx.connection, {run.run_id for run in found})
    reasons = parts.stops(tx, [run.run_id for run in found])
    return [
        RunOverview(
            run=run,
            tally=queries.tally(tx, run.run_id),
            owner=_owner(tx, claims[run.run_id]),
            alive=run.closed_ms is None and is_owned(tx, run.run_id, WHOLE, claims[run.run_id]),
            stopped_by=reasons.get(run.run_id, ""),
            reserved=any(is_reserved(claim, tx.lease_ms) for claim in claims[run.run_id]),
        )
        for run in found
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Activity:
    """What a ledger has under way.

    `jobs` counts the jobs of unfinished runs by campaign and state. `oldest_unknown_ms` is when the oldest
    submission with an unknown outcome was sent (Unix ms), None without any. `accounts` are those of the
    ledger, its campaigns, clients and models, in total and of this day and month. `keeper_ms` is when a
    keeper looked last (Unix ms), None where none did.
    """

    slots_taken: int
    entries: int
    jobs: Mapping[tuple[str, State], int]
    unknown: int
    oldest_unknown_ms: int | None
    accounts: tuple[Account, ...]
    unfinished: tuple[str, ...]
    keeper_ms: int | None
    at_ms: int


@read()
def activity(tx: Transaction) -> Activity:
    """Return what the ledger has under way: a few questions, however many runs have ended."""
    unfinished = tx.execute(select(_run.c.run_id, _run.c.campaign).where(_run.c.closed_ms.is_(None))).all()
    jobs: dict[tuple[str, State], int] = {}
    for run_id, campaign in unfinished:
        for state, count in queries.tally(tx, run_id).counts.items():
            jobs[campaign, state] = jobs.get((campaign, state), 0) + count
    sent_ms = func.coalesce(_submission.c.sent_ms, _submission.c.admitted_ms)
    unknown, oldest_ms = tx.execute(
        select(func.count(), func.min(sent_ms))
        .join_from(_submission, _job, _job.c.job_id == _submission.c.job_id)
        .where(text("closed_ms IS NULL"), _job.c.state == State.UNKNOWN.value)
    ).one()
    keeper = keeper_seen(tx)
    windows = {TOTAL, window_at("day", tx.at_ms), window_at("month", tx.at_ms)}
    return Activity(
        slots_taken=slots_taken(tx),
        entries=extent(tx).entries,
        jobs=jobs,
        unknown=unknown,
        oldest_unknown_ms=oldest_ms,
        accounts=tuple(
            each for each in balances(tx) if each.ref.scope != "run" and each.ref.window in windows
        ),
        unfinished=tuple(run_id for run_id, _ in unfinished),
        keeper_ms=None if keeper is None else keeper.since_ms,
        at_ms=tx.at_ms,
    )


DONE = (State.SUCCEEDED, State.ALREADY_MADE)
WAITING = (State.PENDING, State.HELD)


KEEPER = "keeper"
"""What the keeper claims for a moment whenever it looks at a ledger: so it is known when it did so last."""


@read()
def keeper_seen(tx: Transaction) -> Owner | None:
    """Return which keeper looked at the ledger last, and since when (Unix ms); None where none did."""
    return _owner(tx, claims_of(tx.connection, {KEEPER})[KEEPER])


@read()
def hosts(tx: Transaction, *, since_ms: int) -> list[str]:
    """Return the names of the machines that have worked on runs at `since_ms` or later."""
    claim = schema.claim
    worked = (claim.c.claimed_ms >= since_ms, claim.c.owner != "")
    query = select(claim.c.host).where(*worked).distinct().order_by(claim.c.host)
    return list(tx.execute(query).scalars())


@read()
def open_work(tx: Transaction) -> list[OpenWork]:
    """Return the runs with submissions that are not over, those with most slots first."""
    job, run, submission = schema.job, schema.run, schema.submission
    slots = func.sum(case((text(schema.IN_SLOT), 1), else_=0)).label("slots")
    rows = tx.execute(
        select(run.c.run_id, run.c.campaign, slots, func.count().label("open_jobs"))
        .join_from(submission, job, job.c.job_id == submission.c.job_id)
        .join(run, run.c.run_id == job.c.run_id)
        .where(submission.c.closed_ms.is_(None))
        .group_by(run.c.run_id, run.c.campaign)
        .order_by(slots.desc(), run.c.run_id)
    ).all()
    claims = claims_of(tx.connection, {row.run_id for row in rows})
    return [
        OpenWork(
            **row._mapping,
            owner=_owner(tx, claims[row.run_id]),
            alive=is_owned(tx, row.run_id, WHOLE, claims[row.run_id]),
        )
        for row in rows
    ]


@read()
def has_owner(tx: Transaction, run_id: str) -> bool:
    """Say whether a living process works on a run, or on a part of it. Nothing is claimed."""
    return is_owned(tx, run_id, WHOLE, claims_of(tx.connection, {run_id})[run_id])


def _owner(tx: Transaction, claims: Iterable[Row[Any]]) -> Owner | None:
    """Return who claimed a run, or a part of it, last, a process with a lease that lives first.

    A part that is reserved, or was stopped, has a row before anybody has claimed it: that is no owner.
    """
    mine = sorted((claim for claim in claims if claim.owner), key=lambda claim: claim.claimed_ms)
    living = [claim for claim in mine if is_alive(claim, tx.lease_ms)]
    last = (living or mine)[-1] if mine else None
    return None if last is None else Owner(host=last.host, pid=last.pid, since_ms=last.claimed_ms)
