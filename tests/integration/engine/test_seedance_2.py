"""Seedance 2.x from the row to the bill, and requests to it whose reply is lost."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import PIL.Image
import pytest

from callsheet.ledger import State
from tests.unit.manifests.clips import write_clip, write_sound

pytestmark = pytest.mark.anyio

HEADER = "custom_id,prompt,model,resolution,aspect_ratio,duration\n"
TWO = "bytedance/seedance-2.0/text-to-video"


def opened(house: Any, name: str, *rows: str) -> str:
    """Open a run of rows."""
    source = house.folder / f"{name}.csv"
    source.write_text(HEADER + "".join(f"{row}\n" for row in rows))
    return str(house.open_source(source))


@pytest.mark.parametrize(
    ("row", "usd"),
    [
        ("a,A teapot of 2.0,seedance-2.0,480p,16:9,4", Decimal(864 * 496 * 97 * 14) / 1024 / 10**6),
        ("a,A teapot of mini,seedance-2.0-mini,480p,1:1,4", Decimal(640 * 640 * 97 * 7) / 1024 / 10**6),
        ("a,A teapot of 2.5,seedance-2.5,480p,1:1,4", Decimal(640 * 640 * 97 * 214) / 1024 / 10**7),
    ],
)
async def test_what_is_sent_and_what_it_costs(house: Any, row: str, usd: Decimal) -> None:
    """No seed, our tag, every option that decides the price; the bill is 24 s + 1 frames in whole tokens."""
    run_id = opened(house, "two", row)
    await house.work(run_id)

    made = house.row(run_id)
    assert made.state is State.SUCCEEDED
    assert usd - Decimal("0.00003") < Decimal(made.spent_nano).scaleb(-9) <= usd
    assert made.submission.cost_basis == "billable_units"
    (sent,) = house.accepted(row.split(",")[1])
    body = sent["arguments"]
    assert body.pop("end_user_id") == f"callsheet-{made.submission.seed}"
    assert body == {
        "prompt": row.split(",")[1],
        "resolution": "480p",
        "aspect_ratio": row.split(",")[4],
        "duration": "4",
        "generate_audio": True,
    }


async def test_a_length_left_to_the_model(house: Any) -> None:
    """`auto` is sent, the longest clip is held, and what was made is booked."""
    run_id = opened(house, "auto", "a,A teapot of any length,seedance-2.0-mini,480p,,")
    await house.work(run_id)
    made = house.row(run_id)
    (sent,) = house.accepted("A teapot of any length")
    assert (sent["arguments"]["duration"], sent["arguments"]["aspect_ratio"]) == ("auto", "auto")
    assert made.state is State.SUCCEEDED
    assert made.submission.hold_nano == made.maximum_nano > 2 * made.spent_nano


async def test_a_lost_reply_is_found_under_either_name(house: Any) -> None:
    """Fal's history may list it under another id of the same endpoint: it is adopted, not bought again."""
    run_id = opened(house, "lost", "a,A lost teapot of 2.0,seedance-2.0,480p,1:1,4")
    house.arm("reset")
    await house.work(run_id)
    assert house.row(run_id).state is State.UNKNOWN
    await house.ended("A lost teapot of 2.0")
    (found,) = (await house.settled()).each
    assert found.outcome == "collected"
    assert len(house.accepted("A lost teapot of 2.0")) == 1


async def test_absence_is_not_concluded_of_an_unconfirmed_history(house: Any) -> None:
    """Where no real account has shown how 2.x is listed, a person decides, however long it is not seen."""
    house.ago_ms = 8_000_000
    run_id = opened(house, "ghost", "a,A ghostly teapot of 2.0,seedance-2.0,480p,1:1,4")
    house.arm("nginx_error")
    await house.work(run_id)
    house.ago_ms = 0
    await house.work(opened(house, "known", "a,A known teapot of 2.0,seedance-2.0,480p,1:1,4"))
    await house.settled()
    (found,) = [each for each in (await house.looked_again()).each if each.run_id == run_id]
    assert (found.outcome, house.row(run_id).state) == ("unknown", State.UNKNOWN)
    assert "no real account has shown" in found.why
    assert json.dumps(house.accepted("A ghostly teapot of 2.0")) == "[]"


async def test_reference_files_are_uploaded_and_their_seconds_billed(house: Any) -> None:
    """A picture, a video and a sound from this disk: 0.6 of the rate on what comes in and goes out."""
    PIL.Image.new("RGB", (400, 400), "red").save(house.folder / "a.png")
    write_clip(house.folder / "in.mp4", seconds=2, size=(640, 640))
    write_sound(house.folder / "voice.wav", seconds=2)
    source = house.folder / "references.csv"
    source.write_text(
        "custom_id,prompt,model,resolution,aspect_ratio,duration,reference_images,reference_videos,"
        "reference_audios,codec\n"
        "a,A teapot by reference,seedance-2.0,480p,1:1,4,a.png,in.mp4,voice.wav,h265\n"
    )
    run_id = house.open_source(source)
    await house.work(run_id)

    made = house.row(run_id)
    assert made.state is State.SUCCEEDED
    (sent,) = house.accepted("A teapot by reference")
    body = sent["arguments"]
    assert body["codec"] == "H265"
    for name in ("image_urls", "video_urls", "audio_urls"):
        assert [url.startswith(house.address.url) for url in body[name]] == [True]
    assert made.spent_nano == sent["cost_nano"]
    assert made.submission.cost_basis == "billable_units"
    assert made.expected_nano * 98 // 100 <= made.spent_nano <= made.maximum_nano
