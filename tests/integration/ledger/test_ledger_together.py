"""Verbs that share a commit: each whole or not at all, all of them or none, on both databases."""

import threading

import pytest

from callsheet.errors import CapReached, LedgerError
from callsheet.ledger import Event, Ledger, NewCap, State


def test_a_verb_that_raises_changes_nothing_and_the_others_stay(desk) -> None:
    """The third job does not fit the cap; the two before it and a verb after it do."""
    jobs = desk.run(3, caps=[NewCap(scope="run", key="run-0", limit_nano=250)])
    with desk.ledger.together():
        desk.do(Event.ADMIT, jobs[0])
        desk.do(Event.ADMIT, jobs[1])
        with pytest.raises(CapReached):
            desk.do(Event.ADMIT, jobs[2])
        desk.do(Event.SEND, jobs[0])
    states = [desk.ledger.job(job).state for job in jobs]
    assert states == [State.SUBMITTING, State.HELD, State.PENDING]
    assert (desk.account(), desk.slots()) == ((200, 0), 2)
    assert not desk.ledger.verify()


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
    assert [desk.ledger.job(job).state for job in (first, second)] == [State.SUBMITTING, State.PENDING]


def test_nobody_else_sees_any_of_it_before_the_commit(desk) -> None:
    """Another thread of the same process reads what is on disk."""
    (job,) = desk.run()
    seen: list[State] = []

    def look() -> None:
        with Ledger.open(desk.url, clock=desk.clock) as other:
            seen.append(other.job(job).state)
        seen.append(desk.ledger.job(job).state)

    with desk.ledger.together():
        desk.do(Event.ADMIT, job)
        thread = threading.Thread(target=look)
        thread.start()
        thread.join()
    assert seen == [State.PENDING, State.PENDING]
    assert desk.ledger.job(job).state is State.HELD
