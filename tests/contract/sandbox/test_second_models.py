"""Seedance 2.x in the sandbox: drafts, references, codecs, aliases, direct calls."""

import io
from collections.abc import Iterator
from typing import Any

import av
import httpx
import pytest

from callsheet.sandbox.config import LIMITED_KEY, SandboxConfig
from tests.contract.sandbox.conftest import client_of

TEXT = "/bytedance/seedance-2.5/text-to-video"
COMPLETE = "/bytedance/seedance-2.5/draft/complete"
REFERENCES = "/bytedance/seedance-2.0/reference-to-video"


@pytest.fixture(scope="module")
def client() -> Iterator[httpx.Client]:
    """A sandbox that renders at once."""
    yield from client_of(SandboxConfig(speed=5000))


def outcome(client: httpx.Client, path: str, **arguments: Any) -> httpx.Response:
    """Run a job by a direct call."""
    given = {"prompt": "a kite", "duration": "4", "resolution": "480p", "generate_audio": False}
    return client.post("/fal.run" + path, json=given | arguments)


def video_of(client: httpx.Client, reply: httpx.Response) -> tuple[str, int, int, int]:
    """Codec, width, height and frames of a result's file."""
    body = client.get(reply.json()["video"]["url"]).content
    with av.open(io.BytesIO(body)) as container:
        stream = container.streams.video[0]
        return (
            stream.codec_context.name,
            stream.width,
            stream.height,
            sum(1 for _ in container.decode(stream)),
        )


def test_a_draft_is_completed_at_1080p(client: httpx.Client) -> None:
    """A draft is 854x480 and has an id; completing it gives the same take at 1080p, at 1.094 of the price."""
    draft = outcome(client, TEXT, draft=True, resolution="1080p")
    assert video_of(client, draft) == ("h264", 854, 480, 97)
    done = client.post("/fal.run" + COMPLETE, json={"draft_id": draft.json()["draft_id"]})
    assert video_of(client, done) == ("h264", 1920, 1080, 97)
    assert (done.json()["seed"], done.json()["draft_id"]) == (draft.json()["seed"], None)
    bills = [each["cost_nano"] for each in client.get("/_sandbox/ledger").json()["accepted"][-2:]]
    assert bills == [830_962_000, 4_598_623_530]


def test_a_draft_is_completed_by_its_own_account_alone(client: httpx.Client) -> None:
    """An unknown draft, another key's draft and a clip that is no draft are refused with 422."""
    draft = outcome(client, TEXT, draft=True).json()["draft_id"]
    assert outcome(client, TEXT).json()["draft_id"] is None
    no_draft = client.get("/_sandbox/ledger").json()["accepted"][-1]["id"]
    limited = {"Authorization": f"Key {LIMITED_KEY}"}
    tries = [("draft-" + no_draft.replace("-", ""), {}), ("nonsense", {}), (draft, limited)]
    for draft_id, headers in tries:
        reply = client.post("/fal.run" + COMPLETE, json={"draft_id": draft_id}, headers=headers)
        assert (reply.status_code, reply.json()["detail"][0]["loc"]) == (422, ["body", "draft_id"])


def test_references_are_read_and_input_videos_are_billed(client: httpx.Client) -> None:
    """A video made here is a reference of the next; its seconds are billed too, at 0.6 of the price."""
    made = outcome(
        client, "/bytedance/seedance-2.0/text-to-video", aspect_ratio="1:1", resolution="720p"
    ).json()
    url = made["video"]["url"]
    reply = outcome(client, REFERENCES, video_urls=[url], aspect_ratio="1:1")
    assert video_of(client, reply) == ("h264", 640, 640, 97)
    record = client.get("/_sandbox/ledger").json()["accepted"][-1]
    tokens = 640 * 640 * (97 + 97) // 1024
    assert record["cost_nano"] == tokens * 14_000 * 6 // 10
    wrong = outcome(client, REFERENCES, image_urls=[url])
    assert wrong.json()["detail"][0]["type"] == "image_load_error"
    silent = outcome(client, REFERENCES, image_urls=[], video_urls=["data:,x"])
    assert silent.json()["detail"][0]["type"] == "unsupported_video_format"


def test_codec_and_bitrate_are_as_asked(client: httpx.Client) -> None:
    """H265 is HEVC; a high bitrate makes a larger file of the same picture."""
    path = "/bytedance/seedance-2.0/fast/text-to-video"
    assert video_of(client, outcome(client, path, codec="H265"))[0] == "hevc"
    sizes = [
        outcome(client, path, bitrate_mode=mode).json()["video"]["file_size"] for mode in ("standard", "high")
    ]
    assert sizes[0] < sizes[1]


def test_an_alias_is_one_endpoint_with_the_listed_id(client: httpx.Client) -> None:
    """A job submitted by the path of fal's OpenAPI document is listed under the id of the price list."""
    given = {"prompt": "a kite", "duration": "4", "resolution": "480p"}
    job = client.post("/fal-ai/seedance-2/mini/text-to-video", json=given).json()
    assert "/fal-ai/seedance-2/requests/" in job["status_url"]
    with client.stream("GET", job["status_url"] + "/stream") as stream:
        for _ in stream.iter_lines():
            pass
    query = {"endpoint_id": "bytedance/seedance-2.0/mini/text-to-video"}
    events = client.get("/v1/models/billing-events", params=query).json()["billing_events"]
    assert [event["request_id"] for event in events] == [job["request_id"]]
    assert client.get(f"/bytedance/seedance-2.0/requests/{job['request_id']}").status_code == 200


def test_a_direct_call_answers_with_the_result(client: httpx.Client) -> None:
    """The reply is the model's own, with id and units in the headers; model errors keep their status."""
    reply = outcome(client, TEXT)
    assert (reply.status_code, set(reply.json())) == (200, {"video", "seed", "draft_id"})
    assert reply.headers["x-fal-billable-units"] == "38.83"
    assert reply.headers["x-fal-request-id"]
    wrong = outcome(client, TEXT, duration="3")
    assert (wrong.status_code, wrong.json()["detail"][0]["loc"]) == (422, ["body", "duration"])


def test_a_direct_call_does_not_wait_for_a_slot() -> None:
    """Where every slot is taken a direct call is refused with 429; the queue takes the job and waits."""
    for client in client_of(SandboxConfig(speed=0.01, slots=1)):
        client.post(TEXT, json={"prompt": "a"})
        reply = client.post("/fal.run" + TEXT, json={"prompt": "a"})
        assert (reply.status_code, reply.headers["x-fal-needs-retry"]) == (429, "1")
        assert reply.json()["detail"][0]["type"] == "concurrent_requests_limit"
        assert client.post(TEXT, json={"prompt": "a"}).json()["queue_position"] == 0
