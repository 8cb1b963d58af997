"""Reference pictures, videos and sounds, drafts and codecs: columns, limits, prices and what is sent."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path
from typing import Any

import PIL.Image
import pytest

from callsheet.errors import ManifestError
from manifests.job import Image
from manifests.parse_cells import picture_list
from manifests.plan import PlannedJob
from manifests.planner import make_plan
from pricing.catalog import load_catalog
from pricing.quotes import quote
from tests.unit.manifests.clips import write_clip, write_sound

CATALOG = load_catalog()
BASE = {
    "prompt": "A fox",
    "model": "seedance-2.0",
    "resolution": "480p",
    "duration": "4",
    "aspect_ratio": "1:1",
}


EDIT = {
    "model": "seedance-2.5",
    "reference_videos": "two.mp4",
    "task": "editing",
    "aspect_ratio": "",
    "duration": "",
}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with files of every kind."""
    folder = tmp_path_factory.mktemp("references")
    for name in ("a.png", "b.png"):
        PIL.Image.new("RGB", (400, 400), "red" if name == "a.png" else "blue").save(folder / name)
    write_clip(folder / "two.mp4", seconds=2)
    write_clip(folder / "ten.mov", seconds=10)
    write_sound(folder / "voice.wav", seconds=3)
    (folder / "text.mp4").write_text("no video")
    (folder / "silent.mp3").write_bytes(b"")
    return folder


def planned(folder: Path, **cells: str) -> PlannedJob:
    """Plan one row."""
    row = {**BASE, **cells}
    with (folder / "shots.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, row)
        writer.writeheader()
        writer.writerow(row)
    (job,) = make_plan(folder / "shots.csv").jobs
    return job


def sent(each: PlannedJob) -> dict[str, Any]:
    """What would be sent, with file names for addresses."""
    addresses = {image.identity: Path(image.value).name for image in each.job.images}
    return each.job.arguments(addresses, seed=7)


def test_what_is_sent_of_all_kinds(home: Path) -> None:
    """The schema's own names and values, each list in the row's order."""
    made = planned(
        home,
        reference_images="a.png; b.png",
        reference_videos="two.mp4",
        reference_audios='["voice.wav"]',
        codec="h265",
        bitrate_mode="HIGH",
    )
    assert made.job.endpoint.id == "bytedance/seedance-2.0/reference-to-video"
    assert sent(made) == {
        "prompt": "A fox",
        "aspect_ratio": "1:1",
        "resolution": "480p",
        "duration": "4",
        "generate_audio": True,
        "codec": "H265",
        "bitrate_mode": "high",
        "end_user_id": "callsheet-7",
        "image_urls": ["a.png", "b.png"],
        "video_urls": ["two.mp4"],
        "audio_urls": ["voice.wav"],
    }


def test_only_reference_to_video_of_2_5_takes_a_seed(home: Path) -> None:
    """There the row's seed goes as it is, and our own number as the tag."""
    body = sent(planned(home, model="seedance-2.5", reference_images="a.png", seed="11"))
    assert (body["seed"], body["end_user_id"]) == (11, "callsheet-7")


@pytest.mark.parametrize(
    ("videos", "input_ms"),
    [
        ("two.mp4", 2000),
        ("two.mp4;ten.mov", 12_000),
        ("two.mp4; https://h/v.mp4", 15_000),
        ("https://h/v.mp4", 15_000),
    ],
)
def test_the_seconds_of_videos_that_come_in_are_priced(home: Path, videos: str, input_ms: int) -> None:
    """Read from the file; the most that the model takes where one is not known."""
    made = planned(home, reference_videos=videos)
    assert made.job.shot.input_ms == input_ms
    assert made.quote == quote(CATALOG, replace(made.job.shot, input_ms=input_ms))
    assert made.quote.maximum_nano > planned(home, reference_images="a.png").quote.expected_nano


@pytest.mark.parametrize(
    ("cells", "column", "message"),
    [
        (
            {"reference_audios": "voice.wav"},
            "reference_audios",
            "needs at least one reference picture or video",
        ),
        ({"reference_videos": "ten.mov;ten.mov"}, "reference_videos", "20 s long together; 15 s are allowed"),
        ({"reference_videos": ";".join(["two.mp4"] * 4)}, "reference_videos", "here are 4 videos; 0 to 3"),
        (
            {"reference_images": ";".join(["a.png"] * 10)},
            "reference_image_urls",
            "here are 10 pictures; 0 to 9",
        ),
        (
            {
                "reference_images": ";".join(["a.png"] * 9),
                "reference_videos": "two.mp4;two.mp4",
                "reference_audios": "voice.wav;voice.wav",
            },
            "reference_image_urls",
            "13 reference files of all kinds; at most 12",
        ),
        ({"reference_videos": "a.png"}, "reference_videos", "not a video file; allowed are .mp4, .mov"),
        ({"reference_videos": "text.mp4"}, "reference_videos", "not a video that can be read"),
        ({"reference_audios": "silent.mp3"}, "reference_audios", "not a sound that can be read"),
        ({"reference_videos": "gone.mp4"}, "reference_videos", "there is no file"),
        (
            {"reference_videos": "data:video/mp4;base64,AA=="},
            "reference_videos",
            "data: URLs are not supported",
        ),
        ({"reference_videos": "[two.mp4]"}, "reference_videos", "not a JSON list"),
        (
            {"reference_videos": "two.mp4", "image_url": "a.png"},
            "reference_videos",
            "do not go with image_url",
        ),
        (
            {"model": "seedance-1.0-lite", "reference_videos": "two.mp4"},
            "reference_videos",
            "takes no reference_videos",
        ),
        ({"draft": "yes"}, "draft", "takes no draft; these do: seedance-2.5"),
        (
            {"model": "seedance-2.0-mini", "bitrate_mode": "high"},
            "bitrate_mode",
            "takes no bitrate_mode; these do",
        ),
        ({"codec": "vp9"}, "codec", "allows auto, H264, H265"),
        ({"seed": "7"}, "seed", "takes no seed; leave it empty, and set take"),
        ({"camera_fixed": "yes"}, "camera_fixed", "takes no camera_fixed; these do"),
        ({"enable_safety_checker": "no"}, "enable_safety_checker", "takes no enable_safety_checker"),
        ({"num_frames": "57"}, "num_frames", "takes no num_frames"),
        ({"task": "editing"}, "task", "takes no task; these do: seedance-2.5"),
        ({**EDIT, "task": "dubbing"}, "task", "allows reference, editing, extension"),
        ({**EDIT, "reference_videos": "", "reference_images": "a.png"}, "task", "needs a reference video"),
        ({**EDIT, "aspect_ratio": "1:1"}, "aspect_ratio", "editing keeps the video's own"),
        ({**EDIT, "duration": "5"}, "duration", "editing keeps the video's own"),
        ({"prompt": "", "reference_images": "a.png"}, "prompt", "must not be empty"),
        ({"model": "seedance-2.5", "prompt": ""}, "prompt", "must not be empty"),
        ({"model": "bytedance/seedance-2.5/reference-to-video", "prompt": ""}, "prompt", "must not be empty"),
        ({"duration": "3"}, "duration", "allows auto, whole seconds from 4 to 15"),
        (
            {"model": "bytedance/seedance-2.5/draft/complete", "resolution": "", "aspect_ratio": ""},
            "model",
            "finishes drafts",
        ),
    ],
)
def test_what_a_model_does_not_take(home: Path, cells: dict[str, str], column: str, message: str) -> None:
    """One mistake, in its column, that says what is allowed."""
    with pytest.raises(ManifestError) as caught:
        planned(home, **cells)
    (problem,) = caught.value.problems
    assert (problem.column, message in problem.message) == (column, True), problem


def test_a_refused_input_names_the_models_that_take_it_for_the_same_task(home: Path) -> None:
    """2.5 takes a seed with references alone, so text to video is not sent there."""
    with pytest.raises(ManifestError) as caught:
        planned(home, seed="7")
    (problem,) = caught.value.problems
    assert problem.message.endswith("seedance-1.0-pro, seedance-1.0-pro-fast, seedance-1.5-pro")


@pytest.mark.parametrize(
    "cells", [{"seed": "-1"}, {"camera_fixed": "no"}, {"enable_safety_checker": "yes"}, {"duration": "auto"}]
)
def test_what_says_nothing_is_no_mistake(home: Path, cells: dict[str, str]) -> None:
    """What a model does anyway may be written down, and is not sent."""
    body = sent(planned(home, **cells))
    assert not {"seed", "camera_fixed", "enable_safety_checker"} & set(body)


def test_editing_and_extension_are_held_at_the_most_they_may_cost(home: Path) -> None:
    """Editing keeps the video's shape and length: both are auto, and the longest and largest is held."""
    edit = planned(home, **EDIT)
    assert sent(edit) | {"prompt": ""} == {
        "prompt": "",
        "task": "editing",
        "aspect_ratio": "auto",
        "duration": "auto",
        "resolution": "480p",
        "generate_audio": True,
        "seed": 7,
        "end_user_id": "callsheet-7",
        "video_urls": ["two.mp4"],
    }
    longest = planned(home, **EDIT | {"task": "reference", "duration": "30", "aspect_ratio": "auto"})
    assert edit.quote.maximum_nano == longest.quote.maximum_nano
    extended = planned(home, **EDIT | {"task": "extension", "duration": "5"})
    assert (sent(extended)["task"], sent(extended)["duration"]) == ("extension", "5")
    plain, spelled = (planned(home, **EDIT | {"task": task}) for task in ("", "reference"))
    assert plain.fingerprint == spelled.fingerprint != edit.fingerprint


@pytest.mark.parametrize("file", [{"image_url": "a.png"}, {"reference_videos": "two.mp4"}])
def test_files_without_a_prompt_are_enough_for_2_5(home: Path, file: dict[str, str]) -> None:
    """Its schema says so for images and references; then no prompt is sent, and the row has a name."""
    made = planned(home, model="seedance-2.5", prompt="", aspect_ratio="", **file)
    assert "prompt" not in sent(made)
    assert made.job.custom_id


def test_a_draft_costs_what_480p_costs(home: Path) -> None:
    """Whatever the resolution says."""
    draft = planned(home, model="seedance-2.5", resolution="1080p", draft="yes")
    assert draft.quote == planned(home, model="seedance-2.5", resolution="480p").quote
    assert sent(draft)["draft"] is True


def test_what_is_left_out_and_what_is_fals_default_is_one_purchase(home: Path) -> None:
    """Codec auto, bitrate standard and no draft are what fal does anyway."""
    plain = planned(home, model="seedance-2.5")
    spelled = planned(home, model="seedance-2.5", codec="auto", bitrate_mode="standard", draft="no")
    assert spelled.fingerprint == plain.fingerprint
    for other in ({"codec": "H264"}, {"bitrate_mode": "high"}, {"draft": "yes"}):
        assert planned(home, model="seedance-2.5", **other).fingerprint != plain.fingerprint


def test_a_video_is_not_a_picture_of_the_same_address() -> None:
    """They are different files to fal, and so different purchases."""
    kinds = {Image("url", "https://h/x", media=media).identity for media in ("image", "video", "audio")}
    assert len(kinds) == 3
    assert Image("url", "https://h/x").identity == "https://h/x"


@pytest.mark.parametrize(
    ("cell", "parts"),
    [
        ("a.png;b.png", ["a.png", "b.png"]),
        ("a.png ; b.png;", ["a.png", "b.png"]),
        ("a.png\nb.png", ["a.png", "b.png"]),
        ("https://h/a;v=1.png", ["https://h/a;v=1.png"]),
        ("https://h/a.png;https://h/b.png", ["https://h/a.png", "https://h/b.png"]),
        ("https://h/a.png | b.png", ["https://h/a.png", "b.png"]),
        ("data:image/png;base64,AA==", ["data:image/png;base64,AA=="]),
        ('["a;b.png", "https://h/c"]', ["a;b.png", "https://h/c"]),
        ("[]", []),
        ("", []),
    ],
)
def test_lists_in_a_cell(cell: str, parts: list[str]) -> None:
    """A `;` within an address is part of it; a JSON list takes any name."""
    assert picture_list(cell) == parts


def test_a_deprecated_model_is_a_warning(home: Path) -> None:
    """It is planned all the same, and the warning names the model to take instead."""
    planned(home, model="seedance-1.0-lite")
    (warning,) = make_plan(home / "shots.csv").warnings
    assert (warning.column, "deprecated at fal" in warning.message) == ("model", True)
    assert "take seedance-1.0-pro-fast" in warning.message


def test_a_length_left_to_the_model_is_a_warning(home: Path) -> None:
    """It says what is reserved; seconds are none."""
    planned(home, duration="")
    (warning,) = make_plan(home / "shots.csv").warnings
    assert (warning.column, "the price of 15 s is reserved" in warning.message) == ("duration", True)
    planned(home)
    assert make_plan(home / "shots.csv").warnings == ()


@pytest.mark.parametrize("endpoint", [each for each in CATALOG.endpoints.values() if each.aliases])
def test_an_endpoint_may_be_named_as_fals_openapi_does(home: Path, endpoint: Any) -> None:
    """The same job, with the same fingerprint, whichever of its names stands in the row."""
    if endpoint.task == "draft-to-video":
        return
    pictures = {"image_url": "a.png"} if endpoint.task == "image-to-video" else {}
    cells = {**pictures, "aspect_ratio": ""}
    jobs = [planned(home, model=name, **cells) for name in endpoint.names]
    assert {each.job.endpoint.id for each in jobs} == {endpoint.id}
    assert len({each.fingerprint for each in jobs}) == 1
