import pytest
from hypothesis import given
from hypothesis import strategies as st

from callsheet.sandbox.pixels import (
    PIXELS,
    nearest_ratio,
    render_time_s,
)


def test_every_size_can_be_encoded() -> None:
    """Every width and height of the table is even, as yuv420p needs."""
    sizes = [size for row in PIXELS.values() for size in row.values()]
    assert len(sizes) == 3 * 7 + 3 * 3 * 6 + 6
    assert all(width % 2 == 0 and height % 2 == 0 for width, height in sizes)


@pytest.mark.parametrize(
    ("version", "resolution", "ratio", "size"),
    [
        ("1.0", "1080p", "16:9", (1920, 1088)),
        ("1.0", "720p", "21:9", (1504, 640)),
        ("1.0", "480p", "9:21", (416, 960)),
        ("1.5", "1080p", "21:9", (2206, 946)),
        ("1.5", "720p", "4:3", (1112, 834)),
        ("1.5", "480p", "16:9", (864, 496)),
    ],
)
def test_sizes_differ_between_the_versions(
    version: str, resolution: str, ratio: str, size: tuple[int, int]
) -> None:
    """Pixels are those of ByteDance's table for the model's version."""
    assert PIXELS[version, resolution][ratio] == size


def test_nine_to_twenty_one_is_gone_from_one_point_five() -> None:
    """A version has its own ratios only."""
    assert "9:21" not in PIXELS["1.5", "720p"]


@pytest.mark.parametrize(
    ("size", "ratio"),
    [
        ((1920, 1080), "16:9"),
        ((1000, 1000), "1:1"),
        ((1080, 1920), "9:16"),
        ((3000, 1000), "21:9"),
        ((300, 3000), "9:16"),
        ((800, 600), "4:3"),
        ((601, 800), "3:4"),
    ],
)
def test_auto_takes_the_nearest_of_six_ratios(size: tuple[int, int], ratio: str) -> None:
    """`auto` means the nearest of the six ratios; 9:21 is not among them."""
    assert nearest_ratio(*size) == ratio


@given(st.integers(300, 6000), st.integers(300, 6000))
def test_auto_treats_portrait_as_landscape_turned(width: int, height: int) -> None:
    """Turning an image turns the ratio, except where 21:9 has no portrait twin."""
    landscape = nearest_ratio(max(width, height), min(width, height))
    portrait = nearest_ratio(min(width, height), max(width, height))
    turned = {"21:9": "9:16", "16:9": "9:16", "4:3": "3:4", "1:1": "1:1"}
    assert portrait == turned[landscape]


def test_a_render_takes_as_long_as_the_page_says() -> None:
    """41 seconds for five seconds of 1080p, in proportion to the work, within eight percent."""
    assert render_time_s(1920, 1088, 121, 0.5) == pytest.approx(41.0)
    assert render_time_s(1920, 1088, 242, 0.5) == pytest.approx(82.0)
    assert render_time_s(1920, 1088, 121, 0.0) == pytest.approx(41.0 * 0.92)
    assert render_time_s(1920, 1088, 121, 1.0) == pytest.approx(41.0 * 1.08)
