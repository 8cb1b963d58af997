"""When the circuit breaker stops buying a price group."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from callsheet.engine.limits import Breaker

ENDINGS = st.lists(
    st.tuples(st.sampled_from("AB"), st.sampled_from(["passed", "wrong_size", "no_video"])), max_size=20
)


def told(breaker: Breaker, endings: list[tuple[str, str]]) -> list[int]:
    """Tell a breaker how paid jobs ended. Return the indexes at which it stopped a group."""
    stops = []
    for index, (group, ending) in enumerate(endings):
        if ending == "passed":
            breaker.record_success(group)
        elif breaker.record_failure(group, index, ending):
            stops.append(index)
    return stops


@given(ENDINGS, st.integers(1, 4))
def test_only_the_same_failure_again_and_again_from_the_first_clip_on_stops_a_group(endings, limit):
    """A group is stopped by its first `limit` endings where all are one failure, until a clip passes."""
    breaker = Breaker(limit)
    told(breaker, endings)
    for group in "AB":
        ours = [ending for name, ending in endings if name == group]
        first = ours[:limit]
        is_bad = len(first) == limit and len(set(first)) == 1 and "passed" not in ours
        assert breaker.is_open(group) == is_bad
    assert breaker.has_tripped == (breaker.is_open("A") or breaker.is_open("B"))


@given(ENDINGS, st.integers(1, 4))
def test_a_group_is_said_to_stop_once(endings, limit):
    """So a person reads it once, however many jobs were on their way."""
    stops = told(Breaker(limit), endings)
    assert max(Counter(endings[index][0] for index in stops).values(), default=0) <= 1


@given(ENDINGS)
def test_a_limit_of_zero_never_stops(endings):
    """It is how a person turns the breaker off; the next clip never waits for a verdict then."""
    breaker = Breaker(0)
    assert told(breaker, endings) == []
    assert (breaker.is_open("A"), breaker.has_tripped, breaker.is_trusted("A")) == (False, False, True)


@given(ENDINGS, st.integers(1, 4))
def test_a_group_is_trusted_once_a_clip_has_passed(endings, limit):
    """Before that, the next clip waits for the last one's verdict."""
    breaker = Breaker(limit)
    told(breaker, endings)
    for group in "AB":
        assert breaker.is_trusted(group) == ((group, "passed") in endings)


def test_a_file_that_fails_again_is_one_failure():
    """What is fetched again after a failure is the same clip."""
    breaker = Breaker(2)
    assert not breaker.record_failure("A", 1, "wrong_size")
    assert not breaker.record_failure("A", 1, "wrong_size")
    assert breaker.record_failure("A", 2, "wrong_size")
