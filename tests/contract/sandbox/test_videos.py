import base64
import io
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import av
import httpx
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from callsheet.sandbox.config import SandboxConfig
from callsheet.sandbox.server import running_sandbox

PREFIX = "/fal-ai/bytedance/seedance/"
Frames = list[NDArray[np.uint8]]


@pytest.fixture(scope="module")
def client() -> Iterator[httpx.Client]:
    """A sandbox that renders at once."""
    with (
        running_sandbox(SandboxConfig(speed=5000)) as address,
        httpx.Client(
            base_url=address.url, headers={"Authorization": f"Key {address.key}"}, timeout=60
        ) as client,
    ):
        yield client


def picture(width: int, height: int, colour: tuple[int, int, int]) -> bytes:
    """A PNG of one colour with a white mark."""
    image = Image.new("RGB", (width, height), colour)
    ImageDraw.Draw(image).rectangle((width // 8, height // 4, width // 3, height // 2), fill=(250, 250, 250))
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def data_uri(body: bytes) -> str:
    """The bytes as a data: URI."""
    return "data:image/png;base64," + base64.b64encode(body).decode()


def outcome(client: httpx.Client, endpoint: str, **arguments: Any) -> httpx.Response:
    """Run a job to its end and return the reply of its result."""
    given = {"prompt": "a kite over dunes", "resolution": "480p", "seed": 3, **arguments}
    job = client.post(PREFIX + endpoint, json=given)
    assert job.status_code == 200, job.text
    with client.stream("GET", job.json()["status_url"] + "/stream") as stream:
        for _ in stream.iter_lines():
            pass
    return client.get(job.json()["response_url"])


def file_of(client: httpx.Client, endpoint: str, **arguments: Any) -> bytes:
    """Run a job that succeeds and return its file."""
    reply = outcome(client, endpoint, **arguments)
    assert reply.status_code == 200, reply.text
    return client.get(reply.json()["video"]["url"]).content


def frames_of(body: bytes) -> Frames:
    """Every frame in RGB."""
    with av.open(io.BytesIO(body)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def difference(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> float:
    """Mean absolute difference of two frames, 0 to 255."""
    return float(np.abs(one.astype(int) - other.astype(int)).mean())


@pytest.mark.parametrize(
    ("endpoint", "arguments", "size", "frames"),
    [
        ("v1/lite/text-to-video", {"duration": "2"}, (864, 480), 49),
        ("v1/lite/text-to-video", {"aspect_ratio": "9:21", "num_frames": 29}, (416, 960), 29),
        ("v1/pro/fast/text-to-video", {"aspect_ratio": "1:1", "num_frames": 60}, (640, 640), 60),
        ("v1/pro/text-to-video", {"aspect_ratio": "3:4", "duration": "3"}, (544, 736), 73),
        ("v1.5/pro/text-to-video", {"aspect_ratio": "21:9", "duration": "4"}, (992, 432), 97),
        (
            "v1.5/pro/text-to-video",
            {"aspect_ratio": "21:9", "resolution": "720p", "duration": "4"},
            (1470, 630),
            97,
        ),
        ("v1.5/pro/text-to-video", {"aspect_ratio": "auto", "duration": "4"}, (864, 496), 97),
        (
            "v1/lite/text-to-video",
            {"aspect_ratio": "4:3", "resolution": "1080p", "num_frames": 29},
            (1664, 1248),
            29,
        ),
    ],
)
def test_a_file_holds_exactly_what_was_ordered(
    client: httpx.Client, endpoint: str, arguments: dict[str, Any], size: tuple[int, int], frames: int
) -> None:
    """Pixels, 24 frames a second, the exact number of frames, the index in front, and units that agree."""
    reply = outcome(client, endpoint, **arguments)
    body = client.get(reply.json()["video"]["url"]).content
    with av.open(io.BytesIO(body)) as container:
        video = container.streams.video[0]
        assert (video.width, video.height) == size
        assert video.average_rate == 24
        assert video.codec_context.pix_fmt == "yuv420p"
        assert sum(1 for _ in container.decode(video=0)) == frames
    assert body.index(b"moov") < body.index(b"mdat")
    tokens = size[0] * size[1] * frames / 1024
    units = tokens / (1_000 if "lite" in endpoint else 1_000_000)
    assert float(reply.headers["x-fal-billable-units"]) == pytest.approx(units, abs=1e-12)


def test_the_widest_sizes_come_out_with_their_own_pixels(client: httpx.Client) -> None:
    """2206x946, the oddest size of the table, is encoded as it stands."""
    body = file_of(
        client,
        "v1.5/pro/text-to-video",
        resolution="1080p",
        aspect_ratio="21:9",
        duration="4",
        generate_audio=False,
    )
    with av.open(io.BytesIO(body)) as container:
        assert (container.streams.video[0].width, container.streams.video[0].height) == (2206, 946)


def test_sound_is_made_where_it_is_ordered(client: httpx.Client) -> None:
    """1.5 has a stereo AAC track as long as the picture, and none when generate_audio is off."""
    with av.open(io.BytesIO(file_of(client, "v1.5/pro/text-to-video", duration="4"))) as container:
        audio = container.streams.audio[0]
        assert (audio.codec_context.name, audio.layout.name, audio.rate) == ("aac", "stereo", 48_000)
        heard = np.concatenate([frame.to_ndarray() for frame in container.decode(audio=0)], axis=1)
        assert heard.shape[1] / 48_000 == pytest.approx(97 / 24, abs=0.05)
        assert np.abs(heard).max() > 0.05
    silent = file_of(client, "v1.5/pro/text-to-video", duration="4", generate_audio=False)
    with av.open(io.BytesIO(silent)) as container:
        assert not container.streams.audio


def test_a_video_moves(client: httpx.Client) -> None:
    """Every frame differs from the one before, and the last differs visibly from the first."""
    frames = frames_of(file_of(client, "v1/lite/text-to-video", duration="2"))
    assert all(not np.array_equal(one, other) for one, other in pairwise(frames))
    assert difference(frames[0], frames[-1]) > 1


def test_each_shot_begins_with_a_cut(client: httpx.Client) -> None:
    """Two instructions are two shots: one frame, in the middle, differs far more from the one before it."""
    prompt = "A car. [Push in] Snow flies. [Pan left] Storm lights shine."
    frames = frames_of(file_of(client, "v1/lite/text-to-video", duration="2", prompt=prompt))
    steps = [difference(one, other) for one, other in pairwise(frames)]
    cut = max(range(len(steps)), key=steps.__getitem__)
    assert abs(cut - 24) <= 1
    assert steps[cut] > 3 * sorted(steps)[-2]


def test_an_image_is_seen_by_each_camera_in_turn(client: httpx.Client) -> None:
    """Pan right, then pan left: the white mark goes left, then right."""
    image = data_uri(picture(1280, 720, (160, 60, 40)))
    arguments = {
        "image_url": image,
        "aspect_ratio": "16:9",
        "duration": "2",
        "prompt": "[Pan right] [Pan left]",
    }
    frames = frames_of(file_of(client, "v1/lite/image-to-video", **arguments))
    centres = [float(np.argwhere(frame[140:230].min(axis=2) > 200)[:, 1].mean()) for frame in frames]
    assert centres[0] > centres[20] + 20
    assert centres[-1] > centres[30] + 20


def test_what_was_ordered_can_be_read_in_the_picture(client: httpx.Client) -> None:
    """Two prompts give two pictures in other colours; two seeds of one prompt differ as well."""
    one = frames_of(file_of(client, "v1/lite/text-to-video", duration="2", prompt="a submarine"))[0]
    other = frames_of(file_of(client, "v1/lite/text-to-video", duration="2", prompt="a paper boat"))[0]
    take = frames_of(file_of(client, "v1/lite/text-to-video", duration="2", prompt="a submarine", seed=4))[0]
    assert difference(one, other) > 8
    assert difference(one, take) > 0.1
    bright = (one.min(axis=2) > 200).sum() / one[:, :, 0].size
    assert 0.005 < bright < 0.4, "white type on a dark ground"


def test_equal_clips_are_equal_files(client: httpx.Client) -> None:
    """The same order with the same seed gives the same bytes."""
    assert file_of(client, "v1/lite/text-to-video", duration="2") == file_of(
        client, "v1/lite/text-to-video", duration="2"
    )


@pytest.mark.parametrize(
    ("size", "expected"), [((900, 1600), (480, 864)), ((700, 700), (640, 640)), ((1500, 640), (960, 416))]
)
def test_auto_follows_the_image(
    client: httpx.Client, size: tuple[int, int], expected: tuple[int, int]
) -> None:
    """aspect_ratio auto takes the ratio nearest to the first image."""
    image = data_uri(picture(*size, (40, 90, 160)))
    body = file_of(client, "v1/lite/image-to-video", image_url=image, num_frames=29)
    with av.open(io.BytesIO(body)) as container:
        assert (container.streams.video[0].width, container.streams.video[0].height) == expected


def test_an_image_is_seen_and_moved(client: httpx.Client) -> None:
    """The middle of the first frame shows the image's own colours; a pan then moves it."""
    image = data_uri(picture(1280, 720, (160, 60, 40)))
    arguments = {"image_url": image, "aspect_ratio": "16:9", "duration": "2", "prompt": "[Pan right] dunes"}
    frames = frames_of(file_of(client, "v1/lite/image-to-video", **arguments))
    middle = frames[0][200:280, 500:800].reshape(-1, 3).mean(axis=0)
    assert np.abs(middle - np.array([160, 60, 40])).max() < 12
    assert difference(frames[0], frames[-1]) > 2


def test_a_fixed_camera_stands_still(client: httpx.Client) -> None:
    """With camera_fixed the picture stays where it is: only the bar changes."""
    image = data_uri(picture(1280, 720, (160, 60, 40)))
    arguments = {"image_url": image, "aspect_ratio": "16:9", "duration": "2", "camera_fixed": True}
    frames = frames_of(file_of(client, "v1/lite/image-to-video", **arguments))
    assert difference(frames[0][100:360], frames[-1][100:360]) < 1
    assert not np.array_equal(frames[0], frames[-1])


def test_the_end_image_is_where_it_ends(client: httpx.Client) -> None:
    """The clip begins with the first image's colour and ends with the end image's."""
    images = {
        "image_url": data_uri(picture(1280, 720, (160, 60, 40))),
        "end_image_url": data_uri(picture(1280, 720, (40, 60, 160))),
    }
    frames = frames_of(file_of(client, "v1/lite/image-to-video", aspect_ratio="16:9", duration="2", **images))
    colours = [frame[200:280, 500:800].reshape(-1, 3).mean(axis=0) for frame in (frames[0], frames[-1])]
    assert np.abs(colours[0] - np.array([160, 60, 40])).max() < 12
    assert np.abs(colours[1] - np.array([40, 60, 160])).max() < 12


def test_references_are_seen_side_by_side(client: httpx.Client) -> None:
    """Reference to video shows every reference."""
    references = [
        data_uri(picture(800, 600, colour)) for colour in ((180, 30, 30), (30, 150, 40), (30, 40, 170))
    ]
    body = file_of(
        client,
        "v1/lite/reference-to-video",
        reference_image_urls=references,
        aspect_ratio="16:9",
        num_frames=29,
    )
    row = frames_of(body)[0][300:320]
    strongest = [
        int(row[:, start : start + 60].reshape(-1, 3).mean(axis=0).argmax()) for start in (190, 480, 780)
    ]
    assert strongest == [0, 1, 2]


def test_an_image_that_cannot_be_had_fails_the_job(client: httpx.Client) -> None:
    """A foreign host is not asked: the job completes with file_download_error and answers 422."""
    reply = outcome(client, "v1/lite/image-to-video", image_url="https://example.com/cat.png")
    assert reply.status_code == 422
    (item,) = reply.json()["detail"]
    assert (item["type"], item["loc"]) == ("file_download_error", ["body", "image_url"])
    assert "x-fal-billable-units" not in reply.headers


def test_both_ways_of_uploading_give_a_usable_url(client: httpx.Client) -> None:
    """A file sent with a token, and one PUT to a reserved URL, can be read back and be rendered from."""
    body = picture(640, 640, (90, 140, 60))
    token = client.post("/storage/auth/token", params={"storage_type": "fal-cdn-v3"}, json={}).json()
    headers = {
        "Authorization": f"{token['token_type']} {token['token']}",
        "Content-Type": "image/png",
        "X-Fal-File-Name": "kite.png",
    }
    sent = client.post(f"{token['base_url']}/files/upload", content=body, headers=headers).json()[
        "access_url"
    ]
    reserved = client.post(
        "/storage/upload/initiate", json={"file_name": "k.png", "content_type": "image/png"}
    ).json()
    assert client.put(reserved["upload_url"], content=body).status_code == 200
    for url in (sent, reserved["file_url"]):
        reply = client.get(url)
        assert reply.content == body
        assert reply.headers["content-type"] == "image/png"
        assert client.get(url, headers={"Range": "bytes=0-3"}).content == body[:4]
        assert reply.headers["etag"].startswith('"')
        assert outcome(client, "v1/lite/image-to-video", image_url=url, num_frames=29).status_code == 200


def test_files_cannot_be_reached_around_the_table(client: httpx.Client) -> None:
    """No path leads out of the folder of files, and nothing unreserved can be PUT."""
    for name in ("../sandbox.sqlite", "%2e%2e/sandbox.sqlite", "..%2fsandbox.sqlite", "nothing"):
        assert client.get(f"/files/{name}").status_code == 404
    assert client.put("/files/upload/mine.html", content=b"x").status_code == 404
