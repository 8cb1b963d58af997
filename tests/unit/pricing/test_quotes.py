"""Quotes against every price that fal publishes, and what must hold for all of them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pricing.catalog import AUTO, Catalog, Endpoint, load_catalog
from pricing.money import NANO_PER_USD
from pricing.quotes import Quote, Shot, least_nano, nearest_ratios, quote
from pricing.rates import rate_text
from pricing.units import Clip, Unit, most_frames, tokens

CATALOG = load_catalog()
BASE = "fal-ai/bytedance/seedance/v1"
USD = NANO_PER_USD


def cost_nano(width_px: int, height_px: int, frames: int, rate_nano: int) -> int:
    """The cost of a clip at so many nano-dollars per million tokens."""
    return Unit("tokens", 1_000_000).cost_nano(Clip(width_px, height_px, frames), rate_nano)


def _shot(endpoint_id: str, **given: object) -> Shot:
    endpoint = CATALOG.endpoints[endpoint_id]
    resolution, ratio = endpoint.default_resolution, endpoint.default_aspect_ratio
    return replace(Shot(endpoint, resolution, ratio), **given)  # type: ignore[arg-type]


# Every sample price in the seed documents, the clip that it implies, and how the page rounded it.
# Pro's "$0.62" is 121 frames, what is really billed; the others are the formula's 120.
HEADLINES = [
    # id, resolution, audio, frames, width, height, expected in the seeds' decimals, published
    (f"{BASE}/pro/fast/text-to-video", "1080p", False, 120, (1920, 1088), "0.2448", "0.245"),
    (f"{BASE}/pro/text-to-video", "1080p", False, 121, (1920, 1088), "0.6171", "0.62"),
    (f"{BASE}/lite/text-to-video", "720p", False, 120, (1248, 704), "0.185328", "0.185"),
    (f"{BASE}.5/pro/text-to-video", "720p", True, 120, (1280, 720), "0.2592", "0.259"),
    (f"{BASE}.5/pro/text-to-video", "720p", True, 120, (1280, 720), "0.2592", "0.26"),
]


@pytest.mark.parametrize(
    ("endpoint_id", "resolution", "audio", "frames", "size", "exact", "published"), HEADLINES
)
def test_headline_prices(
    endpoint_id: str,
    resolution: str,
    audio: bool,
    frames: int,
    size: tuple[int, int],
    exact: str,
    published: str,
) -> None:
    """Each published price of a 5 s clip is the formula over these pixels and frames, rounded."""
    price = quote(CATALOG, _shot(endpoint_id, resolution=resolution, aspect_ratio="16:9", audio=audio))
    assert (price.width_px, price.height_px) == size
    cost = price.expected_nano if frames == price.frames else price.maximum_nano
    assert Decimal(cost) / USD == Decimal(exact)
    assert round(Decimal(cost) / USD, len(published) - 2) == Decimal(published)


def test_headlines_that_are_not_the_formula() -> None:
    """Two headlines were made otherwise: lite's $0.18 by cutting off, Pro's $0.61 by 120 frames."""
    lite = quote(CATALOG, _shot(f"{BASE}/lite/text-to-video", resolution="720p", aspect_ratio="16:9"))
    assert str(Decimal(lite.expected_nano) / USD)[:4] == "0.18"
    pro = quote(CATALOG, _shot(f"{BASE}/pro/text-to-video", aspect_ratio="16:9"))
    assert Decimal(pro.expected_nano) / USD == Decimal("0.612")


def test_pro_fast_image_page_counts_1080_lines() -> None:
    """The $0.243 of the Pro Fast image page is 1920 x 1080; our quote holds the 1088 lines that are made."""
    nominal = cost_nano(1920, 1080, 120, USD)
    assert Decimal(nominal) / USD == Decimal("0.243")
    price = quote(CATALOG, _shot(f"{BASE}/pro/fast/image-to-video", aspect_ratio="16:9"))
    assert price.expected_nano == 244_800_000 > nominal


@pytest.mark.parametrize(
    ("size", "frames", "billed"),
    [((1920, 1088), 121, 246_840), ((960, 960), 121, 108_900), ((1280, 720), 121, 108_900)],
)
def test_maximum_covers_real_bills(size: tuple[int, int], frames: int, billed: int) -> None:
    """Token counts of real bills are the formula over 24 x 5 + 1 frames, which is what the maximum holds."""
    assert tokens(*size, frames) == billed
    assert most_frames(24 * 5) == frames


@pytest.mark.parametrize(
    ("asked", "most"), [(29, 30), (289, 290), (57, 58), (58, 61), (59, 61), (60, 61), (61, 62)]
)
def test_frames_between_two_of_the_grid(asked: int, most: int) -> None:
    """The maximum goes to the next clip of 25 + 4n frames, and at least one frame beyond what was asked."""
    assert most_frames(asked) == most


@pytest.mark.parametrize(
    ("path", "asked", "most"),
    [
        ("pro/text-to-video", 57, 121),
        ("pro/image-to-video", 120, 121),
        ("pro/fast/image-to-video", 29, 121),
        ("pro/text-to-video", 241, 242),
        ("pro/fast/text-to-video", 57, 58),
        ("lite/text-to-video", 57, 58),
    ],
)
def test_where_num_frames_may_be_ignored_the_default_length_is_held(path: str, asked: int, most: int) -> None:
    """The documents differ on that input for three endpoints; the expectation is what was asked for."""
    shot = _shot(f"{BASE}/{path}", resolution="480p", aspect_ratio="16:9", duration_s=None, num_frames=asked)
    price = quote(CATALOG, shot)
    rate = CATALOG.rates_for(shot.endpoint, resolution="480p", audio=False)[0].nano
    assert price.expected_nano == cost_nano(864, 480, asked, rate)
    assert price.maximum_nano == cost_nano(864, 480, most, rate)


def test_auto_without_a_known_picture_holds_the_largest() -> None:
    """Where the model chooses the shape, the maximum is that of the largest one, and the expectation 16:9."""
    price = quote(CATALOG, _shot(f"{BASE}/lite/image-to-video"))
    assert (price.width_px, price.height_px) == (1248, 704)
    assert price.maximum_nano == cost_nano(1504, 640, 121, 1_800_000_000)


@pytest.mark.parametrize(
    ("picture", "size"),
    [
        ((4000, 3000), (1120, 832)),
        ((1080, 1920), (704, 1248)),
        ((1000, 1000), (960, 960)),
        ((2400, 1000), (1504, 640)),
    ],
)
def test_auto_follows_the_first_frame(picture: tuple[int, int], size: tuple[int, int]) -> None:
    """A known first frame decides the shape, and then nothing larger is held."""
    price = quote(CATALOG, _shot(f"{BASE}/lite/image-to-video", image_size=picture))
    assert (price.width_px, price.height_px) == size
    assert price.maximum_nano == cost_nano(*size, 121, 1_800_000_000)


def test_nearest_ratio_is_both_where_two_measures_disagree() -> None:
    """A picture between two shapes counts for both: the documents do not say how nearness is measured."""
    between = nearest_ratios(("16:9", "4:3"), (154, 100))
    assert set(between) == {"16:9", "4:3"}


@given(st.integers(300, 6000), st.integers(300, 6000))
def test_the_maximum_covers_every_measure_of_nearness(width_px: int, height_px: int) -> None:
    """By quotient or difference, of width to height or height to width: what fal may choose is held."""
    shot = _shot(f"{BASE}/lite/image-to-video", image_size=(width_px, height_px))
    sizes = CATALOG.sizes(shot.endpoint, shot.resolution)
    actual = width_px / height_px
    measures: list[Callable[[float], float]] = [
        lambda ratio: abs(math.log(ratio / actual)),
        lambda ratio: abs(ratio - actual),
        lambda ratio: abs(1 / ratio - 1 / actual),
    ]
    for measure in measures:
        nearest = min(sizes, key=lambda name: measure(int(name.split(":")[0]) / int(name.split(":")[1])))
        assert quote(CATALOG, shot).maximum_nano >= cost_nano(*sizes[nearest], 121, 1_800_000_000)


def test_a_picture_of_645_to_1000_may_become_9_to_16_or_3_to_4() -> None:
    """Height to width it is nearer to 3:4, which has more pixels at 720p."""
    price = quote(CATALOG, _shot(f"{BASE}/lite/image-to-video", image_size=(645, 1000)))
    assert price.expected_nano == cost_nano(704, 1248, 120, 1_800_000_000)
    assert price.maximum_nano == cost_nano(832, 1120, 121, 1_800_000_000)


def test_a_missing_rate_is_never_free() -> None:
    """What the price book does not know cannot be priced at all."""
    endpoint = CATALOG.endpoints[f"{BASE}/pro/text-to-video"]
    with pytest.raises(LookupError, match=r"no rate for seedance-1\.0-pro with audio"):
        quote(CATALOG, Shot(endpoint, "720p", "16:9", audio=True))


@st.composite
def _shots(draw: st.DrawFn, *, fixed: bool = False) -> Shot:
    endpoints = [each for each in CATALOG.endpoints.values() if not fixed or each.aspect_ratios != (AUTO,)]
    endpoint = draw(st.sampled_from(endpoints))
    ratios = [ratio for ratio in endpoint.aspect_ratios if not (fixed and ratio == AUTO)]
    return Shot(
        endpoint,
        draw(st.sampled_from(endpoint.resolutions)),
        draw(st.sampled_from(ratios)),
        duration_s=draw(st.sampled_from(endpoint.durations_s)),
        num_frames=draw(st.none() | st.integers(*endpoint.num_frames)) if endpoint.num_frames else None,
        audio=endpoint.audio and draw(st.booleans()),
        image_size=draw(st.none() | st.tuples(st.integers(300, 6000), st.integers(300, 6000))),
    )


@given(_shots())
def test_maximum_is_above_expected(each: Shot) -> None:
    """Every endpoint, shape and length has a price, and the maximum is always above the expectation."""
    price = quote(CATALOG, each)
    assert 0 < price.expected_nano < price.maximum_nano


@given(_shots(), st.data())
def test_maximum_holds_for_whatever_auto_becomes(each: Shot, data: st.DataObject) -> None:
    """Whichever shape the model chooses for a picture it is not told about, the maximum covers it."""
    if AUTO in each.endpoint.aspect_ratios:
        price = quote(CATALOG, replace(each, aspect_ratio=AUTO, image_size=None))
        chosen = data.draw(st.sampled_from(sorted(CATALOG.sizes(each.endpoint, each.resolution))))
        assert price.maximum_nano >= quote(CATALOG, replace(each, aspect_ratio=chosen)).maximum_nano


@given(_shots())
def test_the_least_bill_is_just_below_the_expectation(each: Shot) -> None:
    """It is 2 % below the smallest video, which differs from the expected one only where fal chooses."""
    price, least = quote(CATALOG, each), least_nano(CATALOG, each)
    assert least < price.expected_nano
    if each.aspect_ratio != AUTO and each.num_frames is None:
        assert least == price.expected_nano * 98 // 100
    assert least > price.expected_nano // 2


def test_auto_may_be_billed_as_the_smallest_shape() -> None:
    """A picture of unknown shape may become a 480p clip of 21:9, the smallest of Seedance 1.0's."""
    unknown = _shot(f"{BASE}/lite/image-to-video", resolution="480p")
    assert least_nano(CATALOG, unknown) == cost_nano(960, 416, 120, 1_800_000_000) * 98 // 100
    known = replace(unknown, image_size=(1000, 1000))
    assert least_nano(CATALOG, known) == cost_nano(640, 640, 120, 1_800_000_000) * 98 // 100


@given(_shots(fixed=True))
def test_price_grows_with_length(each: Shot) -> None:
    """A longer clip costs more, by seconds and by frames."""
    longer = replace(
        each, duration_s=(each.duration_s or 0) + 1, num_frames=each.num_frames and each.num_frames + 1
    )
    assert _grows(quote(CATALOG, each), quote(CATALOG, longer))


@given(_shots(fixed=True))
def test_price_grows_with_resolution(each: Shot) -> None:
    """A higher resolution of the same shape costs more."""
    prices = [quote(CATALOG, replace(each, resolution=name)) for name in each.endpoint.resolutions]
    assert all(_grows(lower, higher) for lower, higher in itertools.pairwise(prices))


def _grows(less: Quote, more: Quote) -> bool:
    return less.expected_nano < more.expected_nano and less.maximum_nano <= more.maximum_nano


@given(st.integers(1, 4000), st.integers(1, 4000), st.integers(1, 300), st.integers(1, 10**10))
def test_cost_is_rounded_up_by_less_than_one(width: int, height: int, frames: int, rate: int) -> None:
    """The cost is the exact product, rounded up to the next whole nano-dollar."""
    exact = Decimal(width * height * frames * rate) / (1024 * 1_000_000)
    assert exact <= cost_nano(width, height, frames, rate) < exact + 1


SIX = ("21:9", "16:9", "4:3", "1:1", "3:4", "9:16")


def _catalog_rows(catalog: Catalog) -> list[Endpoint]:
    return list(catalog.endpoints.values())


@pytest.mark.parametrize("endpoint", _catalog_rows(CATALOG), ids=lambda endpoint: str(endpoint.id))
def test_catalog_is_complete(endpoint: Endpoint) -> None:
    """Every endpoint has pixels, rates, defaults that it allows, and a source."""
    assert endpoint.default_resolution in endpoint.resolutions
    assert endpoint.default_aspect_ratio in endpoint.aspect_ratios
    assert endpoint.source.startswith("https://fal.ai/models/")
    for resolution in endpoint.resolutions:
        sizes = CATALOG.sizes(endpoint, resolution)
        assert set(sizes) == (set(endpoint.aspect_ratios) - {AUTO} or set(SIX))
    for audio in (False, True) if endpoint.audio else (False,):
        for resolution in endpoint.resolutions:
            assert CATALOG.rates_for(endpoint, resolution=resolution, audio=audio)[0].nano > 0
    assert CATALOG.endpoint_for(endpoint.model, endpoint.task) is endpoint


def test_catalog_pixels_have_the_shape_they_are_named_after() -> None:
    """Each size is within four per cent of its ratio, and turned shapes are turned sizes."""
    for sizes in CATALOG.pixels.values():
        for ratio, (width, height) in sizes.items():
            across, down = map(int, ratio.split(":"))
            assert abs(width / height / (across / down) - 1) < 0.04
            assert sizes.get(f"{down}:{across}", (height, width)) == (height, width)


def test_catalog_lookups() -> None:
    """Aliases stand in the file's order, an impossible task has no endpoint, rates read as dollars."""
    assert CATALOG.models == (
        "seedance-1.0-lite",
        "seedance-1.0-pro",
        "seedance-1.0-pro-fast",
        "seedance-1.5-pro",
        "seedance-2.0",
        "seedance-2.0-fast",
        "seedance-2.0-mini",
        "seedance-2.0-us",
        "seedance-2.5",
        "seedance-2.5-us",
    )
    assert CATALOG.endpoint_for("seedance-1.0-pro", "reference-to-video") is None
    first = [rate_text(rate.nano) for rate in CATALOG.rates if rate.of.startswith("seedance-1.")]
    assert first == ["2.5", "1", "1.8", "2.4", "1.2", "1.2"]
    assert all(rate.source for rate in CATALOG.rates)
