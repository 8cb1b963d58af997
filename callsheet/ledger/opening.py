"""Runs: opened whole, asked to stop, closed, opened again."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict

from sqlalchemy import Connection, bindparam, select

from callsheet.errors import LedgerError, UsageError
from callsheet.ledger import lifecycle, queries, schema
from callsheet.ledger.caps import set_cap
from callsheet.ledger.in_flight import refuse_in_flight, refuse_made
from callsheet.ledger.records import NewCap, NewJob, NewRun
from callsheet.ledger.states import State


def open_run(
    connection: Connection,
    run: NewRun,
    jobs: Iterable[NewJob],
    caps: Iterable[NewCap],
    at_ms: int,
    *,
    left: Collection[int],
    made: Mapping[int, int],
    once: bool,
) -> None:
    """Write a run, its jobs in order, and its caps. Raises UsageError for a run id that exists.

    With `once` also where the campaign has, or is buying, what the run is to buy: asked here, because between
    the plan and this moment a person was asked and another process may have opened the same.

    What is not to be bought is marked in the same transaction: a pending job is one that `resume` buys.
    """
    table = schema.run
    if connection.execute(select(table.c.run_id).where(table.c.run_id == run.run_id)).first():
        raise UsageError(f"run {run.run_id} exists already; go on with `callsheet resume {run.run_id}`")
    jobs = list(jobs)
    if once:
        kept = {*left, *made}
        wanted = [job.fingerprint for position, job in enumerate(jobs) if position not in kept]
        refuse_in_flight(connection, run.campaign, lambda: wanted)
        refuse_made(connection, run.campaign, lambda: wanted)
    connection.execute(table.insert(), {**asdict(run), "created_ms": at_ms})
    names = NewJob.__dataclass_fields__
    rows = [
        {"run_id": run.run_id, "position": position, **{name: getattr(job, name) for name in names}}
        for position, job in enumerate(jobs)
    ]
    if rows:
        connection.execute(schema.job.insert(), rows)
    for cap in caps:
        set_cap(connection, cap)
    if left or made:
        table = schema.job
        found = connection.execute(
            select(table.c.position, table.c.job_id).where(table.c.run_id == run.run_id)
        )
        ids = {row.position: row.job_id for row in found}
        lifecycle.skip(connection, [ids[each] for each in left], at_ms, why="does not fit the budget")
        lifecycle.reuse(connection, {ids[each]: job_id for each, job_id in made.items()}, at_ms)


def mark(connection: Connection, run_id: str, **columns: int | None) -> None:
    """Set a run's times. Raises UsageError for an unknown run, naming the nearest."""
    queries.run(connection, run_id)
    table = schema.run
    connection.execute(table.update().where(table.c.run_id == run_id).values(**columns))


def reprice(connection: Connection, run_id: str, amounts: Mapping[int, tuple[int, int]], prices: str) -> None:
    """Write other prices for pending jobs of a run, and pin them."""
    queries.run(connection, run_id)
    table = schema.job
    pending = connection.execute(
        select(table.c.job_id).where(table.c.run_id == run_id, table.c.state == State.PENDING.value)
    ).scalars()
    if others := set(amounts) - set(pending):
        raise LedgerError(f"job {min(others)} is no pending job of run {run_id}; its price stays")
    if amounts:
        connection.execute(
            table.update()
            .where(table.c.job_id == bindparam("wanted"))
            .values(expected_nano=bindparam("expected"), maximum_nano=bindparam("maximum")),
            [
                {"wanted": job_id, "expected": expected_nano, "maximum": maximum_nano}
                for job_id, (expected_nano, maximum_nano) in amounts.items()
            ],
        )
    runs = schema.run
    connection.execute(runs.update().where(runs.c.run_id == run_id).values(prices=prices))
