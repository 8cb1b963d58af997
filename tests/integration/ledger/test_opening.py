"""A large run is written in batches: others get their turn, and nothing of half a run ever counts."""

from typing import Any

import pytest

from callsheet.errors import Busy, LedgerError, RunStopping, UsageError
from callsheet.ledger import NewRun, State, admission, queries, runs
from pricing.budgets import Cap
from tests.integration.ledger.conftest import Desk, new_job


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches of two jobs."""
    monkeypatch.setattr(runs, "BATCH", 2)


def new_run(run_id: str = "large", campaign: str = "spring") -> NewRun:
    """An everyday run."""
    return NewRun(run_id=run_id, campaign=campaign, plan_hash="h", price_book="p", out="/runs/x")


def half_open(desk: Desk, run_id: str = "half") -> None:
    """Leave what a process leaves that dies while it opens a run."""
    desk.ledger.do(runs.reserve, new_run(run_id))
    desk.ledger.do(runs.add_jobs, run_id, 0, [new_job(0), new_job(1)])


def test_a_run_in_batches_is_the_run_that_one_transaction_writes(desk) -> None:
    """The same jobs in the same places, left out and reused alike, and the same caps."""
    earlier = desk.made_before()
    jobs = [new_job(number) for number in range(7)]
    given: dict[str, Any] = {"left": [1, 4], "made": {2: earlier, 6: earlier}}
    caps = [Cap("campaign", "spring", "total", 500)]
    desk.ledger.open_run(new_run(), jobs, caps, **given)
    rows = desk.ledger.do(queries.jobs, "large")
    assert [row.custom_id for row in rows] == [f"shot-{number}" for number in range(7)]
    assert [row.position for row in rows] == list(range(7))
    left = [row.position for row in rows if row.state is State.SKIPPED_BUDGET]
    reused = [row.position for row in rows if row.state is State.ALREADY_MADE]
    assert (left, reused) == ([1, 4], [2, 6])
    assert [cap.limit_nano for cap in desk.ledger.do(admission.caps)] == [500]
    desk.ledger.do(admission.admit, rows[0].job_id, slots=10)


def test_jobs_keep_the_places_they_have_in_the_plan(desk) -> None:
    """Only what is to buy becomes a job; its position is still that of its row in the plan."""
    jobs = [new_job(number, position=number * 10) for number in range(3)]
    desk.ledger.open_run(new_run(), jobs, left=[20])
    rows = desk.ledger.do(queries.jobs, "large")
    assert [row.position for row in rows] == [0, 10, 20]
    assert [row.state for row in rows] == [State.PENDING, State.PENDING, State.SKIPPED_BUDGET]


def test_nothing_is_admitted_before_all_of_it_is_written(desk) -> None:
    """Neither by the opening process nor by another one that finds its jobs."""
    half_open(desk)
    (first, _) = desk.ledger.do(queries.jobs, "half")
    with pytest.raises(RunStopping, match="not opened completely"):
        desk.ledger.do(admission.admit, first.job_id, slots=10)
    with pytest.raises(UsageError, match="never opened completely"):
        desk.ledger.do(runs.reopen_run, "half")


def test_a_run_that_a_dead_process_was_opening_is_discarded_by_the_next_one(desk) -> None:
    """Its jobs count nowhere: they are not in flight, and buying them is not buying twice."""
    half_open(desk)
    desk.ledger.open_run(new_run(), [new_job(number) for number in range(3)], once=True)
    assert desk.ledger.do(queries.run, "half").closed_ms is not None
    (job, *_) = desk.ledger.do(queries.jobs, "large")
    desk.ledger.do(admission.admit, job.job_id, slots=10)


def test_what_was_never_opened_is_neither_paid_for_nor_waits_for_a_budget(desk) -> None:
    """Jobs of a discarded run do not stand for the jobs of another one with the same content."""
    desk.ledger.do(runs.reserve, new_run("half"))
    desk.ledger.do(runs.add_jobs, "half", 0, [new_job(0), new_job(1)], left=[1])
    prints = [row.fingerprint for row in desk.ledger.do(queries.jobs, "half")]
    desk.ledger.discard_unopened("spring")
    assert desk.ledger.do(queries.paid_for, "spring", prints) == {}
    assert desk.ledger.do(queries.waiting_since, "spring") == {}


@pytest.mark.parametrize("count", [1, 5])
def test_no_second_run_of_the_campaign_slips_in_while_one_is_opened(
    desk, ledger_url: str, open_desk, count: int
) -> None:
    """A living process is opening one; a run of another campaign does not mind."""
    other = open_desk(ledger_url)
    with other.ledger.claim("half"):
        half_open(other)
        jobs = [new_job(number) for number in range(10, 10 + count)]
        with pytest.raises(Busy, match="half of this campaign is being opened"):
            desk.ledger.open_run(new_run(), jobs, once=True)
        desk.ledger.open_run(new_run("elsewhere", "autumn"), jobs, once=True)
    assert {run.run_id for run in desk.ledger.do(queries.runs)} == {"half", "elsewhere"}


def test_a_large_run_does_not_buy_what_is_in_flight_or_made(desk) -> None:
    """It is refused as a small one is, and leaves nothing that the next one would trip over."""
    made, _ = desk.run(2, run_id="first")
    desk.bring(made, State.SUCCEEDED)
    for wanted, said in ((range(1, 5), "in flight"), ((0, 7, 8, 9), "has made 1 of these")):
        with pytest.raises(UsageError, match=said):
            desk.ledger.open_run(new_run(f"again-{said[:3]}"), [new_job(n) for n in wanted], once=True)
    desk.ledger.open_run(new_run(), [new_job(number) for number in range(7, 12)], once=True)
    assert desk.ledger.do(queries.tally, "large").jobs == 5


def test_a_job_that_cannot_be_discards_the_whole_run(desk) -> None:
    """The campaign is free again."""
    jobs = [*(new_job(number) for number in range(3)), new_job(3, expected_nano=200)]
    with pytest.raises(LedgerError):
        desk.ledger.open_run(new_run(), jobs)
    desk.ledger.open_run(new_run("next"), jobs[:3], once=True)
    assert desk.ledger.do(queries.tally, "next").jobs == 3


def test_a_run_id_in_use_is_refused(desk) -> None:
    """As for a small run."""
    desk.run(run_id="large")
    with pytest.raises(UsageError, match="exists already"):
        desk.ledger.open_run(new_run(), [new_job(number) for number in range(3)])


@pytest.mark.parametrize(
    ("size", "took_s", "expected"), [(50, 0.01, 100), (200, 0.01, 250), (100, 0.5, 10), (100, 0.1, 50)]
)
def test_a_batch_takes_a_twentieth_of_a_second(monkeypatch, size, took_s, expected) -> None:
    """A quick one is doubled up to the most, a slow one shrinks in proportion down to the least."""
    monkeypatch.setattr(runs, "BATCH", 250)
    assert runs.next_batch(size, took_s) == expected
