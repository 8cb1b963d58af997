"""Caps: what fits, what does not, and the greedy choice."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pricing.budgets import (
    Cap,
    Choice,
    Scope,
    Shortfall,
    Spend,
    campaign_client_key,
    choose,
    counts_in,
    full_room,
    shortfalls,
)

RUN = Cap("run", "", "total", 100)
ACME = Cap("campaign_client", "spring/acme", "total", 30)


def _spend(maximum_nano: int, *, priority: int = 0, client: str = "", model: str = "m1") -> Spend:
    return Spend("spring", client, model, priority, maximum_nano)


@pytest.mark.parametrize(
    ("scope", "key", "counts"),
    [
        ("run", "", True),
        ("ledger", "", True),
        ("campaign", "spring", True),
        ("campaign", "autumn", False),
        ("client", "acme", True),
        ("client", "bolt", False),
        ("campaign_client", "spring/acme", True),
        ("campaign_client", "autumn/acme", False),
        ("model", "m1", True),
        ("model", "m2", False),
    ],
)
def test_which_caps_a_job_counts_in(scope: Scope, key: str, counts: bool) -> None:
    """A job counts in the caps of its run, campaign, client and model, and in no others."""
    assert counts_in(_spend(1, client="acme"), Cap(scope, key, "total", 1)) is counts


@pytest.mark.parametrize("scope", ["client", "campaign_client"])
def test_a_job_without_client_counts_for_no_client(scope: Scope) -> None:
    """A job that names no client never counts in a client's cap, not even in one with an empty key."""
    assert not counts_in(_spend(1), Cap(scope, "", "total", 1))
    assert not counts_in(_spend(1), Cap(scope, "spring/", "total", 1))


@pytest.mark.parametrize(
    ("amounts", "result"), [([100], True), ([101], False), ([60, 40], True), ([60, 41], False)]
)
def test_fits_to_the_last_nano(amounts: list[int], result: bool) -> None:
    """A cap may be used up exactly, and not passed by one nano-dollar."""
    assert (not shortfalls([_spend(amount) for amount in amounts], full_room([RUN]))) is result


def test_shortfall_names_the_cap_and_the_amounts() -> None:
    """A cap that would be passed is named with what is needed in it and what is left of it."""
    jobs = [_spend(20, client="acme"), _spend(20, client="acme"), _spend(20)]
    assert shortfalls(jobs, {RUN: 100, ACME: 25}) == [Shortfall(ACME, 40, 25)]


def test_a_passed_cap_stops_only_its_own() -> None:
    """A cap that was passed before is in nobody's way who does not count in it."""
    assert not shortfalls([_spend(50)], {RUN: 100, ACME: -10})
    assert shortfalls([_spend(50, client="acme")], {RUN: 100, ACME: -10})


def test_choice_goes_by_priority_then_order() -> None:
    """Higher priorities first, the manifest's order among equals, and small ones may still fit."""
    jobs = [_spend(50), _spend(50), _spend(40, priority=5), _spend(70, priority=4), _spend(10)]
    assert choose(jobs, full_room([RUN])) == Choice(taken=(0, 2, 4), left=(1, 3), left_maximum_nano=120)


def test_among_equal_priorities_what_was_left_out_first_is_taken_first() -> None:
    """What waits goes before what is new, and never before a higher priority."""
    waiting = [replace(_spend(40), waiting_since_ms=since) for since in (None, 20, 10)]
    assert choose(waiting, full_room([RUN])).taken == (1, 2)
    assert choose([*waiting, _spend(50, priority=1)], full_room([RUN])).taken == (2, 3)


def test_a_job_that_does_not_fit_one_cap_uses_up_none() -> None:
    """Left for its client's cap, a job leaves the whole run's room to the others."""
    jobs = [_spend(40, client="acme", priority=1), _spend(100)]
    assert choose(jobs, full_room([RUN, ACME])).taken == (1,)


@pytest.mark.parametrize(
    ("cap", "label"),
    [
        (RUN, "run"),
        (ACME, "client acme in campaign spring"),
        (Cap("campaign", "spring", "day", 1), "campaign spring, per day"),
        (
            Cap("campaign_client", campaign_client_key("a/b", "acme"), "total", 1),
            "client acme in campaign a/b",
        ),
    ],
)
def test_labels(cap: Cap, label: str) -> None:
    """A cap is named in words."""
    assert cap.label == label


SPENDS = st.builds(
    Spend,
    campaign=st.just("spring"),
    client=st.sampled_from(["", "acme", "bolt"]),
    model=st.sampled_from(["m1", "m2"]),
    priority=st.integers(-3, 3),
    maximum_nano=st.integers(0, 60),
)
ROOMS = st.dictionaries(
    st.builds(
        Cap,
        st.sampled_from(["run", "campaign", "client", "campaign_client", "model", "ledger"]),
        st.sampled_from(["", "spring", "acme", "spring/acme", "m1"]),
        st.sampled_from(["total", "day", "month"]),
        st.just(1),
    ),
    st.integers(-20, 200),
    max_size=5,
)


@given(st.lists(SPENDS, max_size=30), ROOMS)
def test_choice_never_passes_a_cap(jobs: list[Spend], room: dict[Cap, int]) -> None:
    """What was chosen fits; every job is either taken or left; nothing that is left would still fit."""
    choice = choose(jobs, room)
    taken = [jobs[at] for at in choice.taken]
    assert not shortfalls([job for job in taken if job.maximum_nano], room)
    assert sorted((*choice.taken, *choice.left)) == list(range(len(jobs)))
    assert choice.left_maximum_nano == sum(jobs[at].maximum_nano for at in choice.left)
    for at in choice.left:
        assert shortfalls([*taken, jobs[at]], room) or jobs[at].maximum_nano == 0


@given(st.lists(SPENDS, max_size=30), ROOMS)
def test_everything_is_taken_where_everything_fits(jobs: list[Spend], room: dict[Cap, int]) -> None:
    """Nothing is left out for no reason."""
    if not shortfalls(jobs, {cap: max(left, 0) for cap, left in room.items()}):
        assert choose(jobs, {cap: max(left, 0) for cap, left in room.items()}).left == ()
