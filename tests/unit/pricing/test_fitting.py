"""Which jobs have to change: very many at a time are what they are one after the other."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pricing.budgets import Cap, Spend, counts_in
from pricing.fitting import Queue

CAPS = (
    Cap("run", "", "total", 1),
    Cap("client", "acme", "total", 1),
    Cap("client", "globex", "total", 1),
    Cap("model", "pro", "day", 1),
)
SPENDS = st.builds(
    Spend,
    campaign=st.just("spring"),
    client=st.sampled_from(["", "acme", "globex"]),
    model=st.sampled_from(["pro", "lite"]),
    priority=st.integers(-1, 2),
    maximum_nano=st.integers(0, 40),
)


def _one_by_one(kinds, which, room, saved_nano) -> list[int] | None:
    """Change jobs from the least important one on, and take back what was needless, a job at a time."""
    jobs = [kinds[kind] for kind in which]
    over = {
        cap: sum(job.maximum_nano for job in jobs if counts_in(job, cap)) - max(left, 0)
        for cap, left in room.items()
    }
    over = {cap: nano for cap, nano in over.items() if nano > 0}
    changed: list[int] = []
    for at in sorted(range(len(jobs)), key=lambda at: (jobs[at].priority, -at)):
        concerned = [cap for cap in over if counts_in(jobs[at], cap)]
        if saved_nano[which[at]] and any(over[cap] > 0 for cap in concerned):
            changed.append(at)
            for cap in concerned:
                over[cap] -= saved_nano[which[at]]
    if any(nano > 0 for nano in over.values()):
        return None
    for at in reversed(list(changed)):
        concerned = [cap for cap in over if counts_in(jobs[at], cap)]
        if all(over[cap] + saved_nano[which[at]] <= 0 for cap in concerned):
            changed.remove(at)
            for cap in concerned:
                over[cap] += saved_nano[which[at]]
    return sorted(changed)


@given(st.data())
@pytest.mark.parametrize("unit_nano", [1, 10**18])
def test_many_at_a_time_are_as_one_by_one(unit_nano, data):
    """For any jobs, caps and savings, also where sums are larger than 64 bits hold."""
    kinds = [
        Spend(each.campaign, each.client, each.model, each.priority, each.maximum_nano * unit_nano)
        for each in data.draw(st.lists(SPENDS, min_size=1, max_size=5))
    ]
    which = data.draw(st.lists(st.integers(0, len(kinds) - 1), max_size=30))
    room = {cap: data.draw(st.integers(-5, 400)) * unit_nano for cap in CAPS}
    saved_nano = [data.draw(st.integers(0, kind.maximum_nano // unit_nano)) * unit_nano for kind in kinds]
    queue = Queue(kinds, which, room)
    expected = _one_by_one(kinds, which, room, saved_nano)
    if queue.over:
        assert queue.changed(saved_nano) == expected
    else:
        assert expected == []


def test_a_kind_that_no_cap_is_concerned_with_may_be_of_any_price():
    """What is too large for 64 bits is so also where nothing of it is summed up."""
    kinds = [Spend("spring", "", "pro", 0, 10), Spend("spring", "", "pro", 0, 10**19)]
    assert Queue(kinds, [0, 0], {CAPS[0]: 10}).changed([10, 10**19]) == [1]


def test_what_is_saved_to_the_nano_dollar_is_enough():
    """A cap may be used up exactly: one job less is not asked for, and one more is not either."""
    kinds, room = [Spend("spring", "", "pro", 0, 10)], {CAPS[0]: 20}
    assert Queue(kinds, [0, 0, 0], room).changed([10]) == [2]
    assert Queue(kinds, [0, 0], {CAPS[0]: 0}).changed([10]) == [0, 1]
    assert Queue(kinds, [0, 0], {CAPS[0]: 0}).changed([9]) is None
