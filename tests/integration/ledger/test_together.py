"""Verbs that share a commit: each whole or not at all, all of them or none, on both databases."""

import secrets
import threading
from contextlib import suppress
from functools import partial

import pytest
import sqlalchemy as sa

from callsheet.errors import CapReached, LedgerError, LedgerUnavailable
from callsheet.ledger import Event, Ledger, State, queries, verify
from pricing.budgets import Cap
from tests.integration.ledger.conftest import Desk, end_sessions


def test_a_verb_that_raises_changes_nothing_and_the_others_stay(desk) -> None:
    """The third job does not fit the cap; the two before it and a verb after it do."""
    jobs = desk.run(3, caps=[Cap("run", "run-0", "total", 250)])
    with desk.ledger.together():
        desk.do(Event.ADMIT, jobs[0])
        desk.do(Event.ADMIT, jobs[1])
        with pytest.raises(CapReached):
            desk.do(Event.ADMIT, jobs[2])
        desk.do(Event.SEND, jobs[0])
    states = [desk.ledger.do(queries.job, job).state for job in jobs]
    assert states == [State.SUBMITTING, State.HELD, State.PENDING]
    assert (desk.account(), desk.slots()) == ((200, 0), 2)
    assert not desk.ledger.do(verify.verify)


def test_where_the_commit_does_not_come_nothing_has_happened(desk) -> None:
    """An answer before the commit would be a promise that nobody keeps."""
    jobs = desk.run(2)
    before = desk.dump()

    def fail() -> None:
        with desk.ledger.together():
            for job in jobs:
                desk.bring(job, State.SUCCEEDED)
            raise LedgerError("the disk is gone")

    with pytest.raises(LedgerError, match="the disk is gone"):
        fail()
    assert desk.dump() == before


def test_together_within_together_is_one_part_of_it(desk) -> None:
    """Both steps before the POST are one; beside others they stay one."""
    first, second = desk.run(2)

    def stop() -> None:
        with desk.ledger.together():
            desk.do(Event.ADMIT, second)
            raise LedgerError("stopped")

    with desk.ledger.together():
        desk.do(Event.ADMIT, first)
        with pytest.raises(LedgerError, match="stopped"):
            stop()
        desk.do(Event.SEND, first)
    assert [desk.ledger.do(queries.job, job).state for job in (first, second)] == [
        State.SUBMITTING,
        State.PENDING,
    ]


def test_nobody_else_sees_any_of_it_before_the_commit(desk) -> None:
    """Another thread of the same process reads what is on disk."""
    (job,) = desk.run()
    seen: list[State] = []

    def look() -> None:
        with Ledger.open(desk.url, clock=desk.clock) as other:
            seen.append(other.do(queries.job, job).state)
        seen.append(desk.ledger.do(queries.job, job).state)

    with desk.ledger.together():
        desk.do(Event.ADMIT, job)
        thread = threading.Thread(target=look)
        thread.start()
        thread.join()
    assert seen == [State.PENDING, State.PENDING]
    assert desk.ledger.do(queries.job, job).state is State.HELD


def break_off(desk: Desk, job: int) -> None:
    """Let the database end the whole transaction by itself, as after a full disk or a cut off statement."""
    if desk.ledger.folder is not None:
        desk.do(Event.SEND, job)  # see `undoing`
        return
    with desk.ledger._read() as connection:
        connection.exec_driver_sql("SELECT 1 / 0")


def undoing(desk: Desk, job: int) -> None:
    """Let SQLite undo everything at a change of this job; PostgreSQL does so at any mistake in a read."""
    if desk.ledger.folder is not None:
        desk.sql(
            f"CREATE TRIGGER undo BEFORE UPDATE ON job WHEN OLD.job_id = {job} AND OLD.state = 'held' "
            "BEGIN SELECT RAISE(ROLLBACK, 'the disk is full'); END"
        )


@pytest.mark.parametrize("goes_on", [True, False])
def test_what_the_database_undoes_by_itself_is_never_taken_for_done(desk, goes_on) -> None:
    """A POST follows an answer: none is given for what is gone, and nothing is begun after it."""
    first, broken, late = desk.run(3)
    undoing(desk, broken)
    before = desk.dump()

    def work() -> None:
        with desk.ledger.together():
            desk.do(Event.ADMIT, first)
            desk.do(Event.ADMIT, broken)
            with suppress(LedgerError, sa.exc.DBAPIError):
                break_off(desk, broken)
            if goes_on:
                with suppress(LedgerError):
                    desk.do(Event.ADMIT, late)

    with pytest.raises(LedgerError, match="did not do it"):
        work()
    assert desk.dump() == before
    desk.do(Event.ADMIT, late)
    assert desk.ledger.do(queries.job, late).state is State.HELD


def before_a_verb(desk: Desk, job: int, cut) -> None:
    """Lose the connection between two verbs."""
    cut()
    desk.do(Event.ADMIT, job)


def in_a_verb(desk: Desk, _job: int, cut) -> None:
    """Lose it between two statements."""
    with desk.ledger._write() as connection:
        cut()
        connection.exec_driver_sql("SELECT 1")


def at_the_end_of_a_verb(desk: Desk, _job: int, cut) -> None:
    """Lose it after the last statement."""
    with desk.ledger._write():
        cut()


def after_a_refusal(desk: Desk, _job: int, cut) -> None:
    """Lose it before what a verb did can be undone alone."""
    with desk.ledger._write():
        cut()
        raise CapReached("no room")


def in_a_read(desk: Desk, job: int, cut) -> None:
    """Lose it before something is read."""
    cut()
    desk.ledger.do(queries.job, job)


@pytest.mark.postgres
@pytest.mark.parametrize(
    "lose",
    [before_a_verb, in_a_verb, at_the_end_of_a_verb, after_a_refusal, in_a_read],
    ids=lambda f: f.__name__,
)
def test_wherever_the_server_is_lost_the_commit_says_that_it_is_away(
    postgres_url: str, open_desk, server: str, lose
) -> None:
    """Callers wait for a server that is away and go on; any other error ends their jobs."""
    name = f"together_{secrets.token_hex(8)}"
    desk = open_desk(f"{postgres_url}&application_name={name}")
    first, second, late = desk.run(3)
    before = desk.dump()

    def together() -> None:
        with desk.ledger.together():
            desk.do(Event.ADMIT, first)
            with suppress(LedgerError, CapReached):
                lose(desk, second, partial(end_sessions, server, name))
            with suppress(LedgerError):
                desk.do(Event.ADMIT, late)

    with pytest.raises(LedgerUnavailable, match="cannot be reached"):
        together()
    assert desk.dump() == before
