"""fal's price list beside the book, pins, and rates learned from bills."""

from __future__ import annotations

from decimal import Decimal

import pytest

from pricing.catalog import ListedPrice, load_catalog
from pricing.observed_rates import Bill, learned_rates
from pricing.price_list import (
    Pin,
    accepted_rates,
    catalog_at,
    check_prices,
    differing,
    first_pin,
    pins_text,
    read_pins,
    with_rates,
)

CATALOG = load_catalog()
LITE, FAST, FIFTEEN = (
    f"fal-ai/bytedance/seedance/{path}/text-to-video" for path in ("v1/lite", "v1/pro/fast", "v1.5/pro")
)
LITE_IMAGE = "fal-ai/bytedance/seedance/v1/lite/image-to-video"


def listed(endpoint_id: str, price: str, unit: str = "1000 tokens", currency: str = "USD") -> ListedPrice:
    """One line of the list."""
    return ListedPrice(endpoint_id, Decimal(price), unit, currency)


@pytest.mark.parametrize(
    ("price", "unit", "rate_nano"),
    [
        ("0.0018", "1000 tokens", 1_800_000_000),
        ("0.0018", "1k tokens", 1_800_000_000),
        ("1.8", "1M tokens", 1_800_000_000),
        ("1.8", "million tokens", 1_800_000_000),
        ("1.8", "per million video tokens", 1_800_000_000),
        ("1.8", "1,000,000 tokens", 1_800_000_000),
        ("0.0000018", "token", 1_800_000_000),
        ("0.0000000000000001", "tokens", 1),
        ("1.8", "1m tokens", 1_800_000_000),
        ("1.8", " 1M TOKENS ", 1_800_000_000),
        ("1.8", "1 million output tokens", 1_800_000_000),
        ("1.8", "/1m tokens", 1_800_000_000),
        ("0.0018", "1000_tokens", 1_800_000_000),
        ("0.62", "video", None),
        ("0.62", "videos", None),
        ("0.01", "seconds", None),
        ("0.01", "compute seconds", None),
        ("1.8", "units", None),
        ("1.8", "1m token seconds", None),
        ("1.8", "million", None),
        ("1.8", "1.5m tokens", None),
        ("0.01", "second", None),
        ("0", "token", None),
        ("1", "0 tokens", None),
        ("9999999", "token", None),
    ],
)
def test_what_a_unit_means(price: str, unit: str, rate_nano: int | None) -> None:
    """Every plain way of writing an amount of tokens is read; anything else is no rate, and not zero."""
    assert listed(LITE, price, unit).rate_nano == rate_nano


def test_another_currency_is_not_compared() -> None:
    """1.8 euros are not 1.8 dollars."""
    assert listed(LITE, "0.0018", currency="EUR").rate_nano is None


@pytest.mark.parametrize(
    ("endpoint_id", "price", "verdict"),
    [
        (LITE, listed(LITE, "0.0018"), "agrees"),
        (LITE, listed(LITE, "0.00180001"), "differs"),
        (LITE, listed(LITE, "1.8", "1m tokens"), "agrees"),
        (LITE, listed(LITE, "1.8000000000000003", "1m tokens"), "agrees"),
        (LITE, listed(LITE, "0.0018", "1m tokens"), "differs"),
        (LITE, listed(LITE, "1.8", "1000 tokens"), "differs"),
        (LITE, listed(LITE, "1.8", "units"), "not comparable"),
        (LITE, listed(LITE, "0.0009", "compute seconds"), "not comparable"),
        (FIFTEEN, listed(FIFTEEN, "0.0024"), "agrees"),
        (FIFTEEN, listed(FIFTEEN, "0.0012"), "agrees"),
        (FIFTEEN, listed(FIFTEEN, "0.0018"), "differs"),
        (LITE, listed(LITE, "0.18", "video"), "not comparable"),
        (LITE, listed(FAST, "0.001"), "not listed"),
    ],
)
def test_verdicts(endpoint_id: str, price: ListedPrice, verdict: str) -> None:
    """A price agrees with any of its model's rates; what cannot be compared never counts as agreeing."""
    (check,) = check_prices(CATALOG, [endpoint_id], [price])
    assert check.verdict == verdict


@pytest.mark.parametrize(
    ("prices", "rates"),
    [
        ({LITE: "0.0020"}, {("seedance-1.0-lite", False): 2_000_000_000}),
        ({LITE: "0.0010"}, {("seedance-1.0-lite", False): 1_000_000_000}),
        ({LITE: "0.0020", LITE_IMAGE: "0.0021"}, {("seedance-1.0-lite", False): 2_100_000_000}),
        # 2.64 is near the price with sound: both rise by a tenth. 1.5 is near the silent one: by a quarter.
        (
            {FIFTEEN: "0.00264"},
            {("seedance-1.5-pro", True): 2_640_000_000, ("seedance-1.5-pro", False): 1_320_000_000},
        ),
        (
            {FIFTEEN: "0.0015"},
            {("seedance-1.5-pro", True): 3_000_000_000, ("seedance-1.5-pro", False): 1_500_000_000},
        ),
        ({FIFTEEN: "0.0020"}, {}),
    ],
)
def test_what_is_held_once_other_prices_are_accepted(prices: dict, rates: dict) -> None:
    """The listed rate counts, of several the highest; where sound has its own price, never below the book."""
    checks = check_prices(CATALOG, prices, [listed(name, price) for name, price in prices.items()])
    assert accepted_rates(CATALOG, checks) == {**CATALOG.rates, **rates}


def test_an_accepted_price_agrees_from_then_on() -> None:
    """Also where the rate that is held is another one, because sound may be meant or not."""
    price = listed(FIFTEEN, "0.0020")
    assert differing(check_prices(CATALOG, [FIFTEEN], [price]))
    assert not differing(check_prices(CATALOG, [FIFTEEN], [price], accepted={FIFTEEN: 2_000_000_000}))


def test_pins_come_back_as_they_were_written() -> None:
    """Every rate, its moment and what a person accepted; a run without pins has the book's rates."""
    told = {FIFTEEN: listed(FIFTEEN, "0.0000012", "token"), LITE: listed(LITE, "0.20", "videos", "EUR")}
    later = Pin(5, "2026-11-21", {("seedance-1.5-pro", True): 7}, {FIFTEEN: 7}, told)
    pins = (first_pin(CATALOG), later)
    assert read_pins(pins_text(pins), CATALOG) == pins
    assert read_pins("", CATALOG) == (first_pin(CATALOG),)


def test_what_was_bought_keeps_the_rate_of_its_moment() -> None:
    """A newer book, and a price that was accepted later, change nothing about what was bought before."""
    key = ("seedance-1.0-lite", False)
    pins = (Pin(0, "old", {key: 1}), Pin(1000, "old", {key: 2}))
    newer_book = with_rates(CATALOG, {key: 3})
    found = [catalog_at(newer_book, pins, at_ms).rates[key] for at_ms in (0, 999, 1000, 10**15)]
    assert found == [1, 1, 2, 2]


def test_a_unit_keeps_its_meaning_of_the_moment() -> None:
    """What was bought while the list said "1m tokens" is settled by that, also after the list changed."""
    first, then = listed(LITE, "1.8", "1m tokens"), listed(LITE, "0.0018", "1000 tokens")
    pins = (Pin(0, "old", {}, {}, {LITE: first}), Pin(1000, "old", {}, {}, {LITE: then}))
    assert [catalog_at(CATALOG, pins, at_ms).listed[LITE] for at_ms in (999, 1000)] == [first, then]
    assert catalog_at(CATALOG, pins, 0).listed[FAST] == CATALOG.listed[FAST]


def test_a_learned_rate_is_the_median_of_bills() -> None:
    """Three clips of 120 frames, billed as 121, 121 and 500: the one outlier changes nothing."""
    key, size = (LITE, False), 864 * 480
    costs = [-(-size * frames * 1_800_000_000 // (1024 * 10**6)) for frames in (500, 121, 121)]
    learned = learned_rates(Bill(key, size * 120, cost_nano) for cost_nano in costs)[key]
    assert (learned.count, learned.deviation_permille(1_800_000_000)) == (3, 8)
