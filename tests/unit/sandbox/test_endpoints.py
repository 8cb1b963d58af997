from typing import Any

import pytest
from pydantic import ValidationError

from callsheet.sandbox.endpoints import ENDPOINTS, ClipOrder, shot_of

SIX = {"21:9", "16:9", "4:3", "1:1", "3:4", "9:16"}
ALL_RATIOS = SIX | {"9:21", "auto", "2:1", ""}
ALL_SECONDS = [str(number) for number in range(15)]
ALL = {"480p", "720p", "1080p"}
PREFIX = "fal-ai/bytedance/seedance/"

# Each row: ratios, default ratio, resolutions, default resolution, shortest seconds, num_frames, image field,
# end image, audio.
TABLE = {
    "v1/lite/text-to-video": (SIX | {"9:21"}, "16:9", ALL, "720p", 2, True, "", False, False),
    "v1/lite/image-to-video": (SIX | {"auto"}, "auto", ALL, "720p", 2, True, "image_url", True, False),
    "v1/lite/reference-to-video": (
        SIX | {"auto"},
        "auto",
        ALL - {"1080p"},
        "720p",
        2,
        True,
        "reference_image_urls",
        False,
        False,
    ),
    "v1/pro/text-to-video": (SIX, "16:9", ALL, "1080p", 2, False, "", False, False),
    "v1/pro/image-to-video": (SIX | {"auto"}, "auto", ALL, "1080p", 2, False, "image_url", True, False),
    "v1/pro/fast/text-to-video": (SIX, "16:9", ALL, "1080p", 2, True, "", False, False),
    "v1/pro/fast/image-to-video": (SIX | {"auto"}, "auto", ALL, "1080p", 2, False, "image_url", False, False),
    "v1.5/pro/text-to-video": (SIX | {"auto"}, "16:9", ALL, "720p", 4, False, "", False, True),
    "v1.5/pro/image-to-video": (SIX | {"auto"}, "16:9", ALL, "720p", 4, False, "image_url", True, True),
}


def arguments(path: str, **more: Any) -> dict[str, Any]:
    """What the endpoint needs at least, and more."""
    image = TABLE[path][6]
    given = {"prompt": "a kite", **more}
    if image:
        given.setdefault(image, ["data:,x"] if image == "reference_image_urls" else "data:,x")
    return given


def shot(path: str, **more: Any) -> ClipOrder:
    """The shot of such arguments."""
    return shot_of(ENDPOINTS[PREFIX + path], arguments(path, **more), 77)


def accepts(path: str, **more: Any) -> bool:
    """Whether the schema takes such arguments."""
    try:
        shot(path, **more)
    except ValidationError:
        return False
    return True


def test_there_are_nine_endpoints() -> None:
    """The sandbox serves the nine Seedance endpoints of the official client's types, and no other."""
    assert set(ENDPOINTS) == {PREFIX + path for path in TABLE}


@pytest.mark.parametrize("path", TABLE)
def test_each_enumeration_is_the_pages_own(path: str) -> None:
    """Ratios, resolutions and durations outside the page's lists are refused, all within are taken."""
    ratios, _, resolutions, _, shortest, *_ = TABLE[path]
    assert {ratio for ratio in ALL_RATIOS if accepts(path, aspect_ratio=ratio)} == ratios
    assert {
        res for res in ("360p", "480p", "720p", "1080p", "4k") if accepts(path, resolution=res)
    } == resolutions
    taken = [text for text in ALL_SECONDS if accepts(path, duration=text)]
    assert taken == [str(number) for number in range(shortest, 13)]
    assert not accepts(path, duration=5), "duration is a string"


@pytest.mark.parametrize("path", TABLE)
def test_each_default_is_the_pages_own(path: str) -> None:
    """An absent field means the page's default: five seconds, no fixed camera, a seed of its own."""
    _, ratio, _, resolution, _, _, _, _, audio = TABLE[path]
    made = shot(path)
    assert (made.ratio, made.resolution, made.frames) == (ratio, resolution, 121)
    assert (made.audio, made.camera_fixed, made.seed) == (audio, False, 77)


@pytest.mark.parametrize("path", TABLE)
def test_num_frames_overrides_duration_where_the_page_has_it(path: str) -> None:
    """num_frames from 29 to 289 overrides duration; endpoints whose page lacks it ignore it."""
    has_it = TABLE[path][5]
    assert shot(path, num_frames=57).frames == (57 if has_it else 121)
    assert accepts(path, num_frames=289)
    assert accepts(path, num_frames=28) != has_it
    assert accepts(path, num_frames=290) != has_it


@pytest.mark.parametrize("path", TABLE)
def test_required_fields_are_required(path: str) -> None:
    """A missing prompt or image is refused, and the error names the field."""
    image = TABLE[path][6]
    for field in ["prompt", *([image] if image else [])]:
        given = {name: value for name, value in arguments(path).items() if name != field}
        with pytest.raises(ValidationError) as refusal:
            shot_of(ENDPOINTS[PREFIX + path], given, 1)
        assert [error["loc"] for error in refusal.value.errors()] == [(field,)]


@pytest.mark.parametrize("path", TABLE)
def test_the_end_image_counts_where_the_page_has_it(path: str) -> None:
    """end_image_url means something on the endpoints that list it alone."""
    has_end = TABLE[path][7]
    assert shot(path, end_image_url="data:,y").end_image == ("data:,y" if has_end else None)


@pytest.mark.parametrize(("count", "taken"), [(0, False), (1, True), (4, True), (5, False)])
def test_one_to_four_references(count: int, taken: bool) -> None:
    """Reference to video takes one to four images."""
    assert accepts("v1/lite/reference-to-video", reference_image_urls=["data:,x"] * count) is taken


@pytest.mark.parametrize(("seed", "used"), [(None, 77), (-1, 77), (0, 0), (424242, 424242)])
def test_minus_one_asks_for_a_seed(seed: int | None, used: int) -> None:
    """No seed and -1 mean a chosen one; 0 is a seed like any other."""
    assert shot("v1/pro/text-to-video", seed=seed).seed == used


def test_silence_costs_half() -> None:
    """Seedance 1.5 costs half without audio; the others have one rate."""
    endpoint = ENDPOINTS[PREFIX + "v1.5/pro/text-to-video"]
    assert (endpoint.rate(audio=True), endpoint.rate(audio=False)) == (2400, 1200)
    fast = ENDPOINTS[PREFIX + "v1/pro/fast/text-to-video"]
    assert fast.rate(audio=True) == fast.rate(audio=False) == 1000
