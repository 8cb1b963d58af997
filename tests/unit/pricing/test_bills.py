"""What fal's units come to, and which bills are not believed."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pricing.bills import MOST_NANO, Basis, Charge, charge, delivered_nano
from pricing.catalog import Catalog, load_catalog
from pricing.money import ceil_div
from pricing.quotes import Shot, least_nano, quote
from pricing.units import ListedPrice, Unit, most_frames

CATALOG = load_catalog()
BASE = "fal-ai/bytedance/seedance"
LITE, PRO, FAST, FIFTEEN = (
    f"{BASE}/{path}/text-to-video" for path in ("v1/lite", "v1/pro", "v1/pro/fast", "v1.5/pro")
)
TOKENS_1080P = 1920 * 1088 * 121 // 1024
"""246,840: `usage.completion_tokens` of BytePlus's sample for Seedance 1.0 Pro, 1080p, 16:9, 5 s."""


def shot(endpoint_id: str, **given: object) -> Shot:
    """A shot of an endpoint at 16:9."""
    endpoint = CATALOG.endpoints[endpoint_id]
    made = Shot(endpoint, endpoint.default_resolution, "16:9", audio=endpoint.audio)
    return replace(made, **given)  # type: ignore[arg-type]


def listing(endpoint_id: str, price: str, unit: str, currency: str = "USD") -> Catalog:
    """The catalog where fal's list says this of an endpoint."""
    line = ListedPrice(endpoint_id, Decimal(price), unit, currency)
    return replace(CATALOG, listed={**CATALOG.listed, endpoint_id: line})


def test_the_captured_list_names_a_unit_for_every_endpoint_but_lite() -> None:
    """Millions of tokens for 1.0 Pro, Pro Fast and 1.5, thousands for 2.x; the list knows nothing of Lite."""
    units = {name: line.known_unit for name, line in CATALOG.listed.items()}
    assert set(CATALOG.endpoints) - set(units) == {name for name in CATALOG.endpoints if "/v1/lite/" in name}
    for name, unit in units.items():
        assert unit == Unit("tokens", 1_000 if name.startswith("bytedance/") else 1_000_000)


@pytest.mark.parametrize(
    ("endpoint_id", "units", "nano"),
    [
        (PRO, "0.24684", 617_100_000),
        (FAST, "0.24684", 246_840_000),
        (FAST, "0.2448", 244_800_000),
    ],
)
def test_units_of_a_million_tokens(endpoint_id: str, units: str, nano: int) -> None:
    """A real token count of a 1080p clip of 5 s, in the list's units, costs what fal's page says."""
    found = charge(CATALOG, shot(endpoint_id), units)
    assert (found.nano, found.basis) == (nano, "billable_units")


def test_the_list_of_the_moment_says_what_a_unit_is() -> None:
    """The same clip in units of 1,000 tokens, of tokens, and at a price per video."""
    for price, unit, units in (
        ("0.0025", "1000 tokens", "246.84"),
        ("0.0000025", "token", "246840"),
        ("0.6171", "videos", "1"),
        ("0.12342", "seconds", "5"),
        ("0.6171", "units", "1"),
        ("0.001", "compute seconds", "617.1"),
    ):
        found = charge(listing(PRO, price, unit), shot(PRO), units)
        assert (found.nano, found.basis) == (617_100_000, "billable_units"), unit


@pytest.mark.parametrize(("seconds", "units"), [(4, "0.0873"), (5, "0.1089"), (6, "0.1305")])
def test_sound_is_priced_by_the_book_and_not_by_the_list(seconds: int, units: str) -> None:
    """The list has 1.5's silent price alone: units tell the tokens, the book's rate for sound the price."""
    for audio, rate_nano in ((True, 2_400_000_000), (False, 1_200_000_000)):
        each = shot(FIFTEEN, duration_s=seconds, audio=audio)
        found = charge(CATALOG, each, units)
        assert found.nano == quote(CATALOG, each).maximum_nano == int(Decimal(units) * rate_nano)


@pytest.mark.parametrize(
    ("units", "nano"),
    [
        ("0.1089", 261_360_000),  # tokens: 1280 x 720 x 121 / 1024, at 2.4
        ("0.2178", 261_360_000),  # the same with its units doubled for sound, at 1.2
        ("0.2179", 522_960_000),  # neither: booked as tokens, above the hold
    ],
)
def test_sound_may_be_counted_in_the_units_or_in_the_price(units: str, nano: int) -> None:
    """Either way a clip with sound costs the same, and nothing that fits neither is taken for the cheaper."""
    assert charge(CATALOG, shot(FIFTEEN, duration_s=5, audio=True), units).nano == nano


@pytest.mark.parametrize("audio", [True, False])
def test_where_units_can_be_read_in_two_ways_the_dearer_one_counts(audio: bool) -> None:
    """A clip whose length the model chooses may cost either: what might have been spent counts as spent."""
    each = shot(FIFTEEN, duration_s=None, audio=audio)
    units = Decimal("0.2169")  # 10 s of 720p in tokens, or 5 s with its units doubled for sound
    dearer_nano = int(units * (2_400_000_000 if audio else 1_200_000_000))
    assert least_nano(CATALOG, each) < int(units * 1_200_000_000) <= quote(CATALOG, each).maximum_nano
    assert charge(CATALOG, each, str(units)) == Charge(dearer_nano, "billable_units")


def test_a_listed_price_above_the_book_is_never_undercut() -> None:
    """Where several rates exist, the cost is at least units times the listed price of a unit."""
    found = charge(listing(FIFTEEN, "3", "1m tokens"), shot(FIFTEEN, audio=False), "0.1089")
    assert found.nano == 326_700_000


@pytest.mark.parametrize(
    ("price", "unit", "nano"),
    [("0.10", "videos", 259_200_000), ("0.30", "videos", 300_000_000), ("0.26", "units", 260_000_000)],
)
def test_a_price_per_video_is_no_price_for_sound(price: str, unit: str, nano: int) -> None:
    """The list does not say whether sound is in it: the cost is not below the expected one."""
    assert charge(listing(FIFTEEN, price, unit), shot(FIFTEEN), "1").nano == nano


@pytest.mark.parametrize("units", ["102.96", "0.10296", "1", "5"])
def test_units_of_unknown_meaning_free_nothing(units: str) -> None:
    """Lite is not in the captured list: its units settle nothing, neither below nor above."""
    for catalog in (CATALOG, listing(LITE, "0", "units"), listing(LITE, "1.8", "1m tokens", "EUR")):
        found = charge(catalog, shot(LITE), units)
        assert (found.nano, found.basis) == (quote(CATALOG, shot(LITE)).maximum_nano, "expected")


def test_without_units_nothing_is_freed_before_the_file_is_there() -> None:
    """A reply that says nothing about the bill confirms no cost: the maximum, until the size is known."""
    found = charge(CATALOG, shot(PRO), None)
    assert (found.nano, found.basis) == (quote(CATALOG, shot(PRO)).maximum_nano, "expected")


TOO_GOOD = [
    "0",
    "0.000",
    "0.000001",
    "-0.24684",
    "NaN",
    "1e-9",
    "0e9",
    "e3",
    "0x1",
    "0" * 60 + ".2",
    "free",
    "0.00024684",
    "0.12",
    "0.2398",
]


@pytest.mark.parametrize("units", TOO_GOOD)
def test_a_bill_that_is_too_good_is_not_believed(units: str) -> None:
    """Zero, tiny, negative, unreadable, a thousandth, half: booked at the maximum, and marked."""
    found = charge(CATALOG, shot(PRO), units)
    assert (found.nano, found.basis) == (quote(CATALOG, shot(PRO)).maximum_nano, "bill_implausible")


@pytest.mark.parametrize("units", ["0", "-1", "?"])
def test_no_meaning_of_a_unit_makes_nothing_plausible(units: str) -> None:
    """Zero is zero in any unit."""
    assert charge(CATALOG, shot(LITE), units).basis == "bill_implausible"


@pytest.mark.parametrize(
    ("units", "basis"),
    [
        ("0.243", "billable_units"),  # 1920 x 1080, as fal's page for Pro Fast image-to-video counts
        ("0.2448", "billable_units"),  # 24 d frames
        ("0.24684", "billable_units"),  # 24 d + 1 frames
        ("0.2399", "bill_implausible"),
        ("0.246841", "billable_units"),  # above the hold: booked in full
        ("999999999999999999", "billable_units"),
        ("1e3", "billable_units"),
        ("1.5E+20", "billable_units"),
        ("9" * 30, "billable_units"),
        ("0.2468400000000000000000000001", "billable_units"),
    ],
)
def test_only_what_would_free_money_is_disbelieved(units: str, basis: Basis) -> None:
    """The ways in which fal is known to count pass; so does everything above, up to what can be booked."""
    found = charge(CATALOG, shot(FAST), units)
    assert found.basis == basis
    if basis == "billable_units":
        assert found.nano == min(ceil(Decimal(units) * 10**9), MOST_NANO)


@pytest.mark.parametrize("units", ["9" * 39 + "…", "9" * 5000, "1" + "0" * 60 + "e9999"])
def test_a_number_that_is_cut_off_is_above_every_bill(units: str) -> None:
    """What is surely above the hold is no unreadable bill: it is booked, and freezes."""
    found = charge(CATALOG, shot(FAST), units)
    assert (found.nano, found.basis) == (MOST_NANO, "billable_units")


def test_auto_may_cost_the_smallest_shape_and_nothing_below() -> None:
    """21:9 of 480p has 399,360 pixels against 16:9's 414,720: its bill is believed where fal chose."""
    auto = shot(f"{BASE}/v1/pro/image-to-video", resolution="480p", aspect_ratio="auto")
    units = f"{Decimal(960 * 416 * 121) / 1024 / 10**6:f}"
    assert charge(CATALOG, auto, units).basis == "billable_units"
    assert charge(CATALOG, replace(auto, aspect_ratio="16:9"), units).basis == "bill_implausible"
    assert charge(CATALOG, auto, str(Decimal(units) * Decimal("0.95"))).basis == "bill_implausible"


def test_frames_between_two_of_the_grid_may_cost_the_lower_one() -> None:
    """58 frames may become 57 or 61; what 53 cost is not believed."""
    each = shot(FAST, num_frames=58)
    for frames, basis in ((53, "bill_implausible"), (57, "billable_units"), (61, "billable_units")):
        units = f"{Decimal(1920 * 1088 * frames) / 1024 / 10**6:f}"
        assert charge(CATALOG, each, units).basis == basis


def test_a_delivered_clip_costs_one_frame_more_at_its_own_size() -> None:
    """24 d + 1 frames of the file's pixels, at the rate of this job: with sound, 1.5's dearer one."""
    each = shot(FIFTEEN, aspect_ratio="auto", duration_s=5)
    found = delivered_nano(CATALOG, each, width_px=960, height_px=960)
    assert found == ceil_div(960 * 960 * 121 * 2_400_000_000, 1024 * 10**6)
    framed = shot(FAST, num_frames=58)
    assert delivered_nano(CATALOG, framed, width_px=1, height_px=1) == ceil_div(61 * 10**9, 1024 * 10**6)


@given(st.sampled_from(sorted(CATALOG.endpoints)), st.decimals(-10, 10**7, places=6), st.booleans())
def test_no_bill_frees_money_below_the_smallest_video(
    endpoint_id: str, units: Decimal, is_thousands: bool
) -> None:
    """Whatever the units and their meaning, the cost is never below the least that the job can cost."""
    catalog = listing(endpoint_id, "0.001", "1000 tokens") if is_thousands else CATALOG
    each = shot(endpoint_id)
    assert charge(catalog, each, f"{units:f}").nano >= least_nano(CATALOG, each)
    assert most_frames(quote(CATALOG, each).frames) == 121
