"""Eight processes on one cap, on both databases: never past it, and every entry is in a balance."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg

from callsheet.errors import CapReached
from callsheet.ledger import (
    Ledger,
    NewJob,
    NewRun,
    Settlement,
    State,
    admission,
    history,
    queries,
    runs,
    settlement,
    transitions,
    verify,
)
from callsheet.ticket import Ticket
from pricing.budgets import Cap
from tests.rig.figures import Figure, at_least, none_of
from tests.rig.kills import memory_folder
from tests.rig.processes import apart, spawn, wait

PROCESSES = 8
JOBS_EACH = 25
HOLD_NANO = 100
AFFORDABLE = 121
"""Of 200 jobs. Every fourth is settled at 60 of the 100 nano-dollars held, which makes room for more."""

SERVERS = ("postgresql:///root?host=/var/run/postgresql", "postgresql://127.0.0.1/postgres")


@dataclass(slots=True)
class Crowd:
    """What the rounds came to. `over` counts jobs bought beyond the cap, `short` those it would have held."""

    rounds: int = 0
    bought: int = 0
    over: int = 0
    short: int = 0
    broken: int = 0


def crowd_figures(database: str, *, rounds: int) -> list[Figure]:
    """Return the figures of so many rounds."""
    with memory_folder() as folder:
        crowd = crowd_rounds(database, folder, rounds=rounds)
    part = f"8 processes, {database}"
    return [
        at_least(part, "rounds of 200 jobs on one cap", crowd.rounds, rounds),
        at_least(part, "jobs bought", crowd.bought, rounds * AFFORDABLE),
        none_of(part, "jobs bought past the cap", crowd.over),
        none_of(part, "jobs the cap would have held, not bought", crowd.short),
        none_of(part, "entries that are in no balance, and other breaks", crowd.broken),
    ]


def crowd_rounds(database: str, folder: Path, *, rounds: int, checks_first: bool = False) -> Crowd:
    """Let eight processes loose, so many times. `checks_first` plants the bug that reads, then writes."""
    crowd = Crowd()
    for number in range(rounds):
        with ledger_place(database, folder / f"round-{number}") as url:
            apart(_open, url, checks_first)
            gate, starter = os.pipe()
            pids = [spawn(_buy, url, place, gate, starter, checks_first) for place in range(PROCESSES)]
            os.close(starter)
            os.close(gate)
            ends = [wait(pid) for pid in pids]
            if any(ends):
                raise RuntimeError("a buyer failed; see above")
            result = folder / f"round-{number}.txt"
            apart(_count, url, result)
            bought, over, short, broken = map(int, result.read_text().split())
        crowd.rounds += 1
        crowd.bought += bought
        crowd.over += over
        crowd.short += short
        crowd.broken += broken
    return crowd


def _open(url: str, checks_first: bool) -> None:
    jobs = [
        NewJob(
            row=number,
            custom_id=str(number),
            endpoint="e",
            model="m",
            fingerprint=str(number),
            payload="",
            expected_nano=60,
            maximum_nano=HOLD_NANO,
        )
        for number in range(PROCESSES * JOBS_EACH)
    ]
    cap = Cap("campaign", "c", "total", AFFORDABLE * HOLD_NANO)
    run = NewRun(run_id="r", campaign="c", plan_hash="", price_book="", out="")
    with Ledger.open(url) as ledger:
        ledger.do(runs.open_run, run, jobs, [] if checks_first else [cap])


def _buy(url: str, place: int, gate: int, starter: int, checks_first: bool) -> None:
    os.close(starter)
    with Ledger.open(url) as ledger:
        jobs = [row.job_id for row in ledger.do(queries.jobs, "r")][place::PROCESSES]
        os.read(gate, 1)  # the end of the pipe: everybody begins at once
        for job_id in jobs:
            try:
                if checks_first and _taken(ledger) + HOLD_NANO > AFFORDABLE * HOLD_NANO:
                    continue
                ledger.do(admission.admit, job_id, slots=1_000_000)
            except CapReached:
                continue
            if job_id % 4 == 0:
                ledger.do(transitions.send, job_id, arguments_sha256="x")
                ledger.do(transitions.accept, job_id, Ticket(f"request-{job_id}", "e", "s", "r", "c"))
                ledger.do(transitions.render, job_id)
                ledger.do(
                    settlement.settle,
                    job_id,
                    Settlement(cost_nano=60, cost_basis="expected", result_json="{}"),
                )


def _taken(ledger: Ledger) -> int:
    accounts = ledger.do(admission.balances, scope="campaign", key="c")
    return sum(account.taken_nano for account in accounts if account.ref.window == "total")


def _count(url: str, result: Path) -> None:
    """The oracle: from the jobs' own states, not from the balances that are under test."""
    with Ledger.open(url) as ledger:
        rows = ledger.do(queries.jobs, "r")
        held = sum(row.state is State.HELD for row in rows)
        settled = sum(row.state is State.RENDERED for row in rows)
        taken = held * HOLD_NANO + settled * 60
        over = max(0, -(-(taken - AFFORDABLE * HOLD_NANO) // HOLD_NANO))
        balance = _taken(ledger)
        entries = sum(entry.amount_nano for entry in ledger.stream(history.entries))
        broken = len(ledger.do(verify.verify)) + (not taken == balance == entries)
        # Room that a late settlement made may find nobody left who asks; a whole hold before it may not.
        room = AFFORDABLE * HOLD_NANO - held * HOLD_NANO - settled * HOLD_NANO
        short = max(0, room // HOLD_NANO) if held + settled < len(rows) else 0
    result.write_text(f"{held + settled} {over} {short} {broken}")


@contextmanager
def ledger_place(database: str, folder: Path) -> Iterator[str]:
    """A place for an empty ledger: a file, or a schema of its own on a real server."""
    if database == "sqlite":
        folder.mkdir(parents=True)
        yield f"sqlite:///{folder / 'ledger.sqlite'}"
        return
    server, name = _server(), f"rig_{os.getpid()}_{secrets.token_hex(4)}"
    apart(_execute, server, f"CREATE SCHEMA {name}")
    try:
        yield f"{server}{'&' if '?' in server else '?'}options=-csearch_path%3D{name}"
    finally:
        apart(_execute, server, "SET client_min_messages = error", f"DROP SCHEMA {name} CASCADE")


def has_server() -> bool:
    """Say whether a PostgreSQL server answers."""
    try:
        _server()
    except LookupError:
        return False
    return True


def _server() -> str:
    named = os.environ.get("CALLSHEET_TEST_POSTGRES_URL")
    for url in (named,) if named else SERVERS:
        try:
            psycopg.connect(url, connect_timeout=3).close()
        except psycopg.OperationalError:
            continue
        return url
    raise LookupError("no PostgreSQL server answers; set CALLSHEET_TEST_POSTGRES_URL")


def _execute(server: str, *statements: str) -> None:
    with psycopg.connect(server, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement)
