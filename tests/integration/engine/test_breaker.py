"""The circuit breaker in a run: what is bought of a price group whose clips all come out wrong."""

import asyncio
from typing import Any

import pytest

from callsheet.engine.job import render_job
from callsheet.ledger import State

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
    assert ctx.stop.reason is None
    assert house.sound()


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
