"""A run under its flow run: what a person does to it in Prefect, and what a worker's signal means then."""

import pytest

from callsheet.errors import DiskFull
from callsheet.ledger import State, queries
from tasks import flow_run

pytestmark = pytest.mark.anyio


@pytest.fixture
async def ctx(house):
    """A run of two jobs."""
    run_id = house.open_run("shot-0,number 0", "shot-1,number 1")
    async with house.account() as account:
        yield house.context(account, run_id)


async def answers(ctx, monkeypatch, *, cancelled: bool) -> None:
    """Let a worker end the process while Prefect says whether a person has cancelled the flow run."""

    async def is_cancelled(_flow_run_id: str) -> bool:
        return cancelled

    monkeypatch.setattr(flow_run, "_is_cancelled", is_cancelled)
    await flow_run._terminated(ctx, "its id")


async def test_a_workers_signal_after_a_cancellation_lets_what_renders_be_collected(ctx, monkeypatch):
    """The cancellation is often seen before the worker's signal, which comes from the same click."""
    await answers(ctx, monkeypatch, cancelled=True)
    assert (ctx.stop.phase, ctx.state.cancelled) == ("draining", True)
    for prefect_says in (True, False):  # a server that does not answer in time says no
        await answers(ctx, monkeypatch, cancelled=prefect_says)
        assert ctx.stop.phase == "draining"


async def test_a_run_that_buys_nothing_more_can_still_be_cancelled(ctx, monkeypatch):
    """Its flow run ends as Cancelled: Prefect accepts no other end of one that is being cancelled."""
    ctx.stop.drain(DiskFull("no space is left"))
    await answers(ctx, monkeypatch, cancelled=True)
    assert ctx.state.cancelled
    rows = ctx.account.ledger.do(queries.jobs, ctx.run.run_id)
    assert [row.state for row in rows] == [State.CANCELLED] * 2


async def test_a_worker_that_ends_stops_the_run_and_cancels_nothing(ctx, monkeypatch):
    """The next process goes on with it."""
    await answers(ctx, monkeypatch, cancelled=False)
    assert (ctx.stop.phase, ctx.state.cancelled) == ("stopped", False)
