"""Who looks after lost replies while a run goes on: what it may buy."""

import asyncio

import pytest

from callsheet.engine import reconcile_loop
from callsheet.engine.cancel import refuse_run
from callsheet.engine.job import render_job
from callsheet.engine.run import carry_out, open_context
from callsheet.engine.scheduler import in_order, run_jobs
from callsheet.engine.stopping import StopSignal
from callsheet.ledger import Ledger, State, admission, queries, transitions
from tests.integration.conftest import DUE_MS, SECOND_LOOK_MS

pytestmark = pytest.mark.anyio


def lost(house, shot: str) -> str:
    """Open a run whose one POST never arrived; the next look that does not show it is the second one."""
    run_id = house.open_run(shot)
    with Ledger.open(house.settings.ledger, clock=lambda: house.now_ms() - DUE_MS - SECOND_LOOK_MS) as ledger:
        (row,) = ledger.do(queries.jobs, run_id)
        ledger.do(admission.admit, row.job_id, slots=10)
        ledger.do(transitions.send, row.job_id, arguments_sha256="ab" * 32, seed=1, start_timeout_s=3600)
        ledger.do(transitions.lose, row.job_id, why="reset")
        ledger.do(transitions.note_unseen, row.job_id, at_ms=house.now_ms() - SECOND_LOOK_MS - 5_000)
    return run_id


@pytest.mark.parametrize(
    ("may_buy", "state", "bought"), [(False, State.PENDING, 0), (True, State.SUCCEEDED, 1)]
)
async def test_what_never_arrived_is_bought_again_only_where_the_run_may_buy(house, may_buy, state, bought):
    """While a person is asked or a canary is not judged, its money is free and nothing is sent."""
    await house.control()
    prompt = f"A boat that {'may' if may_buy else 'may not'} be bought"
    run_id = lost(house, f"a,{prompt}")
    await house.control()
    async with house.account() as account:
        ctx = house.context(account, run_id)
        ctx.state.may_buy = may_buy
        await reconcile_loop.settle_rest(ctx)
    assert house.row(run_id).state is state
    assert len(house.accepted(prompt)) == bought


async def test_a_refusal_also_takes_back_what_came_free_while_a_person_was_asked(house):
    """A lost request that provably never arrived waits again; a no to the run is a no to it as well."""
    await house.control()
    run_id = lost(house, "a,A boat that nobody wanted")
    await house.control()
    async with house.account() as account:
        ctx = house.context(account, run_id)
        await reconcile_loop.settle_rest(ctx)
        assert house.row(run_id).state is State.PENDING
        await refuse_run(ctx, "a person refused it")
    assert (house.row(run_id).state, house.accepted("A boat that nobody wanted")) == (State.CANCELLED, [])


async def test_a_look_that_breaks_is_noted_and_not_the_last(house, monkeypatch):
    """A full table of open files ends one look; the next one finds what was lost."""
    await house.control()
    monkeypatch.setattr(reconcile_loop, "LOOK_EVERY_S", 0.01)
    run_id = lost(house, "a,A boat in a full table")
    await house.control()
    settle_others, looks, looked = reconcile_loop.settle_others, [], asyncio.Event()

    async def breaks_once(ctx):
        looks.append(ctx)
        if len(looks) == 1:
            raise OSError(24, "Too many open files")
        findings = await settle_others(ctx)
        looked.set()
        return findings

    monkeypatch.setattr(reconcile_loop, "settle_others", breaks_once)
    async with house.account() as account:
        ctx = house.context(account, run_id)
        async with reconcile_loop.reconcile_loop(ctx), asyncio.timeout(10):
            await looked.wait()
    (note,) = ctx.state.unfinished
    assert "Too many open files" in note
    assert house.row(run_id).state is State.PENDING


async def test_what_was_found_while_a_person_was_asked_has_one_follower(house):
    """The run begins when its reconcile loop follows a job: it waits for that one and asks fal nothing."""
    prompt = "A boat that is followed once"
    run_id = house.open_run(f"a,{prompt}")
    house.arm("close")
    await house.work(run_id)
    house.faults.clear()
    assert house.row(run_id).state is State.UNKNOWN
    async with house.account() as account:
        ctx = house.context(account, run_id)
        watch, watched = account.queue.watch, []
        begun, go_on = asyncio.Event(), asyncio.Event()

        async def watch_counted(ticket, schedule):
            watched.append(ticket.request_id)
            begun.set()
            await go_on.wait()
            async for seen in watch(ticket, schedule):
                yield seen

        account.queue.watch = watch_counted
        await reconcile_loop._look(ctx)
        await begun.wait()
        rows = in_order(account.ledger.do(queries.jobs, run_id))
        assert [row.state for row in rows] == [State.IN_QUEUE]
        given = asyncio.Event()

        async def render(ctx, row):
            ends = asyncio.ensure_future(render_job(ctx, row.job_id))
            given.set()
            await ends

        going = asyncio.ensure_future(run_jobs(ctx, rows, render))
        await given.wait()
        go_on.set()
        await going
        await reconcile_loop.settle_rest(ctx)
    assert house.row(run_id).state is State.SUCCEEDED
    assert (len(watched), ctx.state.unfinished) == (1, [])
    assert house.sound()


async def test_a_run_too_short_for_the_loop_fetches_what_a_dead_neighbour_left(house):
    """It settles the neighbour's request as it begins and has its video before it ends."""
    prompt = "A boat of a dead neighbour"
    dead = house.open_run(f"a,{prompt}", campaign="dead")
    house.arm("reset")
    await house.work(dead)
    await house.ended(prompt)
    run_id = house.open_run("b,A boat of a short run", campaign="short")
    async with open_context(house.request(run_id), run_id, house.settings, StopSignal()) as ctx:
        summary = await carry_out(ctx)
    assert (house.row(run_id).state, house.row(dead).state) == (State.SUCCEEDED, State.SUCCEEDED)
    assert (house.folder / "runs" / dead / "media" / "a.mp4").is_file()
    assert (summary["exit_code"], len(house.accepted(prompt))) == (0, 1)
    assert house.sound()
