"""A mark-up and another currency, in whole units that add up as shown."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pricing.charges import Terms, parse_terms, split

COSTS = st.lists(st.lists(st.integers(0, 10**13), max_size=6), max_size=5)
TERMS = st.builds(
    Terms,
    markup_ppm=st.integers(0, 10_000_000),
    currency=st.sampled_from(["USD", "EUR", "JPY", "KWD"]),
    rate_nano=st.integers(1, 10**15),
)


@given(TERMS, COSTS)
def test_lines_add_up_to_groups_and_groups_to_the_total(terms: Terms, costs: list[list[int]]) -> None:
    """And each line and group is less than one smallest unit from its exact value."""
    total, groups, lines = split(terms, costs)
    exact = Fraction(terms.rate_nano * (1_000_000 + terms.markup_ppm), 10**24) * 10**terms.places
    assert total == sum(groups)
    assert 0 <= total - exact * sum(map(sum, costs)) < 1
    for group, parts, own in zip(groups, lines, costs, strict=True):
        assert group == sum(parts)
        assert abs(group - exact * sum(own)) < 1
        assert all(abs(part - exact * cost) < 1 for part, cost in zip(parts, own, strict=True))


def test_a_group_is_not_short_because_another_has_larger_remainders() -> None:
    """A hundred lines of 0.4 cents beside a hundred of 0.6: each client pays for its own."""
    terms = Terms()
    _, groups, _ = split(terms, [[4_000_000] * 100, [6_000_000] * 100])
    assert groups == [40, 60]


@pytest.mark.parametrize(
    ("given", "shown", "charge"),
    [
        (("15%", None, None), ("15%", "USD", "1"), "1.15"),
        (("12.5", None, None), ("12.5%", "USD", "1"), "1.13"),
        ((None, "eur", "0.92"), ("0%", "EUR", "0.92"), "0.92"),
        (("10%", "JPY", "151.3"), ("10%", "JPY", "151.3"), "167"),
        (("0", "KWD", "0.3071"), ("0%", "KWD", "0.3071"), "0.308"),
    ],
)
def test_terms_are_read_as_people_write_them(given, shown, charge) -> None:
    """A dollar's charge is rounded up to the currency's own smallest unit."""
    terms = parse_terms(*given)
    assert terms is not None
    assert (terms.markup_text, terms.currency, terms.rate_text) == shown
    assert terms.text(terms.charge(10**9)) == charge


def test_without_any_there_are_no_terms() -> None:
    """The ledger's own amounts are shown alone."""
    assert parse_terms(None, None, None) is None


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (("-5%", None, None), "not a mark-up"),
        (("1e3", None, None), "not a mark-up"),
        (("1001%", None, None), "not a mark-up"),
        ((None, "euro", "0.92"), "three letters"),
        ((None, "EUR", None), "EUR needs its rate"),
        ((None, None, "0.92"), "a rate is for another currency"),
        ((None, "EUR", "0"), "not a rate"),
        ((None, "EUR", "1,1"), "not a rate"),
    ],
)
def test_what_cannot_be_meant_is_refused(given, said) -> None:
    """With what was found and what is allowed."""
    with pytest.raises(ValueError, match=said):
        parse_terms(*given)
