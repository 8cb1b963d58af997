"""Work that Prefect watches: it comes late, it misses nothing, and what it cannot hear costs a remark."""

import asyncio
from contextlib import nullcontext

import pytest

from callsheet.engine import closing
from callsheet.engine.session import studio_at
from callsheet.engine.slots import Places
from callsheet.engine.stopping import StopSign
from callsheet.engine.work import Work, begin
from callsheet.errors import CallsheetError
from callsheet.ledger import State, queries
from tasks import artifacts, rendering

pytestmark = pytest.mark.anyio


@pytest.fixture
async def studio(house):
    """A run of five jobs on a desk of its own."""
    run_id = house.open_run(*(f"shot-{number},number {number}" for number in range(5)))
    async with house.desk() as desk:
        yield studio_at(
            desk, desk.ledger.do(queries.run, run_id), StopSign(), scale=1 / 5000, is_sandbox=True
        )


async def test_who_comes_late_hears_of_every_job_in_its_order(studio):
    """Prefect is there seconds after the first job was sent, and shows that one too."""
    work = await begin(studio)
    rows = work.rows
    await work.over()
    started = [each async for each in work.started()]
    assert [each.index for each in started] == [0, 1, 2, 3, 4]
    assert [each.row.job_id for each in started] == [row.job_id for row in rows]
    assert {each.ended.result().state for each in started} == {State.SUCCEEDED}


async def test_work_is_begun_once(studio):
    """Whoever is there first begins it: the command line, or else the flow."""
    first, second = await begin(studio), await begin(studio)
    assert first is second
    await first.over()


async def test_a_mistake_of_ours_lets_the_run_drain_and_is_told_in_words(studio, monkeypatch):
    """The job's task run says what happened; the ledger and the other jobs are as they were."""

    async def broken(*_):
        raise ZeroDivisionError("nobody foresaw this")

    monkeypatch.setattr("callsheet.engine.work.render_job", broken)
    work = await begin(studio)
    await work.over()
    first = await anext(work.started())
    assert "ZeroDivisionError: nobody foresaw this" in first.ended.result()
    assert isinstance(studio.stop.reason, CallsheetError)


async def test_work_that_is_ended_has_ended_everywhere(studio, monkeypatch):
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
    work = Work(studio, (await begin(studio)).rows[:1])
    await going.wait()
    await work.end()
    assert ended


async def test_a_prefect_that_hears_nothing_costs_one_remark_and_no_video(studio, monkeypatch):
    """Its server may go at any time; every job is rendered all the same."""

    async def deaf(*_):
        raise ConnectionError("no Prefect server")

    monkeypatch.setattr(rendering, "show_job", deaf)
    await rendering.render_all(studio)
    rows = studio.desk.ledger.do(queries.jobs, studio.run.run_id)
    assert {row.state for row in rows} == {State.SUCCEEDED}
    (remark,) = studio.remarks
    assert (
        remark
        == "Prefect was not told of every job (ConnectionError); the ledger and the report have them all"
    )


async def test_a_run_is_finished_once_also_where_prefect_goes_away_after_it(studio, monkeypatch):
    """The flow has finished it and fails at the last page: nothing is written, copied or said again."""
    monkeypatch.setattr(closing, "gone_files", lambda *_: ["the file of shot-9 is gone"])
    await (await begin(studio)).over()
    summary = await closing.finish(studio)
    closed_ms = studio.desk.ledger.do(queries.run, studio.run.run_id).closed_ms
    monkeypatch.setattr(closing, "write_report", None)
    studio.remarks.append("Prefect shows this run in part")
    assert await closing.completed(studio) is summary
    assert summary["remarks"] == ["the file of shot-9 is gone", "Prefect shows this run in part"]
    assert studio.desk.ledger.do(queries.run, studio.run.run_id).closed_ms == closed_ms


async def test_a_shard_is_over_with_its_last_job(studio, monkeypatch):
    """Shards follow each other in the order of the jobs, each shown once."""
    shown = await _shown_in_shards_of_two(studio, monkeypatch)
    await rendering.render_all(studio)
    assert [name.split(":")[0] for name in shown] == ["shard 1 of 3", "shard 2 of 3", "shard 3 of 3"]


async def test_a_shard_whose_jobs_are_not_started_any_more_is_over_too(studio, monkeypatch):
    """Nobody waits for jobs that a stop has left out."""
    shown = await _shown_in_shards_of_two(studio, monkeypatch)
    studio.places = Places(1, ahead=0)
    monkeypatch.setattr("callsheet.engine.work.render_job", _last_before(studio.stop))
    async with asyncio.timeout(10):
        await rendering.render_all(studio)
    assert len(shown) == 1


def _last_before(stop):
    async def render_job(_studio, _job_id, place):
        stop.drain(CallsheetError("enough"))
        place.give_back()
        return _studio.desk.ledger.do(queries.job, _job_id)

    return render_job


async def _shown_in_shards_of_two(studio, monkeypatch):
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
        studio = studio_at(desk, desk.ledger.do(queries.run, run_id), StopSign())
        async with artifacts.progress_of(studio, 1, 1, lambda: 0):
            await asked.wait()
    assert studio.remarks == ["Prefect does not show the progress of shard 1: no Prefect server"]
