"""Which jobs begin, in what order, and what the others do when one of them goes wrong."""

import asyncio

import pytest

from callsheet.engine import finalize, job
from callsheet.engine.run import carry_out
from callsheet.engine.scheduler import in_order, run_jobs, waiting_jobs
from callsheet.errors import CallsheetError, Interrupted
from callsheet.ledger import State, queries

pytestmark = pytest.mark.anyio


@pytest.fixture
async def ctx(house):
    """A run of five jobs."""
    run_id = house.open_run(*(f"shot-{number},number {number}" for number in range(5)))
    async with house.account() as account:
        yield house.context(account, run_id)


def states(ctx) -> list[State]:
    """Return the states of a run's jobs in the order of the manifest."""
    return [row.state for row in ctx.account.ledger.do(queries.jobs, ctx.run.run_id)]


async def test_jobs_begin_in_the_order_of_the_manifest(ctx):
    """Without priorities the first row begins first; every job is rendered once."""
    begun = []

    async def render(ctx, row):
        begun.append(row.custom_id)
        await job.render_job(ctx, row.job_id)

    await run_jobs(ctx, await waiting_jobs(ctx), render)
    assert begun == [f"shot-{number}" for number in range(5)]
    assert states(ctx) == [State.SUCCEEDED] * 5


async def test_what_is_paid_for_goes_first_and_then_the_higher_priority(house):
    """What is at fal already comes before any purchase; equal priorities keep the manifest's order."""
    source = house.folder / "priorities.csv"
    rows = [("a", 0), ("b", 5), ("c", 9), ("d", 5)]
    lines = [f"{name},priority {name},seedance-1.0-lite,480p,29,{priority}\n" for name, priority in rows]
    source.write_text("custom_id,prompt,model,resolution,num_frames,priority\n" + "".join(lines))
    run_id = house.open_source(source)
    house.changes["concurrency"] = 1
    house.arm("server_error", route="file", count=None)
    async with house.account() as account:
        ctx = house.context(account, run_id)
        await run_jobs(ctx, account.ledger.do(queries.jobs, run_id)[:1])
        ordered = in_order(account.ledger.do(queries.jobs, run_id))
    assert [row.custom_id for row in ordered] == ["a", "c", "b", "d"]


async def test_an_unexpected_error_in_one_job_stops_the_buying_and_collects_the_rest(house, ctx, monkeypatch):
    """The job that is at fal is fetched, the jobs that had not begun stay pending, and the run says why."""
    ctx.state.limiter = type(ctx.state.limiter)(2)
    at_fal = asyncio.Event()
    poll, uploaded_images = job.poll, job.uploaded_images

    async def noticed(ctx, planned, row, ticket):
        at_fal.set()
        return await poll(ctx, planned, row, ticket)

    async def broken(ctx, planned):
        if planned.custom_id == "shot-0":
            await at_fal.wait()
            raise ZeroDivisionError("nobody foresaw this")
        return await uploaded_images(ctx, planned)

    monkeypatch.setattr(job, "poll", noticed)
    monkeypatch.setattr(job, "uploaded_images", broken)
    await run_jobs(ctx, await waiting_jobs(ctx))
    assert states(ctx) == [State.PENDING, State.SUCCEEDED, *[State.PENDING] * 3]
    assert isinstance(ctx.stop.reason, CallsheetError)
    assert "internal error in job" in str(ctx.stop.reason)
    assert "ZeroDivisionError: nobody foresaw this" in ctx.state.unfinished[0]
    assert (ctx.stop.phase, ctx.stop.reason.exit_code) == ("draining", 1)
    assert house.sound()


async def test_an_error_of_the_callers_own_render_function_stops_the_buying_as_well(ctx):
    """It was dropped without a word, and the run ended with unfinished jobs for no reason."""
    ctx.state.limiter = type(ctx.state.limiter)(1)

    async def broken(ctx, row):
        await job.render_job(ctx, row.job_id)
        raise ValueError("my function broke")

    await run_jobs(ctx, await waiting_jobs(ctx), broken)
    assert states(ctx) == [State.SUCCEEDED, *[State.PENDING] * 4]
    assert str(ctx.stop.reason).startswith("error of the render function in job 1: ValueError: my function")
    assert "ValueError: my function broke" in ctx.state.unfinished[0]


async def test_an_error_of_the_callers_own_render_function_is_reported_while_the_run_drains(ctx):
    """The run ends for the reason that it stopped for; the job and its error are named beside it."""
    ctx.state.limiter = type(ctx.state.limiter)(1)

    async def broken(ctx, _row):
        ctx.stop.drain(Interrupted("a person stopped it"))
        raise ValueError("my function broke")

    await run_jobs(ctx, await waiting_jobs(ctx), broken)
    assert ctx.state.unfinished == ["job 1: ValueError: my function broke"]
    assert str(ctx.stop.reason) == "a person stopped it"


async def test_jobs_that_are_stopped_have_ended_when_the_scheduler_returns(ctx):
    """A step that may not be cut short is finished while the run is still owned."""
    going, ended = asyncio.Event(), []

    async def goes_on(_ctx, row):
        try:
            going.set()
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            ended.append(row.custom_id)

    rows = (await waiting_jobs(ctx))[:1]
    working = asyncio.ensure_future(run_jobs(ctx, rows, goes_on))
    await going.wait()
    ctx.stop.stop(Interrupted("terminated"))
    await working
    assert ended == ["shot-0"]


async def test_a_stop_ends_the_wait_for_a_slot(ctx):
    """Jobs that wait for their turn when the run is stopped are not begun."""
    ctx.state.limiter = type(ctx.state.limiter)(1)
    begun = []

    async def stops_the_run(ctx, row):
        begun.append(row.custom_id)
        ctx.stop.stop(Interrupted("terminated"))
        await asyncio.Event().wait()

    async with asyncio.timeout(10):
        await run_jobs(ctx, await waiting_jobs(ctx), stops_the_run)
    assert begun == ["shot-0"]
    assert states(ctx) == [State.PENDING] * 5


async def test_a_run_is_finished_once(ctx, monkeypatch):
    """Where Prefect fails after the run was finished, nothing is written, copied or said again."""
    summary = await carry_out(ctx)
    closed_ms = ctx.account.ledger.do(queries.run, ctx.run.run_id).closed_ms
    monkeypatch.setattr(finalize, "write_report", None)
    ctx.state.notice("Prefect shows this run in part")
    assert await carry_out(ctx) is summary
    assert summary["remarks"] == ["Prefect shows this run in part"]
    assert ctx.account.ledger.do(queries.run, ctx.run.run_id).closed_ms == closed_ms
