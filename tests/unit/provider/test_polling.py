"""The schedule, run against renders of known length on a clock that only moves when it waits."""

import random
from collections.abc import Iterable
from dataclasses import dataclass
from statistics import mean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callsheet.errors import Unavailable
from callsheet.provider.messages import Completed, InProgress, InQueue
from callsheet.provider.polling import CEILING_S, FLOOR_S, PollSchedule
from pricing.render_times import Estimate, RenderKind, RenderTimes

KIND = RenderKind("fal-ai/bytedance/seedance/v1/pro/text-to-video", 1920 * 1088, 120)


@dataclass(frozen=True)
class Watched:
    lag: float
    """Time between the end and seeing it, as a share of the render time."""
    calls: int
    render_s: float
    waits_s: tuple[float, ...]


def schedule(estimate: Estimate, **limits: float) -> PollSchedule:
    """Make a schedule for a job submitted at 0 s."""
    return PollSchedule(
        estimate=estimate,
        submitted_s=0.0,
        run_timeout_s=limits.get("run_timeout_s", 1e9),
        start_timeout_s=limits.get("start_timeout_s", 1e9),
        jitter=lambda: 0.5,
    )


def watched(
    true_s: float,
    estimate: Estimate,
    queued_s: float = 0.0,
    told_s: float | None = None,
    bettered: tuple[float, Estimate] | None = None,
) -> Watched:
    """Follow one job that waits and then renders, and say how well its end was seen.

    `bettered` is when, in seconds, others' renders have brought which estimate.
    """
    plan = schedule(estimate)
    waits, calls, end_s = [plan.first_wait_s(0.0)], 0, queued_s + true_s
    now_s = waits[0]
    while now_s < end_s:
        seen = InQueue(0) if now_s < queued_s else InProgress()
        calls += isinstance(seen, InProgress)
        if bettered is not None and now_s >= bettered[0]:
            plan.learn(bettered[1], now_s)
        waits.append(plan.next_wait_s(seen, now_s))
        now_s += waits[-1]
    render_s = plan.render_s(Completed(inference_time_s=told_s), now_s)
    return Watched((now_s - end_s) / true_s, calls + 1, render_s, tuple(waits[1:]))


def learned(samples: Iterable[float]) -> Estimate:
    """Estimate from renders that took these times."""
    times = RenderTimes()
    for sample in samples:
        times.observe(KIND, sample)
    return times.estimate(KIND)


def test_what_others_teach_in_time_is_as_good_as_known_before() -> None:
    """Ten renders begin together; those that begin with the next ten hear of it while they render."""
    prior, known = RenderTimes().estimate(KIND), learned([40.0, 41.0, 41.5, 42.0, 40.5])
    heard = watched(41.2, prior, bettered=(3.0, known))
    assert heard.lag < watched(41.2, prior).lag
    assert heard.lag <= 0.02


def test_a_straggler_is_not_asked_after_more_often_for_what_others_teach() -> None:
    """Half of its kind have ended when it might end any moment: its steps stay as large as they were."""
    prior, known = RenderTimes().estimate(KIND), learned([40.0, 41.0, 41.5, 42.0, 40.5])
    for true_s in (45.0, 60.0, 82.0):
        assert watched(true_s, prior, bettered=(41.0, known)).calls == watched(true_s, prior).calls


def test_learned_kinds_are_seen_within_two_percent_for_about_twenty_calls() -> None:
    """After five renders of +-10 % the mean lag is below 2 % of the render, at up to 20 calls."""
    chance = random.Random(4)
    runs = []
    for _ in range(200):
        estimate = learned(41 * chance.uniform(0.9, 1.1) for _ in range(5))
        runs.extend(watched(41 * chance.uniform(0.9, 1.1), estimate) for _ in range(5))
    assert mean(run.lag for run in runs) < 0.02
    assert mean(run.calls for run in runs) < 16
    assert sorted(run.calls for run in runs)[int(0.95 * len(runs))] <= 20


def test_the_published_figure_alone_is_good_enough_to_start_with() -> None:
    """With only the prior, and the truth within 0.7 to 1.4 of it: mean lag up to 3 %, at most 25 calls."""
    estimate = RenderTimes().estimate(KIND)
    runs = [watched(41 * (0.7 + 0.7 * step / 500), estimate) for step in range(501)]
    assert mean(run.lag for run in runs) <= 0.03
    assert max(run.calls for run in runs) <= 25


@pytest.mark.parametrize("factor", [1 / 20, 1 / 11, 1 / 5, 1 / 2, 2, 5, 11, 20])
@pytest.mark.parametrize("expected_s", [2.0, 41.0, 200.0])
def test_an_estimate_far_off_still_finds_the_end(factor: float, expected_s: float) -> None:
    """Off by up to 20 times either way, the lag stays within 25 % and the calls grow with the logarithm."""
    estimate = Estimate(expected_s, 0.7 * expected_s, 1.4 * expected_s)
    for step in range(40):
        true_s = expected_s * factor * (1 + step / 800)
        run = watched(true_s, estimate)
        assert run.lag <= 0.25 + FLOOR_S / true_s
        assert run.calls <= 50 + true_s / CEILING_S


def test_time_in_the_queue_is_not_render_time() -> None:
    """However long a job waits, the render that follows is timed and seen as if it had not waited."""
    estimate = learned([40, 41, 42, 40.5, 41.5])
    runs = [watched(41.0, estimate, queued_s=queued_s) for queued_s in range(0, 1200, 7)]
    assert mean(run.lag for run in runs) < 0.025
    assert all(abs(run.render_s - 41.0) < 0.1 * 41.0 for run in runs)


def test_a_queue_is_asked_sparsely() -> None:
    """Waiting at real scale costs a question every 2 to 10 s; for renders of 2 s it is asked more often."""
    slow, fast = schedule(Estimate(41.0, 29.0, 57.0)), schedule(Estimate(2.0, 1.4, 2.8))
    slow_waits = [slow.next_wait_s(InQueue(3), 10.0 * turn) for turn in range(20)]
    fast_waits = [fast.next_wait_s(InQueue(3), 0.1 * turn) for turn in range(20)]
    assert 2.0 <= min(slow_waits) <= max(slow_waits) <= CEILING_S
    assert 0.1 <= min(fast_waits) <= max(fast_waits) <= 0.25


@given(
    expected_s=st.floats(0.001, 5000),
    true_s=st.floats(0.001, 5000),
    queued_s=st.floats(0, 1000),
    is_known=st.booleans(),
)
def test_every_wait_is_within_its_bounds(
    expected_s: float, true_s: float, queued_s: float, is_known: bool
) -> None:
    """Whatever is expected and whatever happens, two questions are 20 ms to 10 s apart."""
    estimate = Estimate(expected_s, 0.8 * expected_s, 1.3 * expected_s, is_known)
    run = watched(true_s, estimate, queued_s)
    assert all(FLOOR_S <= wait_s <= CEILING_S for wait_s in run.waits_s)


def test_fals_own_figure_is_used_where_it_fits_what_was_seen() -> None:
    """An inference time inside the observed bounds is the render time; one outside them is not believed."""
    estimate = RenderTimes().estimate(KIND)
    assert watched(41.0, estimate, told_s=41.0).render_s == 41.0
    assert watched(41.0, estimate, told_s=5.0).render_s == pytest.approx(41.0, rel=0.1)
    assert watched(41.0, estimate, told_s=400.0).render_s == pytest.approx(41.0, rel=0.1)


def test_an_old_job_is_asked_about_at_once() -> None:
    """A job found again after a crash is not waited for as if it were new."""
    plan = schedule(Estimate(41.0, 29.0, 57.0))
    assert plan.first_wait_s(3600.0) == 0.0
    assert plan.first_wait_s(0.0) == pytest.approx(41.0 * 0.061)


def test_errors_back_off_and_change_nothing() -> None:
    """Failed questions wait longer and longer, and the next answer goes on where the last one stood."""
    estimate = Estimate(41.0, 39.0, 43.0, is_known=True)
    plan, undisturbed = schedule(estimate), schedule(estimate)
    for each in (plan, undisturbed):
        each.next_wait_s(InProgress(), 2.0)
    waits = [plan.wait_after_error_s(Unavailable("no")) for turn in range(6)]
    assert waits == sorted(waits)
    assert waits[0] < waits[-1] <= CEILING_S
    assert plan.next_wait_s(InProgress(), 39.5) == undisturbed.next_wait_s(InProgress(), 39.5)


def test_errors_are_jittered() -> None:
    """Two watchers of one outage do not come back at the same instant."""
    estimate = Estimate(41.0, 39.0, 43.0)
    early, late = (
        PollSchedule(estimate, 0.0, 1e9, 1e9, jitter=lambda value=value: value) for value in (0.0, 0.99)
    )
    assert early.wait_after_error_s(Unavailable("no")) < late.wait_after_error_s(Unavailable("no"))


@pytest.mark.parametrize(
    ("advice_s", "at_least_s", "at_most_s"), [(30.0, 30, 30), (0.0, 0, 10), (9e9, 300, 300)]
)
def test_the_servers_advice_is_followed(advice_s: float, at_least_s: float, at_most_s: float) -> None:
    """Retry-After is honoured, up to five minutes."""
    wait_s = schedule(Estimate(41.0, 39.0, 43.0)).wait_after_error_s(
        Unavailable("no", retry_after_s=advice_s)
    )
    assert at_least_s <= wait_s <= at_most_s


def test_a_request_that_is_gone_is_given_up_after_three_answers_in_a_row() -> None:
    """One 404 may be a hiccup just after the submission; three in a row are an answer."""
    plan, gone = schedule(Estimate(41.0, 39.0, 43.0)), Unavailable("no", gone=True)
    plan.wait_after_error_s(gone)
    plan.wait_after_error_s(gone)
    plan.next_wait_s(InQueue(0), 3.0)
    plan.wait_after_error_s(gone)
    plan.wait_after_error_s(gone)
    with pytest.raises(Unavailable) as caught:
        plan.wait_after_error_s(gone)
    assert caught.value is gone


def test_a_render_that_does_not_end_is_overdue_and_still_asked_about() -> None:
    """After the run timeout, counted from when it was first seen to run, the questions go on."""
    plan = schedule(Estimate(41.0, 29.0, 57.0), run_timeout_s=100.0)
    plan.next_wait_s(InQueue(0), 500.0)
    plan.next_wait_s(InProgress(), 600.0)
    assert plan.overdue(699.0) == ""
    assert plan.overdue(700.0) == "the render has not ended within 100 s"
    assert 0 < plan.next_wait_s(InProgress(), 700.0) <= CEILING_S


def test_a_job_that_does_not_begin_is_overdue_and_still_asked_about() -> None:
    """After the start timeout in the queue, the questions go on."""
    plan = schedule(Estimate(41.0, 29.0, 57.0), start_timeout_s=100.0)
    plan.next_wait_s(InQueue(0), 99.0)
    assert plan.overdue(99.0) == ""
    assert plan.overdue(100.0) == "the render has not begun within 100 s"
    assert 0 < plan.next_wait_s(InQueue(0), 100.0) <= CEILING_S


def test_an_outage_does_not_end_the_questions() -> None:
    """A job that holds a slot is asked about for as long as no answer comes."""
    plan = schedule(Estimate(41.0, 29.0, 57.0), run_timeout_s=100.0, start_timeout_s=50.0)
    waits = [plan.wait_after_error_s(Unavailable("no")) for count in range(1, 30)]
    assert all(0 < wait_s <= CEILING_S for wait_s in waits)


def test_the_prior_follows_pixels_frames_and_scale() -> None:
    """The published 41 s are for 1080p and 5 s; half the frames take half, a sandbox at speed 20 a 20th."""
    half = RenderKind(KIND.endpoint_id, KIND.pixels, 60)
    assert RenderTimes().estimate(KIND).expected_s == pytest.approx(41.0)
    assert RenderTimes().estimate(half).expected_s == pytest.approx(20.5)
    assert RenderTimes(scale=1 / 20).estimate(KIND).expected_s == pytest.approx(2.05)


def test_one_render_teaches_and_its_neighbours_learn_too() -> None:
    """A single observation replaces the prior, and other sizes on the endpoint follow its ratio."""
    times = RenderTimes()
    times.observe(KIND, 82.0)
    half = RenderKind(KIND.endpoint_id, KIND.pixels // 2, KIND.frames)
    elsewhere = RenderKind("fal-ai/other/model", KIND.pixels, KIND.frames)
    assert times.estimate(KIND).expected_s == pytest.approx(82.0)
    assert times.estimate(half).expected_s == pytest.approx(41.0)
    assert times.estimate(elsewhere).expected_s == pytest.approx(41.0)
    assert not times.estimate(KIND).is_known


@given(samples=st.lists(st.floats(0.01, 1e4), min_size=5, max_size=40))
def test_an_estimate_is_always_in_order(samples: list[float]) -> None:
    """Low, expected and high stay above zero and in order, whatever outliers were observed."""
    estimate = learned(samples)
    assert 0 < estimate.low_s < estimate.expected_s < estimate.high_s
    assert estimate.is_known
