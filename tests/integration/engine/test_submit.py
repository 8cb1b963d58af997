"""What a run tells whoever watches it while nothing can be sent."""

from dataclasses import replace

import pytest

from callsheet.engine import submit
from callsheet.engine.scheduler import run_jobs, waiting_jobs
from callsheet.errors import IllegalTransition
from callsheet.ledger import State, admission, settlement, transitions
from callsheet.reconciliation.unknown import find_orphans
from callsheet.ticket import Ticket

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch):
    """Free tries follow each other at once."""
    monkeypatch.setattr(submit, "backoff_s", lambda *_: 0.0)


async def told_at_work(house, run_id: str, trouble: str = "") -> tuple[list[str], str]:
    """Work on a run that has this trouble at first. Return what was told, and the trouble at its end."""
    told: list[str] = []
    async with house.account() as account:
        ctx = replace(house.context(account, run_id), tell=told.append)
        ctx.state.trouble = trouble
        await run_jobs(ctx, await waiting_jobs(ctx))
        return told, ctx.state.trouble


async def test_a_queue_that_is_not_reached_is_told_by_its_address(house):
    """Nobody listens there: the job waits, nothing is bought, and it is said which address it is."""
    house.changes["queue_url"] = "http://127.0.0.1:9"
    run_id = house.open_run("a,no queue listens")
    told, trouble = await told_at_work(house, run_id)
    assert told[0].startswith("not sent to http://127.0.0.1:9 so far, trying again: ")
    assert trouble == told[-1]
    assert house.row(run_id).state is State.PENDING


async def test_trouble_is_over_when_a_job_was_sent(house):
    """A throttled request is tried again, and once it is taken nothing is told any more."""
    house.arm("throttle")
    run_id = house.open_run("a,throttled once")
    told, trouble = await told_at_work(house, run_id, "something from before")
    assert (told[-1], trouble) == ("submitting again", "")
    assert house.row(run_id).state is State.SUCCEEDED


@pytest.mark.parametrize("give_up", [settlement.declare_absent, settlement.write_off])
async def test_a_reply_that_comes_after_its_attempt_was_given_up_is_not_forgotten(house, give_up):
    """A person decided about it meanwhile; the reply that names its request makes it a finding."""
    run_id = house.open_run("a,A late boat")
    job_id = house.row(run_id).job_id
    ticket = Ticket("00000000-0000-4000-8000-000000000007", "e", "s", "r", "c")
    async with house.account() as account:
        await account.do(admission.admit, job_id, slots=10)
        await account.do(transitions.send, job_id, arguments_sha256="x")
        await account.do(transitions.lose, job_id, why="its process stood still")
        await account.do(give_up, job_id, why="a person said so")
        ctx = house.context(account, run_id)
        with pytest.raises(IllegalTransition):
            await submit._accept(ctx, job_id, 1, ticket)
        (orphan,) = await find_orphans(account)
    assert (orphan.outcome, orphan.request_ids) == ("orphan", (ticket.request_id,))
