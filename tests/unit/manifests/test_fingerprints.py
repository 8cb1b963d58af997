"""What makes two jobs the same purchase: the video, and not how its row is written."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from manifests.diff import MadeJob, what_differs
from manifests.job import OPTIONS, Image, Job
from manifests.plan import PlannedJob
from manifests.planner import make_plan
from pricing.catalog import load_catalog
from tests.unit.manifests.made import compare

ENDPOINT = load_catalog().endpoints["fal-ai/bytedance/seedance/v1/pro/fast/text-to-video"]
NAMES = ("prompt", "model", *OPTIONS, "image_url")
ROW = {"prompt": "A café by the sea", "model": "seedance-1.0-pro-fast"}
SIGNED = "https://b.s3.amazonaws.com/a.png?versionId=1&X-Amz-Date={}&X-Amz-Expires=60&X-Amz-Signature={}"


def _planned(folder: Path, cells: dict[str, str]) -> PlannedJob:
    row = ROW | cells
    line = ",".join('"{}"'.format(row.get(name, "")) for name in NAMES)
    (folder / "shots.csv").write_bytes(f"{','.join(NAMES)}\n{line}\n".encode())
    (planned,) = make_plan(folder / "shots.csv").jobs
    return planned


SIGNED_A = SIGNED.format("20990101T000000Z", "a")
SIGNED_B = SIGNED.format("20990102T000000Z", "b")
Cells = dict[str, str]

SAME: list[tuple[Cells, Cells]] = [
    ({"prompt": "A kite\nover a bay"}, {"prompt": "A kite\r\nover a bay"}),
    ({"prompt": "A café"}, {"prompt": "A cafe\u0301"}),
    ({}, {"camera_fixed": "false"}),
    ({}, {"enable_safety_checker": "true"}),
    ({}, {"resolution": "1080p"}),
    ({}, {"aspect_ratio": "16:9"}),
    ({}, {"duration": "5"}),
    ({"model": "seedance-1.5-pro"}, {"model": "seedance-1.5-pro", "generate_audio": "yes"}),
    ({}, {"model": ENDPOINT.id}),
    (
        {"image_url": SIGNED_A},
        {"image_url": SIGNED.format("20990102T000000Z", "b")},
    ),
]
OTHER: list[tuple[Cells, Cells]] = [
    ({"prompt": "A kite\nover a bay"}, {"prompt": "A kite over a bay"}),
    ({"prompt": "A café"}, {"prompt": "A cafe"}),
    ({"prompt": "x²"}, {"prompt": "x2"}),
    ({"prompt": "A kite"}, {"prompt": "a kite"}),
    ({}, {"camera_fixed": "true"}),
    ({}, {"enable_safety_checker": "false"}),
    ({}, {"resolution": "720p"}),
    ({}, {"duration": "6"}),
    ({"model": "seedance-1.5-pro"}, {"model": "seedance-1.5-pro", "generate_audio": "no"}),
    ({"image_url": "https://x.example/a.png?v=1"}, {"image_url": "https://x.example/a.png?v=2"}),
    (
        {"image_url": SIGNED_A},
        {"image_url": SIGNED_A.replace("versionId=1", "versionId=2")},
    ),
]


@pytest.mark.parametrize(("before", "after"), SAME)
def test_the_same_video_is_made_already(tmp_path: Path, before: Cells, after: Cells) -> None:
    """A row saved in another way is `=` beside what was made, and nothing is said to differ."""
    was = _planned(tmp_path, before)
    now = _planned(tmp_path, after)
    made = MadeJob(1, was.job.custom_id, was.fingerprint, was.quote.expected_nano)
    assert compare(make_plan(tmp_path / "shots.csv"), [made]).sign(0) == "="
    assert now.fingerprint == was.fingerprint
    assert what_differs(was.job, now.job) == []


@pytest.mark.parametrize(("before", "after"), OTHER)
def test_another_video_is_bought(tmp_path: Path, before: Cells, after: Cells) -> None:
    """What changes the video changes the fingerprint, and the difference has a name."""
    was, now = _planned(tmp_path, before), _planned(tmp_path, after)
    assert now.fingerprint != was.fingerprint
    assert what_differs(was.job, now.job) != []


def test_what_is_sent_is_composed_with_line_feeds(tmp_path: Path) -> None:
    """The prompt goes to fal as it is known: composed, one kind of line break, otherwise as it was typed."""
    job = _planned(tmp_path, {"prompt": " Cafe\u0301 x²\r\n\rend "}).job
    assert job.arguments({})["prompt"] == "Caf\u00e9 x²\n\nend"


def test_a_signature_is_sent_though_it_is_not_part_of_the_picture(tmp_path: Path) -> None:
    """Fal gets the whole address."""
    address = SIGNED_A
    job = _planned(tmp_path, {"image_url": address}).job
    assert job.arguments({image.identity: image.value for image in job.images})["image_url"] == address


def test_fingerprints_never_change_by_accident() -> None:
    """These two are in ledgers: whoever changes what they are taken over must name another version."""
    plain = Job(2, "a", ENDPOINT, "A fox", "1080p", "16:9", duration_s=5)
    full = replace(
        plain,
        prompt="A fox\n雨",
        seed=7,
        take=2,
        camera_fixed=True,
        image=Image("url", "https://example.com/a.png"),
        references=(Image("file", "/b.png", "ab" * 32), Image("url", "https://example.com/c.png")),
    )
    assert plain.fingerprint == "953b89b99ab9531be5c9b7d002e1d71c254aa8e997d8c1db049e5688be02f0c0"
    assert full.fingerprint == "3b7139601d2e99307648da8875ea28affa29ab5de5e9b24ca42075430ecfdede"
