"""The circuit breaker in a run: what is bought of a price group whose clips all come out wrong."""

import asyncio
from typing import Any

import pytest

from callsheet.engine import settle
from callsheet.engine.finalize import MOST_CHARS
from callsheet.engine.job import render_job
from callsheet.engine.run import open_context
from callsheet.engine.scheduler import run_jobs, waiting_jobs
from callsheet.engine.stopping import StopSignal
from callsheet.ledger import Ledger, State, recovery

pytestmark = pytest.mark.anyio

CONCURRENCY = 2
MOST_BOUGHT = 3 - 1 + CONCURRENCY


def opened(house: Any, *groups: tuple[str, int, int]) -> str:
    """Open a run of price groups: `(word of the prompts, frames, number of jobs)`, a job of each in turn."""
    shots = sorted((number, word, frames) for word, frames, count in groups for number in range(count))
    source = house.folder / "groups.csv"
    rows = [
        f"{word}-{number},breaker {word} {number},seedance-1.0-lite,480p,{frames}\n"
        for number, word, frames in shots
    ]
    source.write_text("custom_id,prompt,model,resolution,num_frames\n" + "".join(rows))
    house.changes["concurrency"] = CONCURRENCY
    return str(house.open_source(source))


def bought(house: Any, word: str) -> int:
    """Return how many jobs with this word fal accepted."""
    return sum(f"breaker {word} " in each["arguments"]["prompt"] for each in house.truth()["accepted"])


async def test_a_group_whose_clips_all_have_the_wrong_size_is_not_bought_to_its_end(house):
    """Three verdicts stop it, the rest of it is pending, the other group goes on, and the run says why."""
    run_id = opened(house, ("swapped", 29, 12), ("fine", 33, 6))
    house.arm("swapped_size", prompt_contains="breaker swapped", count=None)
    ctx = await house.work(run_id)
    states = {row.custom_id: row.state for row in house.rows(run_id)}
    assert [state for name, state in states.items() if "fine" in name] == [State.SUCCEEDED] * 6
    swapped = [state for name, state in states.items() if "swapped" in name]
    assert 3 <= swapped.count(State.FAILED) == bought(house, "swapped") <= MOST_BOUGHT
    assert swapped.count(State.PENDING) == 12 - swapped.count(State.FAILED)
    (notice,) = [text for text in ctx.state.notices if text.startswith("stopped buying")]
    assert "its first 3 paid clips all failed with wrong_size" in notice
    # Without --again `retry` downloads the same files from fal.
    assert f"callsheet retry {run_id} --sandbox --all --again`" in notice
    assert len(notice) < MOST_CHARS  # `status` shows its commands whole
    assert ctx.stop.reason is None
    assert house.sound()


async def taken_up(house: Any, run_id: str) -> list[str]:
    """Go on with a run as a new process does. Returns what it said about stopped groups."""
    async with open_context(house.request(run_id), run_id, house.settings, StopSignal()) as ctx:
        ctx.state.fetch_pauses_s = ()
        await run_jobs(ctx, await waiting_jobs(ctx))
        return [text for text in ctx.state.notices if text.startswith("stopped buying")]


async def stopped(house: Any, word: str, jobs: int = 12) -> str:
    """Work a run whose only price group the breaker stops: its checker refuses everything, and charges."""
    run_id = opened(house, (word, 29, jobs))
    refuses = {"status": 422, "error_type": "content_policy_violation"}
    house.arm("render_failed", prompt_contains=f"breaker {word}", count=None, **refuses)
    await house.work(run_id)
    assert State.PENDING in {row.state for row in house.rows(run_id)}
    return run_id


async def test_a_stopped_group_stays_stopped_when_the_run_is_taken_up(house):
    """Night after night nothing more of it is bought, and each says why and what to do."""
    run_id = await stopped(house, "nightly")
    before = bought(house, "nightly")
    for _ in range(2):
        (notice,) = await taken_up(house, run_id)
        assert "its first 3 paid clips all failed with content_policy_violation" in notice
        assert f"callsheet retry {run_id} --sandbox --all`" in notice
    assert bought(house, "nightly") == before


async def test_a_higher_limit_lets_a_stopped_group_go_on(house):
    """The setting is a person's word; 0 buys all of it."""
    run_id = await stopped(house, "raised", jobs=8)
    house.changes["breaker"] = 0
    assert await taken_up(house, run_id) == []
    assert bought(house, "raised") == 8


async def test_retried_failures_no_longer_stop_their_group(house):
    """After `retry` the provider has its chance again; the group is stopped anew only by new failures."""
    run_id = await stopped(house, "retried", jobs=8)
    house.faults.clear()
    with Ledger.open(house.settings.ledger) as ledger:
        failed = [row.job_id for row in house.rows(run_id) if row.state is State.FAILED]
        ledger.do(recovery.retry, failed)
    assert await taken_up(house, run_id) == []
    assert {row.state for row in house.rows(run_id)} == {State.SUCCEEDED}


async def test_old_failures_do_not_count_after_a_success(house):
    """Both are of one group: the clip that passed shows that it can be made."""
    run_id = await stopped(house, "mended", jobs=8)
    house.faults.clear()
    with Ledger.open(house.settings.ledger) as ledger:
        failed = [row.job_id for row in house.rows(run_id) if row.state is State.FAILED]
        ledger.do(recovery.retry, failed[:1])
    async with house.account() as account:
        await render_job(house.context(account, run_id), failed[0])
    assert await taken_up(house, run_id) == []
    assert [row.state for row in house.rows(run_id) if row.job_id not in failed[1:]] == [State.SUCCEEDED] * (
        8 - len(failed[1:])
    )


async def test_a_file_that_is_fetched_again_counts_once(house):
    """Two clips of the wrong size are two failures, however often their run is taken up."""
    run_id = opened(house, ("again", 29, 2))
    house.arm("swapped_size", prompt_contains="breaker again", count=None)
    await house.work(run_id)
    for _ in range(2):
        assert await taken_up(house, run_id) == []
    assert [row.error_type for row in house.rows(run_id)] == ["wrong_size"] * 2


async def test_one_good_clip_keeps_the_group(house):
    """What fails after it is a matter of single jobs: everything is bought."""
    run_id = opened(house, ("first", 29, 1), ("then", 29, 5))
    house.changes["concurrency"] = 1
    house.arm("swapped_size", prompt_contains="breaker then", count=None)
    ctx = await house.work(run_id)
    assert [row.state for row in house.rows(run_id)] == [State.SUCCEEDED, *[State.FAILED] * 5]
    assert bought(house, "then") == 5
    assert not ctx.state.breaker.has_tripped


async def test_a_limit_of_zero_buys_everything(house):
    """A person who has turned the breaker off gets what was ordered."""
    house.changes["breaker"] = 0
    run_id = opened(house, ("unbroken", 29, 6))
    house.arm("swapped_size", prompt_contains="breaker unbroken", count=None)
    await house.work(run_id)
    assert bought(house, "unbroken") == 6


@pytest.mark.parametrize(
    ("word", "fault", "stops"),
    [
        ("refused", {"status": 422, "error_type": "content_policy_violation"}, True),
        ("crashed", {"status": 500}, False),
    ],
)
async def test_renders_that_are_refused_and_charged_stop_their_group(house, word, fault, stops):
    """A checker that refuses everything costs each hold; a failure that costs nothing stops nothing."""
    run_id = opened(house, (word, 29, 7))
    house.arm("render_failed", prompt_contains=f"breaker {word}", count=None, **fault)
    ctx = await house.work(run_id)
    rows = house.rows(run_id)
    assert {row.charged for row in rows if row.state is State.FAILED} == {"unknown" if stops else "no"}
    assert (bought(house, word) <= MOST_BOUGHT) == ctx.state.breaker.has_tripped == stops
    assert State.PENDING in {row.state for row in rows} if stops else bought(house, word) == 7
    assert house.sound()


async def test_a_clip_that_two_steps_of_the_run_follow_counts_once(house):
    """The reconcile loop follows what it found while the run does: two bad clips are two, not three."""
    run_id = opened(house, ("twice", 29, 2))
    house.arm("swapped_size", prompt_contains="breaker twice", count=None)
    async with house.account() as account:
        ctx = house.context(account, run_id)
        first, second = (row.job_id for row in house.rows(run_id))
        await asyncio.gather(render_job(ctx, first), render_job(ctx, first))
        await render_job(ctx, first)
        await render_job(ctx, second)
    assert [row.error_type for row in house.rows(run_id)] == ["wrong_size", "wrong_size"]
    assert not ctx.state.breaker.has_tripped


@pytest.mark.parametrize(
    ("kind", "fault"),
    [
        ("file_webm", {"route": "file"}),
        ("file_empty", {"route": "file"}),
        ("file_trailing", {"route": "file"}),
        ("file_wrong", {"route": "file"}),
        ("answer", {"route": "result", "status": 200, "body": {"video": None}}),
    ],
)
async def test_a_group_of_which_no_video_comes_is_not_bought_to_its_end(house, monkeypatch, kind, fault):
    """It stays stopped while that lasts; afterwards the next process fetches what is paid for and goes on."""
    monkeypatch.setattr(settle, "RESULT_TRIES", 1)
    word = f"novideo {kind}"
    run_id = opened(house, (word, 29, 12))
    house.arm(kind, count=None, **fault)
    house.arm("history_hidden", route="history", count=None)
    ctx = await house.work(run_id)
    for _ in range(2):
        states = [row.state for row in house.rows(run_id)]
        assert 3 <= states.count(State.RENDERED) == bought(house, word) <= MOST_BOUGHT
        assert states.count(State.PENDING) == 12 - states.count(State.RENDERED)
        assert [text for text in ctx.state.notices if text.startswith("stopped buying")]
        assert await taken_up(house, run_id)
    house.faults.clear()
    await taken_up(house, run_id)
    assert {(row.state, row.error_type, row.error) for row in house.rows(run_id)} == {
        (State.SUCCEEDED, "", "")
    }
    assert bought(house, word) == 12
    assert house.sound()
