"""Rendering in Prefect's tasks: what Prefect cannot show is rendered all the same."""

import asyncio

import pytest

from callsheet.errors import CallsheetError
from callsheet.ledger import State, queries
from tasks import artifacts, render

pytestmark = pytest.mark.anyio


@pytest.fixture
async def ctx(house):
    """A run of five jobs."""
    run_id = house.open_run(*(f"shot-{number},number {number}" for number in range(5)))
    async with house.account() as account:
        yield house.context(account, run_id)


def states(ctx) -> list[State]:
    """Return the states of a run's jobs."""
    return [row.state for row in ctx.account.ledger.do(queries.jobs, ctx.run.run_id)]


async def silent(*_, **__):
    """Answer as Prefect's client does where there is no server."""
    raise ConnectionError("no Prefect server")


async def test_a_prefect_that_does_not_answer_costs_a_notice_each_and_no_video(ctx, monkeypatch):
    """Its server may go at any time; every job is rendered all the same."""
    monkeypatch.setattr(render, "_render", silent)
    monkeypatch.setattr(artifacts, "acreate_progress_artifact", silent)
    await render.render_all(ctx)
    assert states(ctx) == [State.SUCCEEDED] * 5
    assert sorted(ctx.state.notices) == [
        "Prefect does not show every job (ConnectionError); the report does",
        f"Prefect does not show the progress of {ctx.run.run_id}: no Prefect server",
    ]


async def test_shards_that_prefect_does_not_show_are_rendered(ctx, monkeypatch):
    """One notice for all of them, and every job is rendered once."""
    monkeypatch.setattr(render, "JOBS_AS_TASK_RUNS", 2)
    monkeypatch.setattr(render, "SHARD_JOBS", 2)
    monkeypatch.setattr(render, "_render_shard", silent)
    await render.render_all(ctx)
    assert states(ctx) == [State.SUCCEEDED] * 5
    assert ctx.state.notices == ["Prefect does not show every shard (ConnectionError); the report does"]


async def test_shards_follow_each_other_in_the_order_of_the_jobs(ctx, monkeypatch):
    """Each is shown once, named after its first and last job, and over with its last one."""
    shown, ended = shards_of_two(ctx, monkeypatch)
    await render.render_all(ctx)
    assert shown == [
        "shard 1 of 3: shot-0 to shot-1",
        "shard 2 of 3: shot-2 to shot-3",
        "shard 3 of 3: shot-4 to shot-4",
    ]
    assert states(ctx) == [State.SUCCEEDED] * 5
    assert ended == {1: 2, 2: 2, 3: 1}


async def test_a_shard_that_is_over_keeps_no_rows_in_memory(ctx, monkeypatch):
    """The end of a large run needs that memory for its results."""
    shards_of_two(ctx, monkeypatch)
    await render.render_all(ctx)
    assert ctx.state.shards == {}


async def test_a_shard_whose_jobs_are_not_begun_any_more_is_over_too(ctx, monkeypatch):
    """Jobs that a stop has left out are not waited for."""
    _, ended = shards_of_two(ctx, monkeypatch)

    async def last_before(ctx, _row):
        ctx.stop.drain(CallsheetError("enough"))

    monkeypatch.setattr(render, "render_here", last_before)
    ctx.state.limiter = type(ctx.state.limiter)(1)
    async with asyncio.timeout(10):
        await render.render_all(ctx)
    assert states(ctx) == [State.PENDING] * 5
    assert sum(ended.values()) == 1


def shards_of_two(ctx, monkeypatch) -> tuple[list[str], dict[int, int]]:
    """Let two jobs be a shard; return their names as shown, and how many jobs of each ended."""
    shown, ended = [], {}

    async def show(number, name, **_):
        shown.append(name)
        shard = ctx.state.shards[number]
        await render.run_jobs(ctx, shard.rows, shard.render)
        ended[number] = shard.ended

    monkeypatch.setattr(render, "JOBS_AS_TASK_RUNS", 2)
    monkeypatch.setattr(render, "SHARD_JOBS", 2)
    monkeypatch.setattr(render, "_render_shard", show)
    return shown, ended


@pytest.mark.parametrize("broken", ["acreate_progress_artifact", "aupdate_progress_artifact"])
async def test_progress_that_cannot_be_shown_does_not_fail_a_shard(house, monkeypatch, broken):
    """A server that does not answer costs a notice; what is done inside is done."""
    run_id = house.open_run("a,shards three")
    asked = asyncio.Event()

    async def refused(*_, **__):
        asked.set()
        raise ConnectionError("no Prefect server")

    async def made(*_, **__):
        return artifacts.UUID(int=1)

    monkeypatch.setattr(artifacts, "PROGRESS_EVERY_S", 0)
    monkeypatch.setattr(artifacts, "acreate_progress_artifact", made)
    monkeypatch.setattr(artifacts, broken, refused)
    async with house.account() as account:
        ctx = house.context(account, run_id)
        async with artifacts.progress_of(ctx, "shard 1", 1, lambda: 0):
            await asked.wait()
    assert ctx.state.notices == ["Prefect does not show the progress of shard 1: no Prefect server"]
