from typing import Any

import pytest
from pydantic import ValidationError

from callsheet.sandbox.served_endpoints import ENDPOINTS, BadInput, ClipOrder, shot_of

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
    "v1/pro/text-to-video": (SIX, "16:9", ALL, "1080p", 2, True, "", False, False),
    "v1/pro/image-to-video": (SIX | {"auto"}, "auto", ALL, "1080p", 2, True, "image_url", True, False),
    "v1/pro/fast/text-to-video": (SIX, "16:9", ALL, "1080p", 2, True, "", False, False),
    "v1/pro/fast/image-to-video": (SIX | {"auto"}, "auto", ALL, "1080p", 2, True, "image_url", False, False),
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


def test_all_endpoints_of_fal_are_there() -> None:
    """The sandbox serves the nine v1 endpoints of the official client's types and the nineteen of 2.x."""
    second = [endpoint for endpoint in ENDPOINTS if endpoint.startswith("bytedance/seedance-2.")]
    assert set(ENDPOINTS) == {PREFIX + path for path in TABLE} | set(second)
    assert len(second) == 19


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
def test_num_frames_overrides_duration_where_there_is_such_an_input(path: str) -> None:
    """num_frames from 29 to 289 overrides duration; endpoints without it ignore it."""
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


FAMILIES = {
    "2.0": ({"480p", "720p", "1080p", "4k"}, 15, 14_000),
    "2.0/fast": ({"480p", "720p"}, 15, 11_200),
    "2.0/mini": ({"480p", "720p"}, 15, 7_000),
    "2.0/us": ({"480p", "720p", "1080p", "4k"}, 15, 16_800),
    "2.5": (ALL, 30, 21_400),
    "2.5/us": (ALL, 30, 25_680),
}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("kind", ["text", "image", "reference"])
def test_each_2x_endpoint_has_fals_own_schema(family: str, kind: str) -> None:
    """Resolutions, whole seconds, ratios and fields of 2.x are those of fal's OpenAPI documents."""
    endpoint = ENDPOINTS[f"bytedance/seedance-{family}/{kind}-to-video"]
    resolutions, longest, price_nano = FAMILIES[family]

    def takes(**more: Any) -> bool:
        base = {"prompt": "a kite", "image_url": "data:,x"}
        try:
            shot_of(endpoint, base | more, 7)
        except ValidationError:
            return False
        return True

    assert endpoint.price_nano == price_nano
    assert {res for res in ("360p", "480p", "720p", "1080p", "4k") if takes(resolution=res)} == resolutions
    assert [text for text in map(str, range(40)) if takes(duration=text)] == list(
        map(str, range(4, longest + 1))
    )
    is_free = not (family.startswith("2.5") and kind == "image")
    assert {ratio for ratio in ALL_RATIOS if takes(aspect_ratio=ratio)} == (
        SIX | {"auto"} if is_free else {"auto"}
    )
    assert takes(codec="H265")
    assert not takes(codec="AV1")
    assert takes(prompt=None) == (family.startswith("2.5") and kind != "text")
    assert ("draft" in endpoint.schema.model_fields) == (family == "2.5")
    assert ("seed" in endpoint.schema.model_fields) == (family.startswith("2.5") and kind == "reference")
    assert ("bitrate_mode" in endpoint.schema.model_fields) == (family != "2.0/mini")


@pytest.mark.parametrize(("prompt", "seconds"), [("a", 5), ("[x] a", 5), ("[x] a [y] b [z] c", 11)])
def test_auto_takes_longer_for_more_shots(prompt: str, seconds: int) -> None:
    """`auto` is five seconds, and three more for each further shot."""
    made = shot_of(ENDPOINTS["bytedance/seedance-2.0/text-to-video"], {"prompt": prompt}, 1)
    assert (made.frames, made.ratio) == (24 * seconds + 1, "auto")


def test_a_draft_is_480p_and_is_completed_as_it_is() -> None:
    """`draft` means 480p whatever the resolution says; completing it changes endpoint and resolution only."""
    plain, complete = (
        ENDPOINTS[f"bytedance/seedance-2.5/{each}"] for each in ("text-to-video", "draft/complete")
    )
    draft = shot_of(plain, {"prompt": "a", "resolution": "1080p", "draft": True, "duration": "7"}, 9)
    assert (draft.resolution, draft.draft) == ("480p", True)
    done = draft.completed(complete, "H265")
    assert (done.resolution, done.frames, done.seed, done.codec) == ("1080p", 169, 9, "H265")
    assert not done.draft


@pytest.mark.parametrize(
    "given",
    [
        {"audio_urls": ["data:,x"]},
        {"image_urls": ["data:,x"] * 9, "video_urls": ["data:,x"] * 3, "audio_urls": ["data:,x"]},
    ],
)
def test_references_have_fals_limits(given: dict[str, Any]) -> None:
    """2.0 takes 12 files together, and no sound without a picture."""
    endpoint = ENDPOINTS["bytedance/seedance-2.0/reference-to-video"]
    with pytest.raises(BadInput):
        shot_of(endpoint, {"prompt": "a"} | given, 1)
