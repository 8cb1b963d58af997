"""Runs: opened whole, asked to stop, closed, opened again; and what a campaign is buying right now.

A second run must not buy the same videos beside the first.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import asdict
from types import MappingProxyType

from sqlalchemy import bindparam, select

from callsheet.errors import LedgerError, UsageError
from callsheet.ledger import queries, schema, transitions
from callsheet.ledger.admission import set_cap
from callsheet.ledger.records import NewCap, NewJob, NewRun
from callsheet.ledger.states import HAS_OPEN_SUBMISSION, State
from callsheet.ledger.transaction import Transaction, read, write

Fingerprints = Callable[[], Collection[str]]
"""Gives what a run is to buy. Called only where something is in flight: a plan may hold a million jobs."""

IN_FLIGHT = HAS_OPEN_SUBMISSION | {State.PENDING}
"""Bought and not finished, or waiting in a run that `resume` goes on with. What was left out is neither."""


@read()
def refuse_in_flight(tx: Transaction, campaign: str, wanted: Fingerprints, *, besides: str = "") -> None:
    """Raise UsageError where a run of the campaign is about to make, or is making, some of these.

    The run `besides` is the one that asks; it is not looked at.
    """
    found = _runs_with(tx, campaign, wanted, IN_FLIGHT)
    del found[besides]
    if not found:
        return
    run_id, count = found.most_common(1)[0]
    others = f" (and {len(found) - 1} more runs have some)" if len(found) > 1 else ""
    raise UsageError(
        f"run {run_id} has {count} of these in flight{others}; nothing was sent. Go on with it: "
        f"`callsheet resume {run_id}`. If it shall not go on, `callsheet cancel {run_id}` ends what was not "
        "submitted yet. `--again` buys them a second time"
    )


@read()
def refuse_made(tx: Transaction, campaign: str, wanted: Fingerprints) -> None:
    """Raise UsageError where some of these were made since a run was planned that is to buy them."""
    found = _runs_with(tx, campaign, wanted, {State.SUCCEEDED})
    if found:
        run_id, count = found.most_common(1)[0]
        raise UsageError(
            f"run {run_id} has made {count} of these meanwhile; nothing was sent. Run the same "
            "command again: it uses them"
        )


def _runs_with(
    tx: Transaction, campaign: str, wanted: Fingerprints, states: Collection[State]
) -> Counter[str]:
    job, run = schema.job, schema.run
    query = (
        select(job.c.run_id, job.c.fingerprint)
        .join_from(run, job, job.c.run_id == run.c.run_id)
        .where(run.c.campaign == campaign, job.c.state.in_([state.value for state in states]))
    )
    if State.SUCCEEDED in states:
        query = query.where(job.c.output_id.is_not(None))
    rows = tx.connection.execute(query).all()
    ours = set(wanted()) if rows else set()
    return Counter(run_id for run_id, fingerprint in rows if fingerprint in ours)


NOTHING_MADE: Mapping[int, int] = MappingProxyType({})


@write()
def open_run(
    tx: Transaction,
    run: NewRun,
    jobs: Iterable[NewJob],
    caps: Iterable[NewCap] = (),
    *,
    left: Collection[int] = (),
    made: Mapping[int, int] = NOTHING_MADE,
    once: bool = False,
) -> None:
    """Write a run, its jobs in the plan's order, and its caps. Raises UsageError for a run id in use.

    `left` are the positions of jobs that the budget does not reach, `made` those of jobs that get the file of
    an earlier one: {position: the job that made it}. They are marked in the same transaction, because a
    pending job is one that `resume` buys. `once` refuses with UsageError to buy what the campaign has or is
    buying: another process may have opened the same since the plan was made.
    """
    table = schema.run
    if tx.connection.execute(select(table.c.run_id).where(table.c.run_id == run.run_id)).first():
        raise UsageError(f"run {run.run_id} exists already; go on with `callsheet resume {run.run_id}`")
    jobs = list(jobs)
    if once:
        kept = {*left, *made}
        wanted = [job.fingerprint for position, job in enumerate(jobs) if position not in kept]
        refuse_in_flight(tx, run.campaign, lambda: wanted)
        refuse_made(tx, run.campaign, lambda: wanted)
    tx.connection.execute(table.insert(), {**asdict(run), "created_ms": tx.at_ms})
    names = NewJob.__dataclass_fields__
    rows = [
        {"run_id": run.run_id, "position": position, **{name: getattr(job, name) for name in names}}
        for position, job in enumerate(jobs)
    ]
    if rows:
        tx.connection.execute(schema.job.insert(), rows)
    for cap in caps:
        set_cap(tx, cap.scope, cap.key, cap.window, cap.limit_nano)
    if left or made:
        table = schema.job
        found = tx.connection.execute(
            select(table.c.position, table.c.job_id).where(table.c.run_id == run.run_id)
        )
        ids = {row.position: row.job_id for row in found}
        transitions.skip(tx, [ids[each] for each in left], why="does not fit the budget")
        transitions.reuse(tx, {ids[each]: job_id for each, job_id in made.items()})


@write()
def request_stop(tx: Transaction, run_id: str) -> None:
    """Ask a run to stop: from now on `admit` raises RunStopping for its jobs, in every process."""
    _mark(tx, run_id, stopping_ms=tx.at_ms)


@write()
def close_run(tx: Transaction, run_id: str) -> None:
    """Record that there is nothing left to do for a run."""
    _mark(tx, run_id, closed_ms=tx.at_ms)


@write()
def reopen_run(tx: Transaction, run_id: str) -> None:
    """Let a stopped or closed run admit again."""
    _mark(tx, run_id, stopping_ms=None, closed_ms=None)


def _mark(tx: Transaction, run_id: str, **columns: int | None) -> None:
    """Set a run's times. Raises UsageError for an unknown run, naming the nearest."""
    queries.run(tx, run_id)
    table = schema.run
    tx.connection.execute(table.update().where(table.c.run_id == run_id).values(**columns))


@write()
def reprice(tx: Transaction, run_id: str, amounts: Mapping[int, tuple[int, int]], *, prices: str) -> None:
    """Give pending jobs of a run other prices, {job: (expected, maximum)}, and pin `prices`: all or none.

    What has been held for a job is not touched: its price was that of the moment it was bought.
    Raises LedgerError where a job is not pending.
    """
    queries.run(tx, run_id)
    table = schema.job
    pending = tx.connection.execute(
        select(table.c.job_id).where(table.c.run_id == run_id, table.c.state == State.PENDING.value)
    ).scalars()
    if others := set(amounts) - set(pending):
        raise LedgerError(f"job {min(others)} is no pending job of run {run_id}; its price stays")
    if amounts:
        tx.connection.execute(
            table.update()
            .where(table.c.job_id == bindparam("wanted"))
            .values(expected_nano=bindparam("expected"), maximum_nano=bindparam("maximum")),
            [
                {"wanted": job_id, "expected": expected_nano, "maximum": maximum_nano}
                for job_id, (expected_nano, maximum_nano) in amounts.items()
            ],
        )
    runs = schema.run
    tx.connection.execute(runs.update().where(runs.c.run_id == run_id).values(prices=prices))
