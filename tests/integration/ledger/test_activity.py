"""What a ledger says of all its runs, on both databases."""

import os

from callsheet.ledger import State, activity, parts, queries
from callsheet.ledger.activity import KEEPER


def test_the_runs_of_a_ledger_with_who_works_on_them(desk) -> None:
    """Jobs, money and owner; alive by the lease or by the lock, until the claim is given back."""
    (job_id,) = desk.run()
    run_id = desk.bring(job_id, State.UNKNOWN).run_id
    (before,) = desk.ledger.do(activity.overview)
    assert (before.state, before.alive, before.owner, before.count(State.UNKNOWN)) == ("idle", False, None, 1)
    with desk.ledger.claim(run_id):
        (mine,) = desk.ledger.do(activity.overview, campaign=before.run.campaign)
        assert (mine.state, mine.owner.pid, mine.tally.held_nano > 0) == ("running", os.getpid(), True)
    assert desk.ledger.do(activity.overview)[0].state == "idle"
    assert desk.ledger.do(activity.overview, campaign="another") == []


def test_a_part_that_is_kept_for_a_process_is_owned_by_none_yet(desk) -> None:
    """Its reservation is no owner: the living process is named, and without one nobody is."""
    run_id = desk.ledger.do(queries.job, desk.run()[0]).run_id
    desk.ledger.do(parts.reserve, run_id, "0-9", for_ms=60_000)
    (before,) = desk.ledger.do(activity.overview)
    assert (before.owner, before.alive, before.reserved) == (None, False, True)
    assert desk.ledger.do(activity.hosts, since_ms=0) == []
    desk.ledger.do(parts.release, run_id, "0-9")
    assert not desk.ledger.do(activity.overview)[0].reserved
    with desk.ledger.claim(run_id, part=parts.COORDINATOR):
        desk.clock.now_ms += 1000
        desk.ledger.do(parts.reserve, run_id, "10-19", for_ms=60_000)
        (mine,) = desk.ledger.do(activity.overview)
        assert (mine.owner.pid, mine.alive) == (os.getpid(), True)


def test_what_is_under_way_with_the_oldest_unknown(desk) -> None:
    """It is counted from when its POST left; a keeper leaves a trace that is no run."""
    (job_id,) = desk.run()
    run_id = desk.bring(job_id, State.UNKNOWN).run_id
    sent_ms = desk.clock.now_ms
    desk.clock.now_ms += 60_000
    assert desk.ledger.do(activity.keeper_seen) is None
    with desk.ledger.claim(KEEPER):
        pass
    now = desk.ledger.do(activity.activity)
    assert now.keeper_ms == desk.ledger.do(activity.keeper_seen).since_ms  # on a server, by its own clock
    assert (now.slots_taken, now.unknown, now.oldest_unknown_ms) == (1, 1, sent_ms)
    assert now.unfinished == (run_id,)
    assert {each.ref.scope for each in now.accounts} >= {"ledger", "campaign", "client", "model"}
    assert len(desk.ledger.do(activity.hosts, since_ms=0)) == 1
