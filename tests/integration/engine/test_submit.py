"""What a run tells whoever watches it while nothing can be sent."""

import pytest

from callsheet.engine import submit
from callsheet.engine.watchers import Trouble, trouble
from callsheet.ledger import State

pytestmark = pytest.mark.anyio


@pytest.fixture
def heard(monkeypatch):
    """What is heard of the run; free tries follow each other at once."""
    monkeypatch.setattr(submit, "backoff_s", lambda *_: 0.0)
    made = Trouble()
    token = trouble.set(made)
    yield made
    trouble.reset(token)


async def test_a_queue_that_is_not_reached_is_told_by_its_address(house, heard):
    """Nobody listens there: the job waits, nothing is bought, and it is said which address it is."""
    house.changes["queue_url"] = "http://127.0.0.1:9"
    run_id = house.open_run("a,no queue listens")
    await house.work(run_id)
    assert heard.words.startswith("not sent to http://127.0.0.1:9 so far, trying again: ")
    assert house.row(run_id).state is State.PENDING


async def test_trouble_is_over_when_a_job_was_sent(house, heard):
    """A throttled request is tried again, and once it is taken nothing is told any more."""
    house.arm("throttle")
    run_id = house.open_run("a,throttled once")
    heard.words = "something from before"
    await house.work(run_id)
    assert heard.words == ""
    assert house.row(run_id).state is State.SUCCEEDED
