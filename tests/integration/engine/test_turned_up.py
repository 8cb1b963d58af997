"""A request that fal names after its attempt was given up: the job is not bought again unasked."""

from typing import Any

import pytest

from callsheet.engine import submit
from callsheet.engine.cancel import cancel_pending
from callsheet.engine.open_run import Selection
from callsheet.engine.request import RunRequest
from callsheet.engine.retry import prepare_retry
from callsheet.engine.run import open_plan
from callsheet.ledger import (
    AccountRef,
    Ledger,
    State,
    admission,
    queries,
    recovery,
    runs,
    settlement,
    transitions,
)
from manifests.planner import make_plan

pytestmark = pytest.mark.anyio

REQUEST = "00000000-0000-4000-8000-000000000008"


def given_up(house: Any, prompt: str, *, noted: bool = True) -> tuple[str, int]:
    """Open a run whose one attempt was declared absent, and whose request fal has named since."""
    run_id = house.open_run(f"a,{prompt}")
    job_id = house.row(run_id).job_id
    with Ledger.open(house.settings.ledger) as ledger:
        ledger.do(admission.admit, job_id, slots=10)
        ledger.do(transitions.send, job_id, arguments_sha256="x")
        ledger.do(transitions.lose, job_id, why="its reply was lost")
        ledger.do(settlement.declare_absent, job_id, why="two looks")
        if noted:
            ledger.do(recovery.note_orphan, job_id, 1, REQUEST)
    return run_id, job_id


async def retried(house: Any, run_id: str, *, all_failures: bool) -> int:
    """Retry the run's failures, or all of them. Returns how many are bought."""
    with Ledger.open(house.settings.ledger) as ledger:
        run = ledger.do(queries.run, run_id)
    retry = await prepare_retry(house.settings, run, all_failures=all_failures, again=False)
    return len(retry.bought)


async def test_a_job_whose_request_turned_up_is_bought_only_where_a_person_says_so(house: Any) -> None:
    """It fails with the request's id, its maximum counts as spent, and `retry --all` buys it."""
    prompt = "A boat that turned up"
    run_id, _ = given_up(house, prompt)
    ctx = await house.work(run_id)
    row = house.row(run_id)
    assert (row.state, row.error_type, row.charged) == (State.FAILED, "turned_up", "unknown")
    assert REQUEST in row.error
    assert f"callsheet retry {run_id} --sandbox --all" in row.error
    assert any(REQUEST in notice for notice in ctx.state.notices)
    assert house.accepted(prompt) == []
    assert spent_nano(house, run_id) == (0, row.maximum_nano)
    assert await retried(house, run_id, all_failures=False) == 0
    assert await retried(house, run_id, all_failures=True) == 1
    await house.work(run_id)
    assert house.row(run_id).state is State.SUCCEEDED
    assert len(house.accepted(prompt)) == 1
    assert house.sound()


@pytest.mark.parametrize("end", ["failed", "cancelled"])
async def test_the_next_run_of_the_campaign_does_not_buy_it_either(house: Any, end: str) -> None:
    """A schedule is no person: the next night leaves it out, and says so; `--again` buys it."""
    prompt = f"A boat that turned up and {end}"
    run_id, _ = given_up(house, prompt)
    if end == "failed":
        await house.work(run_id)
    with Ledger.open(house.settings.ledger) as ledger:
        cancel_pending(ledger, run_id, "given up")
        ledger.do(runs.close_run, run_id)
    seen: list[Selection] = []

    async def next_night(*, again: bool) -> str:
        request = RunRequest(sandbox=True, out=house.settings.out, again=again)
        plan = make_plan(str(house.folder / "spring.csv"))
        return await open_plan(plan, request, house.settings, review=lambda _, each: seen.append(each))

    assert house.rows(await next_night(again=False)) == []
    assert [len(each.waiting) for each in seen] == [1]
    assert len(house.rows(await next_night(again=True))) == 1


async def test_a_job_that_waits_to_be_sent_again_is_not_sent_once_its_request_turned_up(
    house: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was held is released, and the next admission ends the job."""
    prompt = "A boat that turned up late"
    run_id, job_id = given_up(house, prompt, noted=False)

    def note(*_: object) -> float:
        with Ledger.open(house.settings.ledger) as ledger:
            ledger.do(recovery.note_orphan, job_id, 1, REQUEST)
        return 0.0

    monkeypatch.setattr(submit, "backoff_s", note)
    reached = house.settings.queue_url
    house.changes["queue_url"] = "http://127.0.0.1:9"
    ctx = await house.work(run_id)
    assert (house.row(run_id).state, house.row(run_id).attempt) == (State.PENDING, 2)
    assert any(REQUEST in told for told in ctx.state.unfinished)
    house.changes["queue_url"] = reached
    await house.work(run_id)
    assert house.row(run_id).error_type == "turned_up"
    assert house.accepted(prompt) == []
    assert house.sound()


def spent_nano(house: Any, run_id: str) -> tuple[int, int]:
    """Return what a run holds and has spent, in nano-dollars."""
    with Ledger.open(house.settings.ledger) as ledger:
        ref = AccountRef("run", run_id, "total")
        account = ledger.do(admission.headroom, [ref])[ref]
    return account.held_nano, account.spent_nano
