"""Whose turn a free slot is, where several campaigns wait for one."""

import pytest

from callsheet.errors import NoSlot
from callsheet.ledger import NewRun, queries, runs, turns
from callsheet.ledger.admission import admit
from callsheet.ledger.turns import SEEN_GOOD_MS, STARVED_MS
from tests.integration.ledger.conftest import Desk, new_job

SLOTS = 10


def campaign(desk: Desk, name: str, *, holds: int = 0, priority: int = 0, share: int = 1) -> list[int]:
    """Open a run of a campaign that holds so many slots; return its jobs that wait."""
    new = NewRun(
        run_id=name,
        campaign=name,
        plan_hash="h",
        price_book="2026-11",
        out="/runs/x",
        priority=priority,
        share=share,
    )
    jobs = [new_job(number, fingerprint=f"{name}-{number}") for number in range(holds + 3)]
    desk.ledger.do(runs.open_run, new, jobs)
    ids = [row.job_id for row in desk.ledger.do(queries.jobs, name)]
    for job_id in ids[:holds]:
        desk.ledger.do(admit, job_id, slots=SLOTS)
    return ids[holds:]


def wait(desk: Desk, name: str, *, slots: int = SLOTS) -> None:
    """Say that a run waits."""
    desk.ledger.do(turns.note_waiting, name, slots=slots)


def gets_one(desk: Desk, job_id: int) -> bool:
    """Whether a job gets a slot now."""
    try:
        desk.ledger.do(admit, job_id, slots=SLOTS)
    except NoSlot:
        return False
    return True


@pytest.mark.parametrize(
    ("ours", "theirs", "first"),
    [
        pytest.param({"holds": 4}, {"holds": 1}, "theirs", id="who holds less"),
        pytest.param({"holds": 4, "share": 5}, {"holds": 1}, "ours", id="in relation to the share"),
        pytest.param({"holds": 4, "priority": 1}, {"holds": 1}, "ours", id="priority goes before"),
        pytest.param({"priority": -1}, {"holds": 6}, "theirs", id="also a lower one"),
        pytest.param({}, {}, "theirs", id="else who has waited longer"),
    ],
)
def test_the_next_slot_goes_by_priority_then_share_then_age(desk, ours, theirs, first) -> None:
    """Both wait, theirs a second longer; where it is not our turn we get none, and they do."""
    mine, others = campaign(desk, "ours", **ours), campaign(desk, "theirs", **theirs)
    wait(desk, "theirs")
    desk.clock.now_ms += 1000
    wait(desk, "ours")
    assert gets_one(desk, mine[0]) is (first == "ours")
    if first == "theirs":
        assert gets_one(desk, others[0])


def test_who_has_waited_for_ten_minutes_goes_before_every_priority(desk) -> None:
    """And no longer once it has got its slot."""
    urgent, patient = campaign(desk, "urgent", priority=9), campaign(desk, "patient")
    wait(desk, "patient")
    for _ in range(STARVED_MS // 5000 + 1):
        desk.clock.now_ms += 5000
        wait(desk, "patient")
    wait(desk, "urgent")
    assert not gets_one(desk, urgent[0])
    assert gets_one(desk, patient[0])
    wait(desk, "patient")
    assert gets_one(desk, urgent[0])


def test_a_waiter_that_died_or_may_take_no_slot_now_blocks_nobody(desk) -> None:
    """Its row is good for six seconds, and only where fewer slots are taken than it may have."""
    mine = campaign(desk, "ours", holds=4)
    campaign(desk, "theirs", priority=9)
    wait(desk, "theirs", slots=4)
    assert gets_one(desk, mine[0])
    wait(desk, "theirs")
    assert not gets_one(desk, mine[1])
    desk.clock.now_ms += SEEN_GOOD_MS
    assert gets_one(desk, mine[1])


def test_runs_of_one_campaign_are_not_told_apart(desk) -> None:
    """Two shards' runs of one campaign take what is free."""
    mine = campaign(desk, "ours", holds=5)
    new = NewRun(run_id="other", campaign="ours", plan_hash="h", price_book="2026-11", out="/runs/x")
    desk.ledger.do(runs.open_run, new, [new_job(0, fingerprint="another")])
    wait(desk, "other")
    assert gets_one(desk, mine[0])
