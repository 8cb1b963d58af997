"""Which rows of the price book a job is priced by, and every real bill that is known."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pricing.bills import charge, cost_of_units
from pricing.catalog import load_catalog
from pricing.quotes import Shot, least_nano, quote
from pricing.rates import Case, Rate, conflicts, in_force, rates_for
from pricing.units import Clip, ListedPrice, Unit

CATALOG = load_catalog()
DAY = "2026-11-21"
CASE = Case("acme/clip/text-to-video", "clip-1", "720p", audio=True)
THOUSAND = Unit("tokens", 1000)


def row(nano: int = 1, **given: object) -> Rate:
    """A row of the model `clip-1`."""
    made = Rate("clip-1", THOUSAND, nano, DAY, "a page")
    return replace(made, **given)  # type: ignore[arg-type]


def shot(endpoint_id: str, resolution: str, seconds: int | None, **given: object) -> Shot:
    """A shot at 16:9 with sound."""
    endpoint = CATALOG.endpoints[endpoint_id]
    made = Shot(endpoint, resolution, "16:9", duration_s=seconds, audio=endpoint.audio)
    return replace(made, **given)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("rows", "chosen"),
    [
        ([row(1)], [1]),
        ([row(1), row(2, resolution="720p")], [2]),
        ([row(1), row(2, resolution="1080p")], [1]),
        ([row(2, audio=True), row(3, audio=False)], [2]),
        ([row(2, resolution="720p"), row(3, resolution="720p", audio=True)], [3]),
        ([row(9, resolution="720p", audio=True), row(2, of=CASE.endpoint_id)], [2]),
        ([row(1), row(2, video_input=True)], [1]),
        ([row(1), row(2, video_input=False)], [2]),
        # Two sources of one case: both count, the most trusted first.
        ([row(1, confidence="low"), row(2, confidence="high")], [2, 1]),
        ([row(1), row(2)], [2, 1]),
        ([row(5, of="other"), row(1)], [1]),
    ],
)
def test_the_most_specific_row_counts(rows: list[Rate], chosen: list[int]) -> None:
    """Rows of the endpoint before rows of its model, more conditions before fewer."""
    assert [rate.nano for rate in rates_for(rows, CASE)] == chosen


def test_no_row_is_no_price() -> None:
    """A case without a row is refused by name."""
    with pytest.raises(LookupError, match="no rate for clip-1 with audio at 720p"):
        rates_for([row(1, audio=False), row(1, resolution="4k"), row(1, of="x")], CASE)


@pytest.mark.parametrize(
    ("day", "prices"),
    [
        ("2026-11-20", []),
        ("2026-11-21", [1]),
        ("2026-12-31", [1]),
        ("2027-01-01", [3, 2]),
        ("2030-01-01", [3, 2]),
    ],
)
def test_a_row_holds_from_its_day_on(day: str, prices: list[int]) -> None:
    """A newer row replaces the older ones of its case, whoever said them; rows of one day stand together."""
    book = [row(1), row(3, since="2027-01-01"), row(2, since="2027-01-01", source="another")]
    assert [rate.nano for rate in in_force(book, day)] == prices


def test_a_newer_row_replaces_only_its_own_case() -> None:
    """The price of 4k stays where the general one changes."""
    book = [row(1), row(4, resolution="4k"), row(2, since="2027-01-01")]
    assert [rate.nano for rate in in_force(book, "2027-06-01")] == [4, 2]


def test_conflicts_are_named() -> None:
    """Rows of one case that differ, and no others."""
    low, high = row(1, confidence="low"), row(2)
    assert conflicts([low, high, row(3, audio=True)]) == [(high, low)]
    assert conflicts([row(1), row(1, source="another")]) == []
    assert conflicts([row(1), row(1000, unit=Unit("tokens", 1_000_000))]) == []


def test_the_dearer_source_is_held_and_the_trusted_one_expected() -> None:
    """4k of 2.0: fal's list says 0.014, a third party 0.008, per 1000 tokens."""
    price = quote(CATALOG, shot("bytedance/seedance-2.0/text-to-video", "4k", 5))
    assert price.expected_nano == 3840 * 2160 * 120 // 1024 * 14_000
    assert price.maximum_nano == -(-3840 * 2160 * 121 * 14_000 // 1024)


TWO, TWO_FIVE = "bytedance/seedance-2.0", "bytedance/seedance-2.5"
PRO, FIFTEEN = "fal-ai/bytedance/seedance/v1/pro", "fal-ai/bytedance/seedance/v1.5/pro"

# endpoint, resolution, seconds, tokens of usage or units of the header, dollars
BILLS = [
    (f"{TWO}/image-to-video", "720p", 4, "87.3", "1.2222"),
    (f"{TWO}/image-to-video", "720p", 5, "108.9", "1.5246"),
    (f"{TWO}/image-to-video", "720p", 6, "130.5", "1.827"),
    (f"{TWO_FIVE}/text-to-video", "480p", 4, "38.83", "0.830962"),
    # 1080p of 2.5: its 1.094 may be in the units or in the price.
    (f"{TWO_FIVE}/draft/complete", "1080p", 4, "214.88895", "4.59862353"),
    (f"{TWO_FIVE}/draft/complete", "1080p", 4, "196.425", "4.59862353"),
    (f"{TWO_FIVE}/text-to-video", "1080p", 4, "196.425", "4.59862353"),
    (f"{PRO}/text-to-video", "1080p", 5, "0.24684", "0.6171"),
    (f"{FIFTEEN}/text-to-video", "720p", 5, "0.1089", "0.26136"),
]


@pytest.mark.parametrize(("endpoint_id", "resolution", "seconds", "units", "usd"), BILLS)
def test_real_bills(endpoint_id: str, resolution: str, seconds: int, units: str, usd: str) -> None:
    """Every bill that is known is booked to the nano-dollar, is believed, and fits what was held."""
    each = shot(endpoint_id, resolution, seconds)
    found = charge(CATALOG, each, units)
    assert (Decimal(found.nano).scaleb(-9), found.basis) == (Decimal(usd), "billable_units")
    assert found.nano <= quote(CATALOG, each).maximum_nano


@pytest.mark.parametrize(
    ("width", "height", "frames", "tokens"),
    [
        (1920, 1088, 121, 246_840),
        (960, 960, 121, 108_900),
        (1280, 720, 97, 87_300),
        (1280, 720, 121, 108_900),
        (1280, 720, 145, 130_500),
        (1920, 1080, 97, 196_425),
    ],
)
def test_tokens_of_real_bills(width: int, height: int, frames: int, tokens: int) -> None:
    """A token is a thousandth of what a unit of 1000 tokens costs, over 24 s + 1 frames."""
    assert THOUSAND.cost_nano(Clip(width, height, frames), 1000) == tokens


# Published prices of 5 s at 16:9 in fal's list of 2026-10, as tokens x price: endpoint, resolution, USD.
HEADLINES = [
    (f"{TWO}/text-to-video", "720p", "1.512"),
    (f"{TWO}/fast/text-to-video", "720p", "1.2096"),
    (f"{TWO}/mini/text-to-video", "720p", "0.756"),
    (f"{TWO}/us/text-to-video", "720p", "1.8144"),
    (f"{TWO_FIVE}/text-to-video", "720p", "2.3112"),
    (f"{TWO_FIVE}/us/text-to-video", "720p", "2.77344"),
]


@pytest.mark.parametrize(("endpoint_id", "resolution", "usd"), HEADLINES)
def test_prices_of_the_list(endpoint_id: str, resolution: str, usd: str) -> None:
    """108,000 tokens of 1280 x 720 at the listed price of a thousand."""
    price = quote(CATALOG, shot(endpoint_id, resolution, 5))
    assert Decimal(price.expected_nano).scaleb(-9) == Decimal(usd)


def test_a_length_left_to_the_model_holds_the_longest() -> None:
    """`auto` of 2.0 is at most 15 s, of 2.5 at most 30 s; the shortest bill is believed."""
    for path, longest in ((TWO, 15), (TWO_FIVE, 30)):
        open_, closed = (shot(f"{path}/text-to-video", "720p", each) for each in (None, longest))
        assert quote(CATALOG, open_) == quote(CATALOG, closed)
        assert charge(CATALOG, open_, "87.3").basis == "billable_units"
        assert charge(CATALOG, open_, "80").basis == "bill_implausible"


def test_two_sizes_of_2_5_at_480p() -> None:
    """854 x 480 is seen in bills and expected, 864 x 496 is held; both bills are believed."""
    each = shot(f"{TWO_FIVE}/text-to-video", "480p", 4)
    price = quote(CATALOG, each)
    assert (price.width_px, price.height_px) == (854, 480)
    assert price.maximum_nano == -(-864 * 496 * 97 * 21_400 // 1024)
    for units in ("38.83", "40.59"):
        assert charge(CATALOG, each, units).basis == "billable_units"


@pytest.mark.parametrize(
    ("path", "seconds", "input_s", "most"),
    [
        # 0.6 on what comes in and goes out, or nothing off and nothing counted: whichever is dearer.
        (TWO, 5, 10, Decimal("0.6") * 15 + Decimal("0.6") / 24),
        (TWO, 15, 2, 15 + Decimal(1) / 24),
        # mini: 0.6 on the part that comes in alone.
        (f"{TWO}/mini", 5, 10, 5 + Decimal(1) / 24 + 6),
    ],
)
def test_videos_that_come_in_are_counted(path: str, seconds: int, input_s: int, most: Decimal) -> None:
    """The dearest reading is held, in seconds at the plain rate; the expected one is fal's page."""
    each = shot(f"{path}/reference-to-video", "720p", seconds, input_ms=input_s * 1000)
    plain_nano = 7_000_000 if "mini" in path else 14_000_000
    second = Decimal(1280 * 720 * 24 * plain_nano) / 1024 / 1000
    price = quote(CATALOG, each)
    assert price.expected_nano == Decimal("0.6") * (seconds + input_s) * second
    assert abs(price.maximum_nano - most * second) < 1


def test_a_discount_may_be_in_the_units_or_in_the_price() -> None:
    """15 s at 0.6: as 9 s of tokens at the list's price, or as 15 s at the book's, it is one cost."""
    each = shot(f"{TWO}/reference-to-video", "720p", 5, input_ms=10_000)
    expected = quote(CATALOG, each).expected_nano
    tokens = Decimal(1280 * 720 * 24 * 15) / 1024 / 1000
    assert charge(CATALOG, each, f"{tokens:f}").nano == expected
    assert charge(CATALOG, each, f"{tokens * Decimal('0.6'):f}").nano == expected


@given(
    st.sampled_from(sorted(CATALOG.endpoints)),
    st.sampled_from(["tokens", "1000 tokens", "1m tokens", "seconds", "videos", "units"]),
    st.decimals(0, 10**4, places=4),
)
def test_no_unit_makes_a_cost_of_nothing(endpoint_id: str, unit: str, units: Decimal) -> None:
    """Whatever a unit is called, a bill that is believed is at least what the smallest video costs."""
    line = ListedPrice(endpoint_id, Decimal("0.014"), unit)
    catalog = replace(CATALOG, listed={**CATALOG.listed, endpoint_id: line})
    each = shot(endpoint_id, CATALOG.endpoints[endpoint_id].resolutions[0], None)
    if each.aspect_ratio not in each.endpoint.aspect_ratios:
        each = replace(each, aspect_ratio="auto")
    assert charge(catalog, each, f"{units:f}").nano >= least_nano(CATALOG, each)


@pytest.mark.parametrize(
    ("unit", "nano", "cost"),
    [
        (Unit("seconds"), 70_000_000, 350_000_000),
        (Unit("seconds", 5), 70_000_000, 70_000_000),
        (Unit("seconds", 60), 60, 5),
        (Unit("videos"), 150_000_000, 150_000_000),
        (Unit("videos", 4), 10, 3),
        (Unit("tokens"), 14_000, 1_512_000_000),
    ],
)
def test_costs_by_unit(unit: Unit, nano: int, cost: int) -> None:
    """Five seconds of 1280 x 720, rounded up to a whole nano-dollar."""
    assert unit.cost_nano(Clip(1280, 720, 120), nano) == cost


def test_units_of_a_kind_that_the_book_does_not_have() -> None:
    """2.5 listed per second: the list cannot say less than the formula does."""
    endpoint_id = f"{TWO_FIVE}/text-to-video"
    line = ListedPrice(endpoint_id, Decimal("0.1"), "seconds")
    catalog = replace(CATALOG, listed={**CATALOG.listed, endpoint_id: line})
    each = shot(endpoint_id, "720p", 5)
    assert cost_of_units(catalog, each, Decimal(5)) == quote(CATALOG, each).expected_nano
    assert cost_of_units(catalog, each, Decimal(50)) == 5_000_000_000
