"""Money in and out of text."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pricing.money import MAX_USD, NANO_PER_USD, ceil_div, parse_usd, usd_rounded_up, usd_text

AMOUNTS = st.integers(1, MAX_USD * NANO_PER_USD)


@pytest.mark.parametrize(
    ("text", "nano"),
    [
        ("120", 120 * 10**9),
        ("120.00", 120 * 10**9),
        (" 39.5 ", 39_500_000_000),
        (".5", 500_000_000),
        ("5.", 5 * 10**9),
        ("+7", 7 * 10**9),
        ("0.000000001", 1),
        ("1000000", MAX_USD * 10**9),
        ("007", 7 * 10**9),
    ],
)
def test_amounts_are_read_as_typed(text: str, nano: int) -> None:
    """What a person plainly means by an amount is read exactly."""
    assert parse_usd(text) == nano


@pytest.mark.parametrize(
    "text",
    [
        *("", " ", "0", "0.00", "-0", "-1", "-0.01", "1000000.01", "1000001", "9999999"),
        *("nan", "NaN", "-nan", "sNaN", "inf", "-inf", "Infinity", "1e3", "1E3", "1e5000000", "1e-9"),
        *("9" * 5000, "0." + "0" * 5000 + "1", "0.0000000001", "1,000", "1.000,00", "1 000", "$5", "5 USD"),
        *(
            "5usd",
            "\N{ARABIC-INDIC DIGIT FIVE}",
            "\N{FULLWIDTH DIGIT FIVE}",
            "0x10",
            "1_000",
            "--1",
            "+-1",
            "1.2.3",
            ".",
            "+",
            "None",
            "true",
            "5\x00",
            "5\n5",
        ),
    ],
)
def test_everything_else_is_refused(text: str) -> None:
    """NaN, infinities, exponents, signs, foreign digits and number bombs are no budgets, and cost no time."""
    with pytest.raises(ValueError, match="is not"):
        parse_usd(text)


@given(AMOUNTS)
def test_text_round_trip(nano: int) -> None:
    """An amount written and read again is the same amount, to the nano-dollar."""
    assert parse_usd(usd_text(nano)) == nano


@given(st.integers(-(10**18), 10**18))
def test_text_is_exact(nano: int) -> None:
    """The text is the exact amount, with at least the two decimals of a price."""
    text = usd_text(nano)
    assert Decimal(text) * NANO_PER_USD == nano
    assert len(text.partition(".")[2]) >= 2


@given(AMOUNTS, st.integers(2, 9))
def test_rounding_for_people_goes_up(nano: int, places: int) -> None:
    """What is shown is never less than what it costs, and less than one last decimal more."""
    shown = Decimal(usd_rounded_up(nano, places).replace("$", "").replace(",", ""))
    exact = Decimal(nano) / NANO_PER_USD
    assert exact <= shown < exact + Decimal(10) ** -places


@given(st.integers(-(10**20), 10**20), st.integers(1, 10**12))
def test_ceil_div_is_the_ceiling(numerator: int, denominator: int) -> None:
    """Division rounds up for any size: no float is in between."""
    result = ceil_div(numerator, denominator)
    assert (result - 1) * denominator < numerator <= result * denominator
