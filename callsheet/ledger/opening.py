"""Runs: opened whole, asked to stop, closed, opened again."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict

from sqlalchemy import Connection, select

from callsheet.errors import UsageError
from callsheet.ledger import queries, schema
from callsheet.ledger.caps import set_cap
from callsheet.ledger.records import NewCap, NewJob, NewRun


def open_run(
    connection: Connection, run: NewRun, jobs: Iterable[NewJob], caps: Iterable[NewCap], at_ms: int
) -> None:
    """Write a run, its jobs in order, and its caps. Raises UsageError for a run id that exists."""
    table = schema.run
    if connection.execute(select(table.c.run_id).where(table.c.run_id == run.run_id)).first():
        raise UsageError(f"run {run.run_id} exists already; go on with `callsheet resume {run.run_id}`")
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


def mark(connection: Connection, run_id: str, **columns: int | None) -> None:
    """Set a run's times. Raises UsageError for an unknown run, naming the nearest."""
    queries.run(connection, run_id)
    table = schema.run
    connection.execute(table.update().where(table.c.run_id == run_id).values(**columns))
