"""What was told about runs: each thing once, whichever process tells it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from sqlalchemy import ColumnElement, func, select

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


STOPPED = "run.stopped"


@write()
def note_stop(tx: Transaction, run_id: str, part: str, why: str) -> None:
    """Keep why a process stopped before its part was done (`part` is "" for a whole run)."""
    forget_stop(tx, run_id, part)
    tx.execute(schema.announcement.insert(), {"key": _stop_key(run_id, part) + why, "at_ms": tx.at_ms})


@write()
def forget_stop(tx: Transaction, run_id: str, part: str | None = None) -> None:
    """Forget why a part was stopped, because it goes on; without `part`, every part of the run."""
    tx.execute(schema.announcement.delete().where(_begins(_stop_key(run_id, part))))


@read()
def stops(tx: Transaction) -> Mapping[str, str]:
    """Return why runs were stopped that nobody has gone on with since: the latest reason of each."""
    table = schema.announcement
    query = select(table.c.key).where(_begins(f"{STOPPED} ")).order_by(table.c.at_ms, table.c.key)
    found: dict[str, str] = {}
    for key in tx.execute(query).scalars():
        name, _, why = key.partition(": ")
        found[name.split(" ")[1]] = why
    return found


def _stop_key(run_id: str, part: str | None = None) -> str:
    """Return how the keys of stops begin: `run.stopped RUN PART: `, and the reason follows."""
    return f"{STOPPED} {run_id} " + ("" if part is None else f"{part}: ")


def _begins(prefix: str) -> ColumnElement[bool]:
    return func.substr(schema.announcement.c.key, 1, len(prefix)) == prefix


UNCLAIMED = "submission.unclaimed"


@write(fenced=False)
def note_unclaimed(tx: Transaction, job_id: int, attempt: int, request_id: str) -> None:
    """Keep that fal has a request of an attempt that was given up. True whoever owns the run by now."""
    announce(tx, [f"{UNCLAIMED} {job_id} {attempt} {request_id}"])


@read()
def unclaimed(tx: Transaction) -> list[tuple[int, int, str]]:
    """Return such requests: the job, the number of the attempt, and fal's request id."""
    table = schema.announcement
    keys = tx.execute(select(table.c.key).where(_begins(f"{UNCLAIMED} ")).order_by(table.c.at_ms)).scalars()
    found = (key.split(" ") for key in keys)
    return [(int(job_id), int(attempt), request_id) for _, job_id, attempt, request_id in found]


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
