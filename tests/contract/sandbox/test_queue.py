import json
import uuid
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from callsheet.sandbox.config import LIMITED_KEY, SandboxConfig
from tests.contract.sandbox.conftest import client_of

PREFIX = "/fal-ai/bytedance/seedance/"
LITE = PREFIX + "v1/lite/text-to-video"
SMALL = {"prompt": "a kite over dunes", "resolution": "480p", "duration": "2", "seed": 5}


@pytest.fixture(scope="module")
def fast() -> Iterator[httpx.Client]:
    """A sandbox that renders at once."""
    yield from client_of(SandboxConfig(speed=1000, draw_seed=False))


@pytest.fixture(scope="module")
def slow() -> Iterator[httpx.Client]:
    """A sandbox with one place, where the first job takes longer than this module."""
    yield from client_of(SandboxConfig(speed=0.01, slots=1))


def submit(
    client: httpx.Client, path: str = LITE, /, headers: dict[str, str] | None = None, **more: Any
) -> Any:
    """Submit a small job and return the reply."""
    reply = client.post(path, json={**SMALL, **more}, headers=headers)
    assert reply.status_code == 200, reply.text
    return reply.json()


def finished(client: httpx.Client, job: Any) -> Any:
    """Follow the stream to its end and return the last status."""
    with client.stream("GET", job["status_url"] + "/stream") as stream:
        events = [json.loads(line[6:]) for line in stream.iter_lines() if line]
    assert events[-1]["status"] == "COMPLETED"
    return events[-1]


def test_a_submit_is_answered_in_full(fast: httpx.Client) -> None:
    """The reply of a submit has an id, three URLs on owner and alias, a place and a status."""
    reply = fast.post(LITE, json=SMALL)
    job = reply.json()
    base = f"{fast.base_url}".rstrip("/") + f"/fal-ai/bytedance/requests/{job['request_id']}"
    assert uuid.UUID(job["request_id"]).version == 4
    assert reply.headers["x-fal-request-id"] == job["request_id"]
    assert (job["response_url"], job["status_url"], job["cancel_url"]) == (
        base,
        f"{base}/status",
        f"{base}/cancel",
    )
    assert (job["status"], job["queue_position"]) == ("IN_QUEUE", 0)


def test_a_job_runs_to_its_result(fast: httpx.Client) -> None:
    """A job becomes COMPLETED with metrics; its result names a real file and the units billed."""
    job = submit(fast)
    done = finished(fast, job)
    assert done["metrics"]["inference_time"] >= 0
    assert "error" not in done
    assert fast.get(job["status_url"]).status_code == 200
    for url in (job["response_url"], job["response_url"] + "/response"):
        reply = fast.get(url)
        assert reply.headers["x-fal-billable-units"] == "19.845"
        assert reply.json()["seed"] == 5
    video = reply.json()["video"]
    body = fast.get(video["url"]).content
    assert (video["content_type"], video["file_size"]) == ("video/mp4", len(body))
    assert body[4:8] == b"ftyp"


def test_logs_come_where_they_are_asked_for(fast: httpx.Client) -> None:
    """The field logs is always there: null, or lines with fal's four fields when logs=1 or logs=true."""
    job = submit(fast)
    finished(fast, job)
    assert fast.get(job["status_url"]).json()["logs"] is None
    for flag in ("1", "true"):
        lines = fast.get(job["status_url"], params={"logs": flag}).json()["logs"]
        assert set(lines[-1]) == {"message", "level", "source", "timestamp"}
        assert lines[-1]["message"] == "Finished"


def test_waiting_and_rendering_look_like_fals(slow: httpx.Client) -> None:
    """202 with queue_position while waiting, 202 while rendering, and 400 for a result asked too soon."""
    first, second, third = submit(slow), submit(slow), submit(slow)
    rendering = slow.get(first["status_url"])
    assert (rendering.status_code, rendering.json()["status"]) == (202, "IN_PROGRESS")
    waiting = slow.get(third["status_url"])
    assert (waiting.status_code, waiting.json()["status"]) == (202, "IN_QUEUE")
    assert slow.get(second["status_url"]).json()["queue_position"] + 1 == waiting.json()["queue_position"]
    early = slow.get(first["response_url"])
    assert (early.status_code, early.json()) == (400, {"detail": "Request is still in progress"})


def test_cancelling(slow: httpx.Client) -> None:
    """A waiting job is taken out and ends with 499; one that renders goes on; a finished one says so."""
    rendering, waiting = submit(slow), submit(slow)
    first = slow.get(rendering["status_url"]).json()
    reply = slow.put(waiting["cancel_url"])
    assert (reply.status_code, reply.json()) == (202, {"status": "CANCELLATION_REQUESTED"})
    done = slow.get(waiting["status_url"])
    assert (done.status_code, done.json()["error_type"]) == (200, "client_cancelled")
    assert slow.get(waiting["response_url"]).status_code == 499
    again = slow.put(waiting["cancel_url"])
    assert (again.status_code, again.json()) == (400, {"status": "ALREADY_COMPLETED"})
    assert slow.get(rendering["status_url"]).json() == first


def test_low_priority_lets_others_pass(slow: httpx.Client) -> None:
    """A low priority job stands behind normal ones that came later."""
    submit(slow)
    low = submit(slow, headers={"X-Fal-Queue-Priority": "low"})
    normal = submit(slow)
    places = [slow.get(job["status_url"]).json()["queue_position"] for job in (low, normal)]
    assert places[0] > places[1]


def test_a_job_that_does_not_start_in_time_ends_with_504(slow: httpx.Client) -> None:
    """X-Fal-Request-Timeout bounds the wait for a place: 504 request_timeout, of type user, unbilled."""
    submit(slow)
    job = submit(slow, headers={"X-Fal-Request-Timeout": "0.2"})
    assert finished(slow, job)["error_type"] == "request_timeout"
    reply = slow.get(job["response_url"])
    assert (reply.status_code, reply.headers["x-fal-request-timeout-type"]) == (504, "user")
    assert "x-fal-billable-units" not in reply.headers


def test_a_queue_that_is_too_long_refuses(slow: httpx.Client) -> None:
    """fal_max_queue_length answers 429 where more are waiting, and accepts nothing."""
    for _ in range(3):
        submit(slow)
    before = slow.get("/_sandbox/ledger").json()["accepted_count"]
    assert slow.post(LITE, json=SMALL, params={"fal_max_queue_length": 0}).status_code == 429
    assert slow.post(LITE, json=SMALL, params={"fal_max_queue_length": 1000}).status_code == 200
    assert slow.get("/_sandbox/ledger").json()["accepted_count"] == before + 1


def test_a_wrong_value_gets_fals_422(fast: httpx.Client) -> None:
    """A wrong value ends the job at no cost; its 422 names place, message, type, context, input and a URL."""
    job = fast.post(LITE, json={"prompt": "x", "aspect_ratio": "2:1", "num_frames": 300}).json()
    status = finished(fast, job)
    reply = fast.get(job["response_url"])
    assert (reply.status_code, reply.headers["x-fal-billable-units"]) == (422, "0")
    ratio, frames = sorted(reply.json()["detail"], key=lambda item: item["loc"])
    assert (ratio["loc"], ratio["type"], ratio["input"]) == (["body", "aspect_ratio"], "literal_error", "2:1")
    assert (frames["type"], frames["ctx"]) == ("less_than_equal", {"le": 289})
    assert all({"loc", "msg", "type", "input", "url"} <= set(item) for item in (ratio, frames))
    assert status["error_type"] == "literal_error"
    assert fast.get("/_sandbox/ledger").json()["accepted"][-1]["cost_nano"] == 0


@pytest.mark.parametrize("body", ["{", '{"prompt": NaN}', "\xff"])
def test_what_is_no_json_is_a_bad_request(fast: httpx.Client, body: str) -> None:
    """A body that is no JSON is refused with 400."""
    reply = fast.post(LITE, content=body.encode("latin-1"))
    assert (reply.status_code, reply.json()["error_type"]) == (400, "bad_request")


@pytest.mark.parametrize("key", ["", "Key", "Key wrong", "Bearer sandbox-key"])
def test_a_wrong_key_is_turned_away(fast: httpx.Client, key: str) -> None:
    """Every route that costs or tells something answers 401 to a missing or wrong key."""
    job = submit(fast)
    headers = {"Authorization": key}
    for method, url in (
        ("POST", LITE),
        ("GET", job["status_url"]),
        ("GET", job["response_url"]),
        ("PUT", job["cancel_url"]),
        ("POST", "/storage/auth/token"),
        ("POST", "/storage/upload/initiate"),
        ("POST", "/files/upload"),
        ("GET", "/v1/models/pricing"),
    ):
        assert fast.request(method, url, headers=headers, json=SMALL).status_code == 401, url


def test_what_is_unknown_is_not_found(fast: httpx.Client) -> None:
    """Unknown endpoints and ids answer 404 with fal's bodies; an id answers under its own app alone."""
    assert "detail" in fast.post(PREFIX + "v9/text-to-video", json=SMALL).json()
    unknown = fast.get(f"/fal-ai/bytedance/requests/{uuid.uuid4()}/status")
    assert (unknown.status_code, unknown.json()) == (404, {"status": "NOT_FOUND"})
    job = submit(fast)
    assert fast.get(f"/fal-ai/flux/requests/{job['request_id']}").status_code == 404


def test_never_more_than_the_slots_render_at_once() -> None:
    """Of twelve jobs three render at a time, all finish, and they start in the order they came."""
    config = SandboxConfig(speed=20, slots=3, draw_seed=False)
    for client in client_of(config):
        jobs = [submit(client) for _ in range(12)]
        for job in jobs:
            finished(client, job)
        truth = client.get("/_sandbox/ledger").json()
        assert truth["in_progress_max"] == 3
        assert truth["open_max"] == 12
        starts = [record["started_at"] for record in truth["accepted"]]
        assert starts == sorted(starts)
        assert truth["cost_nano"] == 12 * 35_721_000


def test_a_render_takes_its_time() -> None:
    """The time in progress follows the model: 41 s for 1080p and 121 frames, here a fraction, within 8 %."""
    for client in client_of(SandboxConfig(speed=20)):
        done = finished(client, submit(client))
        expected_s = 41 * (864 * 480 * 49) / (1920 * 1088 * 121) / 20
        assert done["metrics"]["inference_time"] >= expected_s * 0.92 - 0.001


def test_history_and_prices_and_bills(fast: httpx.Client) -> None:
    """The platform's records agree: prices, requests with payloads, billing events, balance."""
    endpoint = LITE.strip("/")
    job = submit(fast, prompt="for the books")
    finished(fast, job)
    price = fast.get("/v1/models/pricing", params={"endpoint_id": endpoint}).json()["prices"][0]
    assert price == {"endpoint_id": endpoint, "unit_price": 0.0018, "unit": "1000 tokens", "currency": "USD"}
    found = fast.get(
        "/v1/models/requests/by-endpoint",
        params={"endpoint_id": endpoint, "request_id": job["request_id"], "expand": "payloads"},
    ).json()
    (item,) = found["items"]
    assert (item["status_code"], item["json_input"]["prompt"]) == (200, "for the books")
    assert item["json_output"] == fast.get(job["response_url"]).json()
    (event,) = fast.get("/v1/models/billing-events", params={"request_id": job["request_id"]}).json()[
        "billing_events"
    ]
    assert (event["output_units"], event["cost_estimate_nano_usd"]) == (19.845, 35_721_000)
    balance = fast.get("/v1/account/billing", params={"expand": "credits"}).json()["credits"]
    assert 0 < balance["current_balance"] < 1000


def test_history_is_read_in_pages(fast: httpx.Client) -> None:
    """Pages of one hold every request once, newest first, and the last page has no cursor."""
    for number in range(3):
        finished(fast, submit(fast, prompt=f"page {number}"))
    params: dict[str, Any] = {"endpoint_id": LITE.strip("/"), "limit": 1, "expand": "payloads"}
    seen: list[Any] = []
    while True:
        page = fast.get("/v1/models/requests/by-endpoint", params=params).json()
        seen += page["items"]
        assert page["has_more"] is (page["next_cursor"] is not None)
        if not page["has_more"]:
            break
        params["cursor"] = page["next_cursor"]
    assert [item["json_input"]["prompt"] for item in seen[:3]] == ["page 2", "page 1", "page 0"]
    assert len({item["request_id"] for item in seen}) == len(seen)


def test_history_knows_its_window(fast: httpx.Client) -> None:
    """A window holds its start and not its end, statuses filter, and payloads can be left out."""
    job = submit(fast, headers={"X-Fal-Store-IO": "0"})
    finished(fast, job)
    base = {"endpoint_id": LITE.strip("/"), "request_id": job["request_id"], "expand": "payloads"}
    (item,) = fast.get("/v1/models/requests/by-endpoint", params=base).json()["items"]
    assert "json_input" not in item
    within = {**base, "start": item["ended_at"]}
    assert fast.get("/v1/models/requests/by-endpoint", params=within).json()["items"]
    before = {**base, "end": item["ended_at"]}
    assert not fast.get("/v1/models/requests/by-endpoint", params=before).json()["items"]
    failed = {**base, "status": "error"}
    assert not fast.get("/v1/models/requests/by-endpoint", params=failed).json()["items"]


@pytest.mark.parametrize(
    ("path", "params", "status"),
    [
        ("models/pricing", {}, 400),
        ("models/pricing", {"endpoint_id": "fal-ai/unknown"}, 404),
        ("models/requests/by-endpoint", {"endpoint_id": "x", "limit": 101}, 400),
        ("models/requests/by-endpoint", {"endpoint_id": "x", "cursor": "?"}, 400),
        ("models/requests/by-endpoint", {"endpoint_id": "x", "start": "yesterday"}, 400),
        ("models/requests/by-endpoint", {"endpoint_id": "x", "status": "fine"}, 400),
    ],
)
def test_the_platform_refuses_in_its_own_words(
    fast: httpx.Client, path: str, params: dict[str, Any], status: int
) -> None:
    """Wrong parameters get the platform's error document, not the queue's."""
    reply = fast.get(f"/v1/{path}", params=params)
    assert reply.status_code == status
    assert set(reply.json()["error"]) == {"type", "message"}


def test_bills_need_an_admin_key(fast: httpx.Client) -> None:
    """An ordinary key submits and reads history, but gets 403 for billing events and the balance."""
    ordinary = {"Authorization": f"Key {LIMITED_KEY}"}
    assert fast.post(LITE, json=SMALL, headers=ordinary).status_code == 200
    for path in ("models/billing-events", "account/billing"):
        assert fast.get(f"/v1/{path}", headers=ordinary).status_code == 403
