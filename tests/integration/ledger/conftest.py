"""Real ledgers, on SQLite and on PostgreSQL, with the same tests for both."""

import itertools
import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa

from callsheet.ledger import (
    HOLDS_SLOT,
    Event,
    JobRow,
    Ledger,
    NewFinish,
    NewJob,
    NewRun,
    Output,
    Settlement,
    State,
    admission,
    finishing,
    queries,
    recovery,
    runs,
    settlement,
    transitions,
    verify,
)
from callsheet.ledger.schema import metadata
from callsheet.ticket import Ticket

SERVERS = ("postgresql:///root?host=/var/run/postgresql", "postgresql://127.0.0.1/postgres")
NOON_MS = 1_795_262_400_000
"""2026-11-21 12:00:00 UTC."""

ENDPOINT = "fal-ai/bytedance/seedance/v1/pro/fast/text-to-video"
HOLD_NANO = 100
COST_NANO = 90

FILE = Output(
    path="media/a.mp4",
    url="https://v3.fal.media/a.mp4",
    sha256="ab" * 32,
    bytes=1000,
    width_px=1280,
    height_px=720,
    fps=24.0,
    duration_s=5.0,
    has_audio=False,
)

PATHS: dict[State, tuple[Event, ...]] = {
    State.PENDING: (),
    State.HELD: (Event.ADMIT,),
    State.SUBMITTING: (Event.ADMIT, Event.SEND),
    State.UNKNOWN: (Event.ADMIT, Event.SEND, Event.LOSE),
    State.IN_QUEUE: (Event.ADMIT, Event.SEND, Event.ACCEPT),
    State.IN_PROGRESS: (Event.ADMIT, Event.SEND, Event.ACCEPT, Event.START),
    State.RENDERED: (Event.ADMIT, Event.SEND, Event.ACCEPT, Event.START, Event.RENDER),
    State.SUCCEEDED: (Event.ADMIT, Event.SEND, Event.ACCEPT, Event.RENDER, Event.SETTLE, Event.COLLECT),
    State.FAILED: (Event.ADMIT, Event.SEND, Event.REFUSE),
    State.CANCELLED: (Event.CANCEL,),
    State.SKIPPED_BUDGET: (Event.SKIP,),
    State.ALREADY_MADE: (Event.REUSE,),
}
"""A shortest way into every state."""


@dataclass
class FakeClock:
    """Stands still until it is told otherwise."""

    now_ms: int = NOON_MS

    def __call__(self) -> int:
        return self.now_ms


def new_job(number: int = 0, **changes: Any) -> NewJob:
    """An everyday job: a draft, to which everything can happen."""
    given = {
        "row": number + 2,
        "custom_id": f"shot-{number}",
        "endpoint": ENDPOINT,
        "model": "seedance-1.0-pro-fast",
        "fingerprint": f"print-{number}",
        "payload": "{}",
        "expected_nano": COST_NANO,
        "maximum_nano": HOLD_NANO,
        "client": "acme",
        "render_kind": "a kind",
        "draft": True,
    }
    return NewJob(**{**given, **changes})


def new_finish(job_id: int, **changes: Any) -> NewFinish:
    """The full-size version of a draft, at three times its price."""
    given = {
        "job_id": job_id,
        "endpoint": "bytedance/seedance-2.5/draft/complete",
        "payload": "{}",
        "output_name": f"shot-{job_id}-1080p",
        "render_kind": "another kind",
        "expected_nano": 3 * COST_NANO,
        "maximum_nano": 3 * HOLD_NANO,
    }
    return NewFinish(**{**given, **changes})


@dataclass
class Desk:
    """An open ledger, and a person who knows which verb does what."""

    url: str
    clock: FakeClock = field(default_factory=FakeClock)
    numbers: Iterator[int] = field(default_factory=itertools.count)

    def __post_init__(self) -> None:
        self.ledger = Ledger.open(self.url, clock=self.clock)

    def reopen(self) -> Ledger:
        self.ledger.close()
        self.ledger = Ledger.open(self.url, clock=self.clock)
        return self.ledger

    def run(
        self, jobs: int = 1, *, run_id: str = "", campaign: str = "spring", caps: Any = (), **changes: Any
    ) -> list[int]:
        """Open a run of equal jobs; return their ids."""
        name = run_id or f"run-{next(self.numbers)}"
        new = NewRun(run_id=name, campaign=campaign, plan_hash="h", price_book="2026-11", out="/runs/x")
        self.ledger.do(runs.open_run, new, [new_job(number, **changes) for number in range(jobs)], caps)
        return [row.job_id for row in self.ledger.do(queries.jobs, name)]

    def do(self, event: Event, job_id: int) -> Any:
        """Let one event happen, with everyday particulars."""
        return VERBS[event](self.ledger, job_id, self)

    def bring(self, job_id: int, state: State, *, settled: bool = False) -> JobRow:
        """Take a pending job into `state`."""
        for event in PATHS[state]:
            self.do(event, job_id)
        if settled:
            self.do(Event.SETTLE, job_id)
        return self.ledger.do(queries.job, job_id)

    def made_before(self) -> int:
        """Return a job that has a video, whose money is on another campaign's account."""
        (job_id,) = self.run(campaign="earlier", client="", model="another")
        self.bring(job_id, State.SUCCEEDED)
        return job_id

    def ticket(self) -> Ticket:
        name = f"request-{next(self.numbers)}"
        return Ticket(
            name, ENDPOINT, f"https://q/{name}/status", f"https://q/{name}", f"https://q/{name}/cancel"
        )

    def account(self, scope: Any = "campaign", key: str = "spring", window: str = "total") -> Any:
        """Return one account's (held, spent)."""
        found = [
            a for a in self.ledger.do(admission.balances, scope=scope, key=key) if a.ref.window == window
        ]
        return (found[0].held_nano, found[0].spent_nano) if found else (0, 0)

    def slots(self) -> int:
        """Count the taken slots by hand."""
        return len(self.ledger.do(queries.open_jobs, states=HOLDS_SLOT))

    def dump(self) -> dict[str, list[tuple[Any, ...]]]:
        """Return every row of every table."""
        with self.ledger._read() as connection:
            tables = sorted(sa.inspect(connection).get_table_names())
            read = (connection.exec_driver_sql(f'SELECT * FROM "{table}"') for table in tables)
            return {
                t: sorted((tuple(row) for row in rows), key=str) for t, rows in zip(tables, read, strict=True)
            }

    def sql(self, statement: str) -> None:
        """Do to the database what the ledger would not do."""
        with self.ledger._write() as connection:
            connection.exec_driver_sql(statement)


def everyday_settlement(cost_nano: int = COST_NANO) -> Settlement:
    """What fal says about an everyday render."""
    return Settlement(
        cost_nano=cost_nano,
        cost_basis="billable_units",
        billable_units="0.9",
        seed_used=7,
        result_json='{"a": 1}',
    )


VERBS: dict[Event, Callable[[Ledger, int, Desk], Any]] = {
    Event.ADMIT: lambda ledger, job, _: ledger.do(admission.admit, job, slots=1000),
    Event.SEND: lambda ledger, job, _: ledger.do(transitions.send, job, arguments_sha256="cd" * 32, seed=7),
    Event.ACCEPT: lambda ledger, job, desk: ledger.do(transitions.accept, job, desk.ticket()),
    Event.NOT_SENT: lambda ledger, job, _: ledger.do(transitions.not_sent, job, why="no route"),
    Event.RELEASE: lambda ledger, job, _: ledger.do(settlement.release, job, why="stopped"),
    Event.REFUSE: lambda ledger, job, _: ledger.do(
        settlement.refuse, job, charged="no", error_type="bad", error="no"
    ),
    Event.FAIL_INPUTS: lambda ledger, job, _: ledger.do(
        settlement.fail_inputs, job, error_type="inputs", error="gone"
    ),
    Event.LOSE: lambda ledger, job, _: ledger.do(transitions.lose, job, why="reset", lead_request_id="lead"),
    Event.FIND: lambda ledger, job, desk: ledger.do(transitions.find, job, desk.ticket()),
    Event.DECLARE_ABSENT: lambda ledger, job, _: ledger.do(
        settlement.declare_absent, job, why="not in history"
    ),
    Event.MISNAME: lambda ledger, job, _: ledger.do(transitions.misname, job, why="not ours"),
    Event.WRITE_OFF: lambda ledger, job, _: ledger.do(settlement.write_off, job, why="ada: enough"),
    Event.START: lambda ledger, job, _: ledger.do(transitions.start, job),
    Event.RENDER: lambda ledger, job, _: ledger.do(transitions.render, job),
    Event.SETTLE: lambda ledger, job, _: ledger.do(settlement.settle, job, everyday_settlement()),
    Event.FAIL_RENDER: lambda ledger, job, _: ledger.do(
        settlement.fail_render, job, charged="no", error="500"
    ),
    Event.COLLECT: lambda ledger, job, _: ledger.do(transitions.collect, job, FILE),
    Event.FAIL_MEDIA: lambda ledger, job, _: ledger.do(
        transitions.fail_media, job, error_type="truncated", error="cut"
    ),
    Event.TAKE_UP: lambda ledger, job, _: ledger.do(recovery.take_up, job, why="fal has it"),
    Event.CANCEL: lambda ledger, job, _: ledger.do(settlement.cancel, job, why="not wanted"),
    Event.RETRY: lambda ledger, job, _: ledger.do(recovery.retry, [job], why="again"),
    Event.SKIP: lambda ledger, job, _: ledger.do(transitions.skip, [job], why="no money"),
    Event.FINISH: lambda ledger, job, _: ledger.do(
        finishing.finish, ledger.do(queries.job, job).run_id, [new_finish(job)]
    ),
    Event.REUSE: lambda ledger, job, desk: ledger.do(transitions.reuse, {job: desk.made_before()}),
}


def end_sessions(server: str, application_name: str) -> None:
    """Let the server end every session of this name."""
    with psycopg.connect(server, autocommit=True) as admin:
        mine = "FROM pg_stat_activity WHERE application_name = %s"
        ended = admin.execute(f"SELECT pg_terminate_backend(pid, 5000) {mine}", [application_name]).fetchall()
    assert ended
    assert all(done for (done,) in ended)


def server_url() -> str:
    """Return a PostgreSQL server that answers. Skips loudly without one; in CI that is a failure."""
    named = os.environ.get("CALLSHEET_TEST_POSTGRES_URL")
    tried = []
    for url in (named,) if named else SERVERS:
        try:
            psycopg.connect(url, connect_timeout=3).close()
        except psycopg.OperationalError as error:
            tried.append(str(error))
        else:
            return url
    said = f"no PostgreSQL server answers; set CALLSHEET_TEST_POSTGRES_URL ({'; '.join(tried)})"
    if os.environ.get("CI") == "true":
        pytest.fail(said)
    pytest.skip(said)


@pytest.fixture(scope="session")
def server() -> str:
    """A PostgreSQL server."""
    return server_url()


@contextmanager
def empty_schema(server: str) -> Iterator[str]:
    """A schema of its own on a real server, dropped afterwards; gives the URL of the ledger in it."""
    name = f"ledger_test_{os.getpid()}_{secrets.token_hex(4)}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"CREATE SCHEMA {name}")
    try:
        yield f"{server}{'&' if '?' in server else '?'}options=-csearch_path%3D{name}"
    finally:
        with psycopg.connect(server, autocommit=True) as connection:
            connection.execute("SET client_min_messages = error")
            connection.execute(f"DROP SCHEMA {name} CASCADE")


@pytest.fixture
def empty_schema_url(server: str) -> Iterator[str]:
    """A place on PostgreSQL where there is no ledger yet."""
    with empty_schema(server) as url:
        yield url


@pytest.fixture(scope="session")
def shared_schema_url(server: str) -> Iterator[str]:
    """One ledger on the server for all the tests of this process."""
    with empty_schema(server) as url:
        Ledger.open(url).close()
        yield url


@pytest.fixture
def postgres_url(shared_schema_url: str) -> str:
    """A ledger on PostgreSQL that is as good as new."""
    empty(shared_schema_url)
    return shared_schema_url


def empty(url: str) -> None:
    """Make a ledger on PostgreSQL as good as new."""
    with psycopg.connect(url) as connection:
        connection.execute("SET session_replication_role = replica")  # past the triggers of the journals
        for table in metadata.sorted_tables:  # one by one: to TRUNCATE would be twenty times slower
            if table.name != "ledger_head":
                connection.execute(f'DELETE FROM "{table.name}"')
        connection.execute("UPDATE ledger_head SET entries = 0, head = ''")


@pytest.fixture(scope="session")
def blank_ledger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new SQLite ledger."""
    path = tmp_path_factory.mktemp("blank") / "ledger.sqlite"
    Ledger.open(f"sqlite:///{path}").close()
    return path


@pytest.fixture
def sqlite_url(blank_ledger: Path) -> Iterator[str]:
    """A file of its own in a private folder, in memory where the system has such a file system."""
    memory = Path("/dev/shm")
    with TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        path = Path(folder) / "ledger.sqlite"
        shutil.copy(blank_ledger, path)
        yield f"sqlite:///{path}"


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def ledger_url(request: pytest.FixtureRequest) -> str:
    """A place for an empty ledger, on each of the two databases."""
    url: str = request.getfixturevalue(f"{request.param}_url")
    return url


@pytest.fixture
def desk(ledger_url: str) -> Iterator[Desk]:
    """An open ledger that must be sound when the test is over."""
    desk = Desk(ledger_url)
    yield desk
    broken = desk.ledger.do(verify.verify)
    desk.ledger.close()
    assert broken == []


@pytest.fixture
def open_desk() -> Iterator[Callable[[str], Desk]]:
    """Open desks by URL; they are closed, and may be unsound, when the test is over."""
    desks: list[Desk] = []

    def opened(url: str) -> Desk:
        desks.append(Desk(url))
        return desks[-1]

    yield opened
    for desk in desks:
        desk.ledger.close()
