"""Advice: exact savings, plans that really fit, priorities kept."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pricing.advice import Order, advise
from pricing.budgets import Cap, Spend, shortfalls
from pricing.catalog import load_catalog
from pricing.quotes import Shot, quote

CATALOG = load_catalog()
CAPS = (Cap("run", "", "total", 1), Cap("client", "acme", "total", 1))
BASE = "fal-ai/bytedance/seedance"


def order(shot: Shot, *, priority: int = 0, client: str = "", end_image: bool = False) -> Order:
    """One job at its price."""
    price = quote(CATALOG, shot)
    spend = Spend("spring", client, shot.endpoint.model, priority, price.maximum_nano)
    return Order(shot, price, spend, end_image)


def shot(path: str, **given: object) -> Shot:
    """A shot of an endpoint, at 16:9."""
    endpoint = CATALOG.endpoints[f"{BASE}/{path}"]
    made = Shot(endpoint, endpoint.default_resolution, "16:9", audio=endpoint.audio)
    return replace(made, **given)  # type: ignore[arg-type]


@st.composite
def orders(draw: st.DrawFn) -> Order:
    """Any job that the catalog takes."""
    endpoint = draw(st.sampled_from(list(CATALOG.endpoints.values())))
    made = Shot(
        endpoint,
        draw(st.sampled_from(endpoint.resolutions)),
        draw(st.sampled_from(endpoint.aspect_ratios)),
        duration_s=draw(
            st.sampled_from(endpoint.durations_s) | st.sampled_from([endpoint.default_duration_s])
        ),
        num_frames=draw(st.sampled_from([None, 29, 121])) if endpoint.num_frames else None,
        audio=endpoint.audio and draw(st.booleans()),
    )
    return order(
        made,
        priority=draw(st.integers(0, 3)),
        client=draw(st.sampled_from(["", "acme"])),
        end_image=endpoint.end_image and draw(st.booleans()),
    )


@given(st.lists(orders(), min_size=1, max_size=8), st.integers(1, 100), st.integers(1, 100))
def test_an_advised_plan_fits_and_its_saving_is_the_difference_of_the_quotes(jobs, percent, of_acme):
    """Priced anew, every advised plan stays within every cap and costs less by exactly what was said."""
    total_nano = sum(each.quote.maximum_nano for each in jobs)
    room = {CAPS[0]: total_nano * percent // 100, CAPS[1]: total_nano * of_acme // 100}
    for advice in advise(CATALOG, jobs, range(len(jobs)), room):
        after = list(jobs)
        for position, changed in zip(advice.positions, advice.shots, strict=True):
            takes_length = changed.endpoint.auto_duration or not changed.is_open
            assert changed.duration_s in (*changed.endpoint.durations_s, None)
            assert takes_length or changed.num_frames
            assert changed.aspect_ratio in changed.endpoint.aspect_ratios
            before = after[position]
            price = quote(CATALOG, changed)
            spend = replace(before.spend, maximum_nano=price.maximum_nano)
            after[position] = replace(before, shot=changed, quote=price, spend=spend)
        assert not shortfalls([each.spend for each in after], room)
        saved_nano = total_nano - sum(each.quote.maximum_nano for each in after)
        expected_nano = sum(each.quote.expected_nano for each in jobs) - sum(
            each.quote.expected_nano for each in after
        )
        assert (advice.saving_maximum_nano, advice.saving_expected_nano) == (saved_nano, expected_nano)
        assert saved_nano > 0


@given(
    st.lists(orders(), min_size=1, max_size=4),
    st.lists(st.integers(0, 3), min_size=1, max_size=30),
    st.integers(1, 100),
)
def test_jobs_that_are_alike_get_the_same_advice_together(kinds, places, percent):
    """Many jobs of few kinds are advised on as if each stood for itself, to the nano-dollar."""
    which = [place % len(kinds) for place in places]
    jobs = [kinds[kind] for kind in which]
    room = {CAPS[0]: sum(each.quote.maximum_nano for each in jobs) * percent // 100, CAPS[1]: 10**9}
    found = advise(CATALOG, kinds, which, room)
    assert found == advise(CATALOG, jobs, range(len(jobs)), room)
    for advice in found:
        assert advice.priorities == tuple(sorted({jobs[at].spend.priority for at in advice.positions}))


def test_what_fits_needs_no_advice():
    """Nothing is advised where there is room."""
    one = order(shot("v1/pro/text-to-video"))
    assert advise(CATALOG, [one], [0], {CAPS[0]: one.quote.maximum_nano}) == []


def test_the_lowest_priority_changes_first_and_no_more_than_needed():
    """Of three equal jobs one has to change: the last one of the lowest priority."""
    jobs = [order(shot("v1/pro/text-to-video"), priority=priority) for priority in (1, 0, 0)]
    room = {CAPS[0]: sum(each.quote.maximum_nano for each in jobs) - 1}
    found = advise(CATALOG, jobs, range(len(jobs)), room)
    assert {advice.positions for advice in found} == {(2,)}
    assert [advice.change for advice in found] == ["at most 4 s", "with seedance-1.0-pro-fast", "at 480p"]


@pytest.mark.parametrize(("short_by_nano", "touched"), [(0, 1), (1, 2)])
def test_one_nano_too_little_is_too_little(short_by_nano: int, touched: int):
    """Where the saving of one job is a nano-dollar short, a second job changes too."""
    jobs = [order(shot("v1/pro/text-to-video")) for _ in range(2)]
    low = quote(CATALOG, replace(jobs[0].shot, resolution="480p"))
    room = {CAPS[0]: jobs[0].quote.maximum_nano + low.maximum_nano - short_by_nano}
    (advice,) = [each for each in advise(CATALOG, jobs, range(len(jobs)), room) if each.change == "at 480p"]
    assert len(advice.positions) == touched


def test_a_change_that_a_larger_saving_makes_needless_is_taken_back():
    """The small last clip stays as it is, where the large one before it has to change in any case."""
    jobs = [order(shot("v1/pro/text-to-video")), order(shot("v1/lite/text-to-video", resolution="480p"))]
    room = {CAPS[0]: sum(each.quote.maximum_nano for each in jobs) // 2}
    assert {advice.positions for advice in advise(CATALOG, jobs, range(len(jobs)), room)} == {(0,)}


@pytest.mark.parametrize(
    ("job", "change", "possible"),
    [
        (order(shot("v1.5/pro/text-to-video")), "without sound", True),
        (order(shot("v1.5/pro/text-to-video", audio=False)), "without sound", False),
        (order(shot("v1/pro/image-to-video"), end_image=True), "with seedance-1.0-pro-fast", False),
        (order(shot("v1/lite/text-to-video", aspect_ratio="9:21")), "with seedance-1.0-pro-fast", False),
        (order(shot("v1/lite/reference-to-video")), "with seedance-1.0-pro-fast", False),
        (order(shot("v1/pro/text-to-video", resolution="480p")), "at 480p", False),
        (order(shot("v1/lite/text-to-video", num_frames=100)), "at most 4 s", False),
    ],
)
def test_only_what_the_endpoint_takes_is_advised(job, change, possible):
    """A change that the job cannot be made with is never advised."""
    found = advise(CATALOG, [job], [0], {CAPS[0]: job.quote.maximum_nano - 1})
    assert (change in [advice.change for advice in found]) is possible


def test_where_one_change_is_not_enough_they_are_put_together():
    """A twentieth of the price needs every change there is; the row of changes is the shortest that fits."""
    job = order(shot("v1.5/pro/text-to-video", duration_s=12, resolution="1080p"))
    (advice,) = advise(CATALOG, [job], [0], {CAPS[0]: job.quote.maximum_nano // 20})
    assert advice.change == "without sound, at 480p, with seedance-1.0-pro-fast, as short as can be"


def test_what_nothing_helps_is_left_to_fit():
    """Without any room there is nothing to advise."""
    assert advise(CATALOG, [order(shot("v1/pro/text-to-video"))], [0], {CAPS[0]: 1}) == []
