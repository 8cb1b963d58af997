"""Work that Prefect watches: it comes late, it misses nothing, and what it cannot hear costs a remark."""

import asyncio
from contextlib import nullcontext

import pytest

from callsheet.engine import closing
from callsheet.engine.limiter import Places
from callsheet.engine.run import context_of
from callsheet.engine.stopping import StopSignal
from callsheet.engine.work import Work, begin
from callsheet.errors import CallsheetError
from callsheet.ledger import State, queries
from tasks import artifacts, rendering

pytestmark = pytest.mark.anyio


@pytest.fixture
async def ctx(house):
    """A run of five jobs on a desk of its own."""
    run_id = house.open_run(*(f"shot-{number},number {number}" for number in range(5)))
    async with house.desk() as desk:
        yield context_of(
            desk, desk.ledger.do(queries.run, run_id), StopSignal(), scale=1 / 5000, is_sandbox=True
        )


async def test_who_comes_late_hears_of_every_job_in_its_order(ctx):
    """Prefect is there seconds after the first job was sent, and shows that one too."""
    work = await begin(ctx)
    rows = work.rows
    await work.over()
    started = [each async for each in work.started()]
    assert [each.index for each in started] == [0, 1, 2, 3, 4]
    assert [each.row.job_id for each in started] == [row.job_id for row in rows]
    assert {each.ended.result().state for each in started} == {State.SUCCEEDED}


async def test_work_is_begun_once(ctx):
    """Whoever is there first begins it: the command line, or else the flow."""
    first, second = await begin(ctx), await begin(ctx)
    assert first is second
    await first.over()


async def test_a_mistake_of_ours_lets_the_run_drain_and_is_told_in_words(ctx, monkeypatch):
    """The job's task run says what happened; the ledger and the other jobs are as they were."""

    async def broken(*_):
        raise ZeroDivisionError("nobody foresaw this")

    monkeypatch.setattr("callsheet.engine.work.render_job", broken)
    work = await begin(ctx)
    await work.over()
    first = await anext(work.started())
    assert "ZeroDivisionError: nobody foresaw this" in first.ended.result()
    assert isinstance(ctx.stop.reason, CallsheetError)


async def test_work_that_is_ended_has_ended_everywhere(ctx, monkeypatch):
    """What may not be cut short is finished while the run is still ours."""
    going = asyncio.Event()
    ended = []

    async def goes_on(*_):
        try:
            going.set()
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            ended.append("a job")

    monkeypatch.setattr("callsheet.engine.work.render_job", goes_on)
    work = Work(ctx, (await begin(ctx)).rows[:1])
    await going.wait()
    await work.end()
    assert ended


async def test_a_prefect_that_hears_nothing_costs_one_remark_and_no_video(ctx, monkeypatch):
    """Its server may go at any time; every job is rendered all the same."""

    async def deaf(*_):
        raise ConnectionError("no Prefect server")

    monkeypatch.setattr(rendering, "show_job", deaf)
    await rendering.render_all(ctx)
    rows = ctx.account.ledger.do(queries.jobs, ctx.run.run_id)
    assert {row.state for row in rows} == {State.SUCCEEDED}
    (remark,) = ctx.state.notices
    assert (
        remark
        == "Prefect was not told of every job (ConnectionError); the ledger and the report have them all"
    )


async def test_a_run_is_finished_once_also_where_prefect_goes_away_after_it(ctx, monkeypatch):
    """The flow has finished it and fails at the last page: nothing is written, copied or said again."""
    monkeypatch.setattr(closing, "gone_files", lambda *_: ["the file of shot-9 is gone"])
    await (await begin(ctx)).over()
    summary = await closing.finish(ctx)
    closed_ms = ctx.account.ledger.do(queries.run, ctx.run.run_id).closed_ms
    monkeypatch.setattr(closing, "write_report", None)
    ctx.state.notices.append("Prefect shows this run in part")
    assert await closing.completed(ctx) is summary
    assert summary["remarks"] == ["the file of shot-9 is gone", "Prefect shows this run in part"]
    assert ctx.account.ledger.do(queries.run, ctx.run.run_id).closed_ms == closed_ms


async def test_a_shard_is_over_with_its_last_job(ctx, monkeypatch):
    """Shards follow each other in the order of the jobs, each shown once."""
    shown = await _shown_in_shards_of_two(ctx, monkeypatch)
    await rendering.render_all(ctx)
    assert [name.split(":")[0] for name in shown] == ["shard 1 of 3", "shard 2 of 3", "shard 3 of 3"]


async def test_a_shard_whose_jobs_are_not_started_any_more_is_over_too(ctx, monkeypatch):
    """Nobody waits for jobs that a stop has left out."""
    shown = await _shown_in_shards_of_two(ctx, monkeypatch)
    ctx.places = Places(1, ahead=0)
    monkeypatch.setattr("callsheet.engine.work.render_job", _last_before(ctx.stop))
    async with asyncio.timeout(10):
        await rendering.render_all(ctx)
    assert len(shown) == 1


def _last_before(stop):
    async def render_job(_studio, _job_id, place):
        stop.drain(CallsheetError("enough"))
        place.give_back()
        return _studio.desk.ledger.do(queries.job, _job_id)

    return render_job


async def _shown_in_shards_of_two(ctx, monkeypatch):
    shown = []

    async def show(_studio, _number, name, over):
        shown.append(name)
        await over.wait()

    monkeypatch.setattr(rendering, "JOBS_AS_TASK_RUNS", 2)
    monkeypatch.setattr(rendering, "SHARD_JOBS", 2)
    monkeypatch.setattr(rendering, "show_shard", show)
    monkeypatch.setattr(rendering, "progress_of", lambda *_: nullcontext())
    return shown


@pytest.mark.parametrize("broken", ["acreate_progress_artifact", "aupdate_progress_artifact"])
async def test_progress_that_cannot_be_shown_does_not_fail_a_shard(house, monkeypatch, broken):
    """A server that does not answer costs a remark; what is done inside is done."""
    run_id = house.open_run("a,shards three")
    asked = asyncio.Event()

    async def silent(*_, **__):
        asked.set()
        raise ConnectionError("no Prefect server")

    async def made(*_, **__):
        return artifacts.UUID(int=1)

    monkeypatch.setattr(artifacts, "PROGRESS_EVERY_S", 0)
    monkeypatch.setattr(artifacts, "acreate_progress_artifact", made)
    monkeypatch.setattr(artifacts, broken, silent)
    async with house.desk() as desk:
        ctx = context_of(desk, desk.ledger.do(queries.run, run_id), StopSignal())
        async with artifacts.progress_of(ctx, 1, 1, lambda: 0):
            await asked.wait()
    assert ctx.state.notices == ["Prefect does not show the progress of shard 1: no Prefect server"]
