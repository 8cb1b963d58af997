from decimal import Decimal
from typing import Any

import pytest

from callsheet.sandbox.list_prices import ClipBill, PriceList

PREFIX = "fal-ai/bytedance/seedance/"
PRO, FAST, LITE = (PREFIX + f"v1/{each}/text-to-video" for each in ("pro", "pro/fast", "lite"))
PRO_15 = PREFIX + "v1.5/pro/text-to-video"
NANO = 10**9


def bill(
    prices: PriceList, endpoint: str, size: tuple[int, int] = (1920, 1088), *, audio: bool = False
) -> ClipBill:
    """The bill of five seconds."""
    return prices.bill(endpoint, width_px=size[0], height_px=size[1], frames=121, audio=audio)


@pytest.mark.parametrize(
    ("endpoint", "unit", "usd"),
    [
        (PRO, "1m tokens", "2.5"),
        (FAST, "1m tokens", "1"),
        (PRO_15, "1m tokens", "1.2"),
        (LITE, "1000 tokens", "0.0018"),
    ],
)
def test_units_and_prices_are_those_of_fals_list(endpoint: str, unit: str, usd: str) -> None:
    """v1 Pro, Pro Fast and v1.5 are listed per million tokens, v1.5 at its silent price."""
    prices = PriceList()
    assert prices.unit(endpoint) == unit
    assert prices.unit_price_nano(endpoint) == Decimal(usd) * NANO


def test_bills_are_in_the_lists_units() -> None:
    """Five seconds of 1080p are 246,840 tokens: 0.24684 units of a million, 246.84 of a thousand."""
    prices = PriceList()
    assert bill(prices, PRO) == ClipBill("0.24684", 2_500_000_000, 617_100_000)
    assert bill(prices, LITE) == ClipBill("246.84", 1_800_000, 444_312_000)


@pytest.mark.parametrize(("seconds", "units"), [(4, "87.3"), (5, "108.9"), (6, "130.5")])
def test_units_are_those_of_real_billing_events(seconds: int, units: str) -> None:
    """1280x720 bills 87.3, 108.9 and 130.5 thousand tokens for 4, 5 and 6 seconds, as fal's events did."""
    found = PriceList().bill(LITE, width_px=1280, height_px=720, frames=24 * seconds + 1, audio=False)
    assert found.units == units


def test_units_are_exact_and_costs_are_rounded_up() -> None:
    """Units with many digits are not rounded; a fraction of a nano-dollar counts as a whole one."""
    found = PriceList().bill(PRO_15, width_px=2206, height_px=946, frames=289, audio=False)
    assert Decimal(found.units) * 1_024_000_000 == 2206 * 946 * 289
    assert found.cost_nano == -(-2206 * 946 * 289 * 1200 // 1024)


def test_audio_doubles_the_units_or_the_price() -> None:
    """v1.5 with audio costs twice as much in both readings; the setting says which number is doubled."""
    size = (960, 960)
    silent = bill(PriceList(), PRO_15, size)
    assert silent == ClipBill("0.1089", 1_200_000_000, 130_680_000)
    assert bill(PriceList("units"), PRO_15, size, audio=True) == ClipBill(
        "0.2178", 1_200_000_000, 261_360_000
    )
    assert bill(PriceList("price"), PRO_15, size, audio=True) == ClipBill(
        "0.1089", 2_400_000_000, 261_360_000
    )
    assert PriceList("price").unit_price_nano(PRO_15) == 1_200_000_000


@pytest.mark.parametrize(
    ("change", "unit", "expected"),
    [
        ("1.1", "1m tokens", ClipBill("0.24684", 2_750_000_000, 678_810_000)),
        ({"unit": "1000 tokens"}, "1000 tokens", ClipBill("246.84", 2_500_000, 617_100_000)),
        (
            {"unit": "seconds", "unit_price": "0.12"},
            "seconds",
            ClipBill("5.041666666666666666666666667", 120_000_000, 605_000_000),
        ),
        ({"unit": "videos", "unit_price": "0.62"}, "videos", ClipBill("1", 620_000_000, 620_000_000)),
        ({"unit": "furlongs", "unit_price": "3"}, "furlongs", ClipBill("1", 3_000_000_000, 3_000_000_000)),
    ],
)
def test_a_test_can_choose_unit_and_price(change: Any, unit: str, expected: ClipBill) -> None:
    """A change names a factor, or another unit with the same price per token or a price of its own."""
    prices = PriceList()
    prices.change({PRO: change})
    assert prices.unit(PRO) == unit
    assert bill(prices, PRO) == expected
    prices.change({})
    assert bill(prices, PRO).units == "0.24684"


@pytest.mark.parametrize(
    "changes",
    [
        {"nothing": "1"},
        {PRO: "0"},
        {PRO: "-1"},
        {PRO: "x"},
        {PRO: {"unit": "seconds"}},
        {PRO: {"colour": "red"}},
        {PRO: {"unit_price": "0"}},
    ],
)
def test_a_price_that_makes_no_sense_is_refused(changes: dict[str, Any]) -> None:
    """Unknown endpoints and fields, and numbers that are no price, raise ValueError."""
    with pytest.raises(ValueError, match=r".+"):
        PriceList().change(changes)


@pytest.mark.parametrize(
    ("path", "size", "resolution", "seconds", "units", "usd"),
    [
        ("2.0/image-to-video", (1280, 720), "720p", 4, "87.3", "1.2222"),
        ("2.0/image-to-video", (1280, 720), "720p", 5, "108.9", "1.5246"),
        ("2.0/image-to-video", (1280, 720), "720p", 6, "130.5", "1.827"),
        ("2.5/text-to-video", (854, 480), "480p", 4, "38.83", "0.830962"),
        ("2.5/draft/complete", (1920, 1080), "1080p", 4, "196.425", "4.59862353"),
        ("2.0/us/text-to-video", (1280, 720), "720p", 5, "108.9", "1.82952"),
        ("2.0/text-to-video", (3840, 2160), "4k", 4, "785.7", "6.2856"),
    ],
)
def test_real_bills_of_2x_come_out_to_the_last_digit(
    path: str, size: tuple[int, int], resolution: str, seconds: int, units: str, usd: str
) -> None:
    """Whole tokens of 24 s + 1 frames in thousands, with the factor of 1.094 at 1080p of 2.5 in the price."""
    found = PriceList().bill(
        f"bytedance/seedance-{path}",
        width_px=size[0],
        height_px=size[1],
        frames=24 * seconds + 1,
        audio=True,
        resolution=resolution,
    )
    assert (found.units, Decimal(found.cost_nano) / NANO) == (units, Decimal(usd))


@pytest.mark.parametrize(
    ("family", "expected"),
    [("2.0", Decimal("0.6") * 2), ("2.5", Decimal("0.6") * 2), ("2.0/mini", 1 + Decimal("0.6"))],
)
def test_input_videos_are_billed_at_a_discount(family: str, expected: Decimal) -> None:
    """Input seconds count as output seconds, all of them at 0.6; for mini only the input is cheaper."""
    endpoint = f"bytedance/seedance-{family}/reference-to-video"
    plain, with_video = (
        PriceList().bill(endpoint, width_px=1024, height_px=1000, frames=100, video_frames=count).cost_nano
        for count in (0, 100)
    )
    assert Decimal(with_video) / plain == expected
