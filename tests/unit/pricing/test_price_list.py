"""fal's price list beside the book, pins, and rates learned from bills."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pricing.bills import cost_of_units
from pricing.catalog import load_catalog
from pricing.pins import Pin, catalog_at, first_pin, pins_text, read_pins, with_rates
from pricing.price_list import accepted_rates, check_prices, differing
from pricing.quotes import Shot, quote
from pricing.rates import Bill, Rate, RateKey, learned_rates, rates_sha256
from pricing.units import ListedPrice, Unit, parse_unit

CATALOG = load_catalog()
LITE, FAST, FIFTEEN = (
    f"fal-ai/bytedance/seedance/{path}/text-to-video" for path in ("v1/lite", "v1/pro/fast", "v1.5/pro")
)
LITE_IMAGE = "fal-ai/bytedance/seedance/v1/lite/image-to-video"
TWO = "bytedance/seedance-2.0/text-to-video"
TWO_FIVE = "bytedance/seedance-2.5/text-to-video"


def listed(endpoint_id: str, price: str, unit: str = "1000 tokens", currency: str = "USD") -> ListedPrice:
    """One line of the list."""
    return ListedPrice(endpoint_id, Decimal(price), unit, currency)


def rate(of: str, nano: int, *, audio: bool | None = False) -> Rate:
    """A row of so many nano-dollars per million tokens."""
    return Rate(of, Unit("tokens", 1_000_000), nano, "2026-11-21", "https://fal.ai", audio=audio)


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
        ("0.0000000000000001", "tokens", Fraction(1, 10)),
        ("1.8", "1m tokens", 1_800_000_000),
        ("1.8", " 1M TOKENS ", 1_800_000_000),
        ("1.8", "1 million output tokens", 1_800_000_000),
        ("1.8", "/1m tokens", 1_800_000_000),
        ("0.0018", "1000_tokens", 1_800_000_000),
        ("1.8", "1m token seconds", None),
        ("1.8", "million", None),
        ("1.8", "1.5m tokens", None),
        ("0", "token", None),
        ("1", "0 tokens", None),
        ("9999999", "token", None),
    ],
)
def test_what_an_amount_of_tokens_costs(price: str, unit: str, rate_nano: int | None) -> None:
    """Every plain way of writing an amount of tokens is read; anything else is no rate, and not zero."""
    each = listed(LITE, price, unit).nano_each
    assert (each and each * 1_000_000) == rate_nano


@pytest.mark.parametrize(
    ("text", "unit"),
    [
        ("video", Unit("videos")),
        ("videos", Unit("videos")),
        ("per video", Unit("videos")),
        ("5 videos", Unit("videos", 5)),
        ("second", Unit("seconds")),
        ("seconds", Unit("seconds")),
        ("/second", Unit("seconds")),
        ("second of video", Unit("seconds")),
        ("video seconds", Unit("seconds")),
        ("5 seconds", Unit("seconds", 5)),
        ("minutes", Unit("seconds", 60)),
        ("compute seconds", None),
        ("gpu seconds", None),
        ("units", None),
        ("images", None),
        ("megapixels", None),
        ("processed megapixels", None),
        ("0 seconds", None),
        ("0 videos", None),
        ("", None),
        ("s" * 10_000, None),
    ],
)
def test_what_a_unit_means(text: str, unit: Unit | None) -> None:
    """Seconds and videos are read as such; seconds of a computer, and what is not known, are not."""
    assert parse_unit(text) == unit


def test_another_currency_is_not_compared() -> None:
    """1.8 euros are not 1.8 dollars."""
    assert listed(LITE, "0.0018", currency="EUR").nano_each is None


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
        (TWO, listed(TWO, "0.014"), "agrees"),
        (TWO, listed(TWO, "14", "1m tokens"), "agrees"),
        # Prices that the book has for 4k and for video input are not what the list means.
        (TWO, listed(TWO, "0.008"), "differs"),
        (TWO, listed(TWO, "0.0084"), "differs"),
        (TWO_FIVE, listed(TWO_FIVE, "0.0234116"), "differs"),
    ],
)
def test_verdicts(endpoint_id: str, price: ListedPrice, verdict: str) -> None:
    """A price agrees with a rate that the list may mean; what cannot be compared never agrees."""
    (check,) = check_prices(CATALOG, [endpoint_id], [price])
    assert check.verdict == verdict


@pytest.mark.parametrize("endpoint_id", sorted(CATALOG.listed))
def test_the_captured_list_agrees_with_the_book(endpoint_id: str) -> None:
    """Every line of fal's list is understood, and is a rate of the book."""
    (check,) = check_prices(CATALOG, [endpoint_id], [CATALOG.listed[endpoint_id]])
    assert check.verdict == "agrees"


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
        # 2 is nearer to the price with sound, which does not fall. A clip without may be billed at 2.
        (
            {FIFTEEN: "0.0020"},
            {("seedance-1.5-pro", True): 2_400_000_000, ("seedance-1.5-pro", False): 2_000_000_000},
        ),
        (
            {FIFTEEN: "0.0010"},
            {("seedance-1.5-pro", True): 2_400_000_000, ("seedance-1.5-pro", False): 1_200_000_000},
        ),
        ({TWO: "0.021"}, {("seedance-2.0", None): 21_000_000}),
        ({TWO: "0.007"}, {("seedance-2.0", None): 7_000_000}),
    ],
)
def test_what_is_held_once_other_prices_are_accepted(
    prices: dict[str, str], rates: dict[tuple[str, bool | None], int]
) -> None:
    """The listed rate counts, of several the highest; where sound has its own price, never below the book."""
    checks = check_prices(CATALOG, prices, [listed(name, price) for name, price in prices.items()])
    accepted = accepted_rates(CATALOG, checks)
    moved = {of for of, _ in rates}
    assert [each for each in accepted if each.of not in moved] == [
        each for each in CATALOG.rates if each.of not in moved
    ]
    for (of, audio), nano in rates.items():
        found = max(
            each.nano
            for each in accepted
            if (each.of, each.audio, each.resolution, each.video_input) == (of, audio, None, None)
        )
        assert found == nano


@given(st.integers(600, 4_800), st.booleans())
def test_what_is_held_covers_a_bill_at_the_listed_price_once_it_is_accepted(
    thousandths: int, sound: bool
) -> None:
    """Whatever fal lists: its units cost no more than the hold, at that price or the rate of the clip."""
    line = listed(FIFTEEN, str(Decimal(thousandths) / 1000), "1m tokens")
    checks = check_prices(CATALOG, [FIFTEEN], [line])
    pin = Pin(1, "later", accepted_rates(CATALOG, checks), listed={FIFTEEN: line})
    catalog = catalog_at(CATALOG, [pin], 1)
    shot = Shot(CATALOG.endpoints[FIFTEEN], "720p", "16:9", 5, audio=sound)
    price = quote(catalog, shot)
    units = Decimal(price.width_px * price.height_px * (price.frames + 1)) / 1024 / 10**6
    assert (cost_of_units(catalog, shot, units) or 0) <= price.maximum_nano


def test_all_rates_of_a_model_move_together() -> None:
    """Where the base price rises by half, so do 4k and the part of a video that comes in."""
    checks = check_prices(CATALOG, [TWO], [listed(TWO, "0.021")])
    before = [(each.nano, each.input_nano) for each in CATALOG.rates if each.of == "seedance-2.0"]
    after = [
        (each.nano, each.input_nano) for each in accepted_rates(CATALOG, checks) if each.of == "seedance-2.0"
    ]
    assert after == [(nano * 3 // 2, input_nano * 3 // 2) for nano, input_nano in before]


def test_an_accepted_price_agrees_from_then_on() -> None:
    """Also where the rate that is held is another one, because sound may be meant or not."""
    price = listed(FIFTEEN, "0.0020")
    assert differing(check_prices(CATALOG, [FIFTEEN], [price]))
    accepted = {FIFTEEN: listed(FIFTEEN, "2", "1m tokens")}
    assert not differing(check_prices(CATALOG, [FIFTEEN], [price], accepted=accepted))


def test_pins_come_back_as_they_were_written() -> None:
    """Every rate, its moment and what a person accepted; a run without pins has the book's rates."""
    told = {FIFTEEN: listed(FIFTEEN, "0.0000012", "token"), LITE: listed(LITE, "0.20", "videos", "EUR")}
    later = Pin(5, "2026-11-21", (rate("seedance-1.5-pro", 7, audio=True),), told, told)
    pins = (first_pin(CATALOG), later)
    assert read_pins(pins_text(pins), CATALOG) == pins
    assert read_pins("", CATALOG) == (first_pin(CATALOG),)


def test_what_was_bought_keeps_the_rate_of_its_moment() -> None:
    """A newer book, and a price that was accepted later, change nothing about what was bought before."""
    model, endpoint = "seedance-1.0-lite", CATALOG.endpoints[LITE]
    pins = (Pin(0, "old", (rate(model, 1),)), Pin(1000, "old", (rate(model, 2),)))
    newer_book = with_rates(CATALOG, [rate(model, 3)])
    found = [
        catalog_at(newer_book, pins, at_ms).rates_for(endpoint, resolution="720p", audio=False)[0].nano
        for at_ms in (0, 999, 1000, 10**15)
    ]
    assert found == [1, 1, 2, 2]


def test_a_pin_leaves_other_models_as_they_are() -> None:
    """Rows replace all rows of the model they name, and no others."""
    changed = with_rates(CATALOG, [rate("seedance-2.0", 5)])
    assert [each.nano for each in changed.rates if each.of == "seedance-2.0"] == [5]
    assert [each for each in changed.rates if each.of != "seedance-2.0"] == [
        each for each in CATALOG.rates if each.of != "seedance-2.0"
    ]


def test_equal_prices_have_equal_hashes() -> None:
    """Who says a price, and the order of rows, do not matter; a nano-dollar does."""
    same = [replace(each, source="elsewhere", note="") for each in reversed(CATALOG.rates)]
    assert rates_sha256(same) == rates_sha256(CATALOG.rates)
    dearer = [replace(CATALOG.rates[0], nano=CATALOG.rates[0].nano + 1), *CATALOG.rates[1:]]
    assert rates_sha256(dearer) != rates_sha256(CATALOG.rates)


def test_a_unit_keeps_its_meaning_of_the_moment() -> None:
    """What was bought while the list said "1m tokens" is settled by that, also after the list changed."""
    first, then = listed(LITE, "1.8", "1m tokens"), listed(LITE, "0.0018", "1000 tokens")
    pins = (Pin(0, "old", (), {}, {LITE: first}), Pin(1000, "old", (), {}, {LITE: then}))
    assert [catalog_at(CATALOG, pins, at_ms).listed[LITE] for at_ms in (999, 1000)] == [first, then]
    assert catalog_at(CATALOG, pins, 0).listed[FAST] == CATALOG.listed[FAST]


def test_a_learned_rate_is_the_median_of_bills() -> None:
    """Three clips of 120 frames, billed as 121, 121 and 500: the one outlier changes nothing."""
    key, size = RateKey(LITE, "480p", audio=False), 864 * 480
    costs = [-(-size * frames * 1_800_000_000 // (1024 * 10**6)) for frames in (500, 121, 121)]
    learned = learned_rates(Bill(key, size * 120, cost_nano) for cost_nano in costs)[key]
    assert (learned.count, learned.deviation_permille(1_800_000_000)) == (3, 8)
