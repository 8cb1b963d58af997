from dataclasses import replace
from typing import Any

import pytest

from callsheet.errors import MediaError
from callsheet.media.codes import MediaErrorCode, media_error, worth_another_read
from callsheet.media.expect import Expectation, MediaFacts, expectation_of, verify
from manifests.job import Job
from pricing.catalog import load_catalog

PRO_FAST = "fal-ai/bytedance/seedance/v1/pro/fast/text-to-video"
LITE = "fal-ai/bytedance/seedance/v1/lite/text-to-video"
PRO_FROM_IMAGE = "fal-ai/bytedance/seedance/v1/pro/image-to-video"
WITH_SOUND = "fal-ai/bytedance/seedance/v1.5/pro/text-to-video"

FACTS = MediaFacts(width_px=1248, height_px=704, fps=24.0, frames=121, duration_s=121 / 24)


def expectation(endpoint: str = PRO_FAST, **fields: Any) -> Expectation:
    """Say what is expected of a 720p 16:9 clip of 5 s, or of another one."""
    given: dict[str, Any] = {"resolution": "720p", "aspect_ratio": "16:9", "duration_s": 5, **fields}
    catalog = load_catalog()
    job = Job(row=2, custom_id="a", endpoint=catalog.endpoints[endpoint], prompt="a", **given)
    return expectation_of(job, catalog)


@pytest.mark.parametrize(
    ("endpoint", "fields", "low", "high"),
    [
        (PRO_FAST, {"duration_s": 5}, 119, 122),
        (PRO_FAST, {"duration_s": 2}, 47, 50),
        (PRO_FAST, {"duration_s": 12}, 287, 290),
        (LITE, {"duration_s": None, "num_frames": 57}, 56, 59),
        (LITE, {"duration_s": None, "num_frames": 60}, 56, 63),
        (LITE, {"duration_s": None, "num_frames": 289}, 288, 291),
    ],
    ids=["5 s", "2 s", "12 s", "on the grid", "between two of the grid", "longest"],
)
def test_frames_follow_the_order(endpoint: str, fields: dict[str, Any], low: int, high: int) -> None:
    """24 frames a second or one more are right, give or take one; off the grid, so are both neighbours."""
    expected = expectation(endpoint, **fields)
    assert (expected.frames_min, expected.frames_max) == (low, high)


@pytest.mark.parametrize(
    ("endpoint", "resolution", "ratio", "sizes"),
    [
        (PRO_FAST, "720p", "16:9", ((1248, 704),)),
        (PRO_FAST, "1080p", "16:9", ((1920, 1088), (1920, 1080))),
        (PRO_FAST, "1080p", "9:16", ((1088, 1920), (1080, 1920))),
        (WITH_SOUND, "1080p", "16:9", ((1920, 1080),)),
        (WITH_SOUND, "720p", "4:3", ((1112, 834),)),
    ],
)
def test_size_is_the_models_own(
    endpoint: str, resolution: str, ratio: str, sizes: tuple[tuple[int, int], ...]
) -> None:
    """A named ratio allows one size; where the table says 1088 lines, fal's nominal 1080 are right too."""
    assert expectation(endpoint, resolution=resolution, aspect_ratio=ratio).sizes == sizes


def test_auto_allows_every_size_of_the_resolution() -> None:
    """With `auto` fal alone chooses, so each of the resolution's six sizes is right and no other."""
    sizes = expectation(PRO_FROM_IMAGE, aspect_ratio="auto").sizes
    assert set(sizes) == {(1248, 704), (1120, 832), (960, 960), (832, 1120), (704, 1248), (1504, 640)}


@pytest.mark.parametrize(("asked", "required"), [(True, True), (False, False), (None, False)])
def test_sound_is_required_where_it_is_paid_for(asked: bool | None, required: bool) -> None:
    """Sound must be there where it was ordered; where it was not, it may be there."""
    assert expectation(WITH_SOUND, generate_audio=asked).audio_required is required


@pytest.mark.parametrize(
    "facts",
    [
        FACTS,
        replace(FACTS, frames=120, duration_s=5.0),
        replace(FACTS, frames=119, duration_s=119 / 24),
        replace(FACTS, frames=122, duration_s=122 / 24),
        replace(FACTS, fps=24000 / 1001, duration_s=121 * 1001 / 24000),
        replace(FACTS, audio_s=1.0),
    ],
)
def test_what_was_ordered_passes(facts: MediaFacts) -> None:
    """The ordered clip passes, one frame either way, in film's 23.976 too, and with unasked sound."""
    verify(facts, expectation())


@pytest.mark.parametrize(
    ("facts", "reason", "words"),
    [
        (replace(FACTS, width_px=1280, height_px=720), "wrong_size", ["1248 x 704", "1280 x 720"]),
        (replace(FACTS, width_px=704, height_px=1248), "wrong_size", ["704 x 1248"]),
        (replace(FACTS, fps=30.0), "wrong_frame_rate", ["24", "30.000"]),
        (replace(FACTS, frames=118, duration_s=118 / 24), "wrong_frame_count", ["119 to 122", "118"]),
        (replace(FACTS, frames=123, duration_s=123 / 24), "wrong_frame_count", ["123"]),
        (replace(FACTS, duration_s=9.0), "wrong_duration", ["9.00 s"]),
    ],
)
def test_what_was_not_ordered_is_named(facts: MediaFacts, reason: str, words: list[str]) -> None:
    """The message names what was asked for and what came."""
    with pytest.raises(MediaError) as caught:
        verify(facts, expectation())
    assert caught.value.reason == reason
    assert all(word in str(caught.value) for word in words)


def test_missing_sound_is_named() -> None:
    """Sound that is paid for and not there is a fault."""
    silent = replace(FACTS, width_px=1280, height_px=720)
    with pytest.raises(MediaError, match="paid for") as caught:
        verify(silent, expectation(WITH_SOUND, generate_audio=True))
    assert caught.value.reason == "missing_audio"


@pytest.mark.parametrize("reason", list(MediaErrorCode))
def test_only_faults_of_the_content_are_final(reason: MediaErrorCode) -> None:
    """Reading the address again is of use for every fault except one of what fal made."""
    of_the_content = reason.startswith("wrong_") and reason is not MediaErrorCode.WRONG_LENGTH
    of_the_content |= reason in {MediaErrorCode.MISSING_AUDIO, MediaErrorCode.SHORT_AUDIO}
    assert worth_another_read(media_error(reason, "why").reason) is not of_the_content


def test_an_unknown_word_is_read_again() -> None:
    """Reading is free, so an unknown reason is read again."""
    assert worth_another_read("something new")


@pytest.mark.parametrize(
    ("heard_s", "passes"), [(1.0, False), (4.5, False), (4.6, True), (5.1, True), (9.0, True)]
)
def test_sound_covers_the_picture(heard_s: float, passes: bool) -> None:
    """Sound that is paid for lasts as long as the picture, give or take half a second."""
    facts = replace(FACTS, width_px=1280, height_px=720, audio_s=heard_s)
    if passes:
        verify(facts, expectation(WITH_SOUND, generate_audio=True))
    else:
        with pytest.raises(MediaError, match=f"{heard_s:.2f} s of the video's 5.04 s") as caught:
            verify(facts, expectation(WITH_SOUND, generate_audio=True))
        assert caught.value.reason == "short_audio"
    verify(replace(facts, audio_s=0.0), expectation(WITH_SOUND, generate_audio=False))
