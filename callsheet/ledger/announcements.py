"""What was told about runs: each thing once, whichever process tells it."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import select

from callsheet.ledger import schema
from callsheet.ledger.states import State
from callsheet.ledger.transaction import Transaction, read, write


@write()
def announce(tx: Transaction, keys: Iterable[str]) -> set[str]:
    """Write down what is about to be told. Returns the keys that nobody has told before."""
    table = schema.announcement
    wanted = set(keys)
    known = set(tx.execute(select(table.c.key).where(table.c.key.in_(wanted))).scalars())
    if fresh := wanted - known:
        tx.execute(table.insert(), [{"key": key, "at_ms": tx.at_ms} for key in sorted(fresh)])
    return fresh


@read()
def owners(tx: Transaction, run_id: str) -> list[tuple[str, str]]:
    """Return the client and model of every group of a run's jobs."""
    job = schema.job
    query = select(job.c.client, job.c.model).where(job.c.run_id == run_id).distinct()
    return [(row.client, row.model) for row in tx.execute(query)]


@read()
def unknown_jobs(tx: Transaction, run_id: str) -> list[tuple[str, int]]:
    """Return the jobs of a run whose outcome is unknown, each with the number of its submission."""
    job = schema.job
    query = select(job.c.custom_id, job.c.submissions).where(
        job.c.run_id == run_id, job.c.state == State.UNKNOWN.value
    )
    return [(row.custom_id, row.submissions) for row in tx.execute(query)]
