"""Owners that vanish, servers that restart, pools that hand out other sessions: nothing is lost."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import psycopg
import pytest
import sqlalchemy as sa

from callsheet.errors import Busy, ClaimLost, LedgerError, LedgerUnavailable
from callsheet.ledger import (
    Event,
    Ledger,
    State,
    activity,
    admission,
    database,
    locks,
    queries,
    recovery,
    transitions,
    verify,
)
from tests.integration.ledger.conftest import Desk
from tests.rig.processes import until
from tests.rig.servers import Cluster, cluster, pgbouncer

postgres = pytest.mark.postgres

OWNER = """
import sys
from callsheet.ledger import Ledger, admission, locks, transitions

locks.LEASE_S, locks.RENEW_S = float(sys.argv[3]), 0.05
ledger = Ledger.open(sys.argv[1])
with ledger.claim("r"):
    held, submitting = map(int, sys.argv[2].split(","))
    ledger.do(admission.admit, held, slots=10)
    ledger.do(admission.admit, submitting, slots=10)
    ledger.do(transitions.send, submitting, arguments_sha256="x")
    print("owned", flush=True)
    sys.stdin.readline()
"""


@contextmanager
def owner(url: str, jobs: list[int], *, lease_s: float) -> Iterator["subprocess.Popen[str]"]:
    """A process that owns run `r`, holds its first job and is about to send the second."""
    command = [sys.executable, "-c", OWNER, url, ",".join(map(str, jobs)), str(lease_s)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "owned\n"
        yield process
    finally:
        process.kill()
        process.communicate()


def claim_as_soon_as_possible(desk: Desk, owned: ExitStack) -> None:
    """Claim run `r` once its owner counts as dead."""
    while True:
        try:
            owned.enter_context(desk.ledger.claim("r"))
        except Busy:
            time.sleep(0.02)
        else:
            return


@postgres
def test_an_owner_that_vanishes_without_a_word_is_known_when_its_lease_ends(
    postgres_url: str, open_desk
) -> None:
    """Its machine stands still: its sessions stay open on the server, and nobody says goodbye for it."""
    desk = open_desk(postgres_url)
    jobs = desk.run(2, run_id="r")
    with owner(postgres_url, jobs, lease_s=1.0) as process, ExitStack() as owned:
        with pytest.raises(Busy, match=rf"process {process.pid}\)"), desk.ledger.claim("r"):
            pass
        os.kill(process.pid, signal.SIGSTOP)
        claim_as_soon_as_possible(desk, owned)
        found = desk.ledger.do(recovery.recover, "r")
    assert (found.released, found.unknown) == (1, 1)
    states = [desk.ledger.do(queries.job, job).state for job in jobs]
    assert states == [State.PENDING, State.UNKNOWN]  # what may have been sent is never pending


def test_a_process_that_is_killed_on_this_machine_is_known_at_once(desk, ledger_url: str) -> None:
    """Nobody waits for the lease of a process that is provably gone."""
    jobs = desk.run(2, run_id="r")
    with owner(ledger_url, jobs, lease_s=3600.0) as process, ExitStack() as owned:
        process.kill()
        process.wait()
        claim_as_soon_as_possible(desk, owned)
        assert desk.ledger.do(recovery.recover, "r").unknown == 1


@postgres
def test_a_dead_owner_is_known_within_half_a_minute(postgres_url: str, open_desk) -> None:
    """A lease ends by the server's clock, soon, and later than a POST may leave after its intent."""
    desk = open_desk(postgres_url)
    desk.run(run_id="r")
    with desk.ledger.claim("r"), psycopg.connect(postgres_url) as connection:
        query = (
            "SELECT expires_ms - claimed_ms, abs(claimed_ms - extract(epoch FROM now()) * 1000) FROM claim"
        )
        row = connection.execute(query).fetchone()
    assert row is not None
    assert 15_000 < row[0] <= 30_000
    assert row[1] < 600_000


@postgres
def test_an_owner_that_works_keeps_its_lease(postgres_url: str, open_desk, monkeypatch) -> None:
    """Also while it calls no verb: a thread extends it, long before it ends."""
    assert locks.RENEW_S * 4 < locks.LEASE_S
    monkeypatch.setattr(locks, "RENEW_S", 0.01)
    desk = open_desk(postgres_url)
    desk.run(run_id="r")
    with desk.ledger.claim("r"), psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("UPDATE claim SET expires_ms = 1")
        while connection.execute("SELECT expires_ms FROM claim").fetchone() == (1,):
            continue
        with pytest.raises(Busy), open_desk(postgres_url).ledger.claim("r"):
            pass


@postgres
def test_a_lease_that_is_given_back_can_be_taken_at_once(postgres_url: str, open_desk) -> None:
    """One owner after the other; each raises the fencing token."""
    first, second = open_desk(postgres_url), open_desk(postgres_url)
    for desk in (first, second, first):
        with desk.ledger.claim("r"):
            pass
    assert first.dump()["claim"][0][2] == 3


@postgres
def test_a_lease_that_was_given_back_is_not_extended(postgres_url: str, open_desk) -> None:
    """The thread that extends leases may still have it in hand; the next owner does not wait for its end."""
    open_desk(postgres_url).run(run_id="r")
    engine = sa.create_engine(sa.make_url(postgres_url).set(drivername="postgresql+psycopg"))
    first, second = locks.Claims(engine), locks.Claims(engine)
    with engine.connect() as connection:
        mine = first.take(connection, "r", locks.WHOLE, 1)
        with first.holding(mine):
            first.give_back(connection, mine)
            with pytest.raises(ClaimLost):
                first.extend(connection)
        assert second.take(connection, "r", locks.WHOLE, 1).tokens == {locks.WHOLE: 2}
    engine.dispose()


# -- who owns what -------------------------------------------------------------------------------------------


def test_runs_with_open_work_say_whose_they_are(desk, ledger_url: str) -> None:
    """A run that waits for slots can say who holds them, and a living run finds what a dead one left."""
    jobs = desk.run(3, run_id="r")
    assert desk.ledger.do(activity.open_work) == []
    with owner(ledger_url, jobs[:2], lease_s=3600.0) as process:
        (work,) = desk.ledger.do(activity.open_work)
        assert (work.run_id, work.campaign, work.slots, work.open_jobs) == ("r", "spring", 2, 2)
        assert (work.alive, work.owner.pid, work.owner.host) == (True, process.pid, os.uname().nodename)
        process.kill()
        process.wait()
        # PostgreSQL hears of the end a moment later.
        until(lambda: not desk.ledger.do(activity.open_work)[0].alive)
        (work,) = desk.ledger.do(activity.open_work)
        assert (work.alive, work.slots) == (False, 2)
    desk.ledger.do(recovery.recover, "r")
    assert [each.slots for each in desk.ledger.do(activity.open_work)] == [1]
    with desk.ledger.claim("r"):
        assert [each.alive for each in desk.ledger.do(activity.open_work)] == [True]


def test_unfinished_runs_are_those_that_nobody_closed(desk) -> None:
    """Of one campaign, oldest first: the next night takes them up."""
    for name, campaign in (("a", "spring"), ("b", "spring"), ("c", "autumn")):
        desk.run(run_id=name, campaign=campaign)
    assert [run.run_id for run in desk.ledger.do(queries.unfinished, "spring")] == ["a", "b"]


def test_a_submission_knows_the_account_and_the_queue_it_was_sent_to(desk) -> None:
    """Another account's 404 about it proves nothing."""
    (job,) = desk.run()
    desk.do(Event.ADMIT, job)
    sent = {"account": "5a1e", "queue_url": "https://queue.fal.run"}
    desk.ledger.do(transitions.send, job, arguments_sha256="x", **sent)
    submission = desk.ledger.do(queries.job, job).submission
    assert (submission.account, submission.queue_url) == ("5a1e", "https://queue.fal.run")


@postgres
def test_times_are_the_servers_and_not_this_machines(postgres_url: str, monkeypatch) -> None:
    """The day of a daily cap is the same for every machine, whatever its clock says."""
    monkeypatch.setattr(database, "wall_clock_ms", lambda: 0)
    with Ledger.open(postgres_url) as ledger, psycopg.connect(postgres_url) as connection:
        desk = Desk(postgres_url)
        (job,) = desk.run()
        desk.ledger.close()
        before = connection.execute("SELECT to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-DD')").fetchone()
        ledger.do(admission.admit, job, slots=1)
        after = connection.execute(
            "SELECT to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD')"
        ).fetchone()
        days = {account.ref.window for account in ledger.do(admission.balances, scope="campaign")}
    assert before is not None
    assert after is not None
    assert days & {before[0], after[0]}


# -- servers that go away ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def own_server() -> Iterator[Cluster]:
    """A server that this module's tests may stop."""
    with cluster() as server:
        yield server


@pytest.fixture
def restartable(own_server: Cluster) -> Cluster:
    """That server with an empty database."""
    with psycopg.connect(own_server.url, autocommit=True) as connection:
        connection.execute("SET client_min_messages = error")
        connection.execute("DROP SCHEMA public CASCADE")
        connection.execute("CREATE SCHEMA public")
    return own_server


@postgres
def test_a_server_that_restarts_is_waited_for_and_the_owner_goes_on(restartable: Cluster, open_desk) -> None:
    """While it is away every verb says so, and nothing else; afterwards the claim still holds."""
    desk = open_desk(restartable.url)
    before, meanwhile, after = desk.run(3, run_id="r")
    with desk.ledger.claim("r"):
        desk.bring(before, State.IN_QUEUE)
        restartable.stop()
        for ask in (
            lambda: desk.do(Event.ADMIT, meanwhile),
            lambda: desk.ledger.do(queries.job, before),
            desk.ledger.renew,
        ):
            with pytest.raises(LedgerUnavailable, match="cannot be reached"):
                ask()
        restartable.start()
        desk.ledger.renew()
        desk.do(Event.RENDER, before)
        desk.bring(after, State.SUBMITTING)
    assert desk.ledger.do(verify.verify) == []
    with open_desk(restartable.url).ledger.claim("r"):
        pass


@postgres
def test_who_was_taken_over_during_an_outage_is_told_so(restartable: Cluster, open_desk) -> None:
    """The fencing token does not hold any more: it is no outage that waiting would end."""
    desk, other = open_desk(restartable.url), open_desk(restartable.url)
    (job,) = desk.run(run_id="r")
    with desk.ledger.claim("r"):
        restartable.stop()
        restartable.start()
        other.sql("UPDATE claim SET expires_ms = 0")
        with other.ledger.claim("r"):
            with pytest.raises(ClaimLost):
                desk.ledger.renew()
            with pytest.raises(ClaimLost):
                desk.do(Event.ADMIT, job)


@postgres
def test_a_transaction_that_the_server_breaks_off_says_that_it_was_away(
    restartable: Cluster, open_desk
) -> None:
    """In the middle of a write, and of several that share a commit: nothing of them has happened."""
    desk = open_desk(restartable.url)
    first, second = desk.run(2)

    def together() -> None:
        with desk.ledger.together():
            desk.do(Event.ADMIT, first)
            restartable.stop()
            desk.do(Event.ADMIT, second)

    with pytest.raises(LedgerUnavailable):
        together()
    restartable.start()
    assert desk.slots() == 0


@postgres
def test_a_wrong_statement_is_no_outage(postgres_url: str, open_desk) -> None:
    """What would fail again is not waited for."""
    desk = open_desk(postgres_url)
    with pytest.raises(Exception, match="did not do it") as caught:
        desk.sql("SELECT nonsense")
    assert not isinstance(caught.value, LedgerUnavailable)


@postgres
def test_transaction_pooling_changes_nothing(restartable: Cluster, open_desk) -> None:
    """Behind pgbouncer each transaction may be another session's: claims hold, and nothing stays behind."""
    with pgbouncer(restartable) as url:
        desk, other = open_desk(url), open_desk(url)
        jobs = desk.run(4, run_id="r")
        sessions = set()
        with desk.ledger.claim("r"), psycopg.connect(url) as busy:
            for number, job in enumerate(jobs):
                if number % 2:  # somebody else's transaction keeps one of the two sessions
                    busy.execute("SELECT 1")
                else:
                    busy.commit()
                desk.bring(job, State.SUCCEEDED)
                with desk.ledger._read() as connection:
                    sessions.add(connection.execute(sa.text("SELECT pg_backend_pid()")).scalar_one())
                with pytest.raises(Busy), other.ledger.claim("r"):
                    pass
            assert desk.ledger.do(verify.verify) == []
        with other.ledger.claim("r"):
            assert [row.state for row in other.ledger.do(queries.jobs, "r")] == [State.SUCCEEDED] * 4
    assert len(sessions) > 1


@postgres
def test_statement_pooling_is_refused_at_the_start(restartable: Cluster) -> None:
    """Behind pgbouncer in statement mode there are no transactions: no ledger is opened, and nobody waits."""
    with (
        pgbouncer(restartable, mode="statement") as url,
        pytest.raises(LedgerError, match="statement pooling mode") as caught,
    ):
        Ledger.open(url)
    assert not isinstance(caught.value, LedgerUnavailable)


@postgres
def test_what_is_only_read_goes_by_the_servers_clock(postgres_url: str, monkeypatch) -> None:
    """The day of a daily cap is the database's also for a plan, on a machine whose clock is wrong."""
    monkeypatch.setattr(database, "wall_clock_ms", lambda: 0)
    with Ledger.open(postgres_url) as ledger:
        assert ledger.do(queries.now_ms) > 1_700_000_000_000
