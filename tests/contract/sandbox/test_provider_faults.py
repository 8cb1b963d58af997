"""Faults of results, ids, history, bills and the media host."""

import io
from typing import Any

import av
import httpx
import pytest

from callsheet.sandbox.config import LIMITED_KEY
from tests.contract.sandbox.conftest import arm

LITE = "/fal-ai/bytedance/seedance/v1/lite/text-to-video"
SMALL = {"prompt": "a kite over dunes", "resolution": "480p", "num_frames": 29, "seed": 5}
TRUE_UNITS = "11.745"


def accepted(client: httpx.Client) -> list[Any]:
    """Every request that was accepted."""
    return list(client.get("/_sandbox/ledger").json()["accepted"])


def finished(client: httpx.Client, **more: Any) -> Any:
    """Submit, wait until the end, return the submit's reply."""
    job = client.post(LITE, json={**SMALL, **more}).json()
    with client.stream("GET", job["status_url"] + "/stream") as stream:
        for _ in stream.iter_lines():
            pass
    return job


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, {}),
        (200, {"video": None, "seed": 1}),
        (400, {"detail": "Bad request"}),
        (405, {"detail": "Method Not Allowed"}),
        (418, {"detail": "I'm a teapot"}),
        (422, {"detail": "not a list"}),
        (451, {"detail": "Unavailable For Legal Reasons"}),
    ],
)
def test_one_bad_answer_of_a_result(client: httpx.Client, status: int, body: Any) -> None:
    """The result is answered as armed once, and truly on the next ask."""
    job = finished(client)
    arm(client, "answer", status=status, body=body)
    bad = client.get(job["response_url"])
    assert (bad.status_code, bad.json()) == (status, body)
    good = client.get(job["response_url"])
    assert (good.status_code, good.headers["x-fal-billable-units"]) == (200, TRUE_UNITS)


def test_one_poll_is_refused(client: httpx.Client) -> None:
    """A 401 to one poll leaves the job and the next poll alone."""
    job = finished(client)
    arm(client, "answer", route="status", status=401, body={"detail": "No"})
    assert [client.get(job["status_url"]).status_code for _ in range(2)] == [401, 200]


@pytest.mark.parametrize(
    ("headers", "kind"),
    [
        ({}, "answer"),
        ({"x-fal-billable-units": "0"}, "answer"),
        ({"x-fal-billable-units": "11.7"}, "answer"),
        ({"x-fal-request-id": "{request_id}"}, "answer_after"),
        ({"x-fal-request-id": "{request_id}", "x-fal-billable-units": "11.7"}, "answer_after"),
    ],
)
def test_a_422_to_the_post(client: httpx.Client, headers: dict[str, str], kind: str) -> None:
    """A 422 answers the POST with or without units and an id; with `answer_after` the job exists."""
    before = len(accepted(client))
    body = (
        {"detail": "content", "request_id": "{request_id}"}
        if kind == "answer_after"
        else {"detail": "content"}
    )
    arm(client, kind, route="submit", status=422, body=body, headers=headers)
    reply = client.post(LITE, json=SMALL)
    assert reply.status_code == 422
    found = accepted(client)
    assert len(found) == before + (kind == "answer_after")
    newest = found[-1]["id"] if found else ""
    expected = {name: text.replace("{request_id}", newest) for name, text in headers.items()}
    sent = {name: text for name, text in reply.headers.items() if name.startswith("x-fal")}
    assert sent == expected
    if kind == "answer_after":
        assert reply.json()["request_id"] == newest


@pytest.mark.parametrize(("kind", "header_is_right"), [("other_id", False), ("torn_id", True)])
def test_a_reply_names_another_jobs_id(client: httpx.Client, kind: str, header_is_right: bool) -> None:
    """Body and URLs name the request accepted before; the header does too, or disagrees."""
    earlier = client.post(LITE, json=SMALL).json()["request_id"]
    arm(client, kind)
    reply = client.post(LITE, json={**SMALL, "prompt": "another"})
    mine = accepted(client)[-1]
    assert mine["arguments"]["prompt"] == "another"
    assert reply.json()["request_id"] == earlier != mine["id"]
    assert earlier in reply.json()["status_url"]
    assert reply.headers["x-fal-request-id"] == (mine["id"] if header_is_right else earlier)


def test_history_can_be_hidden_from_one_key(client: httpx.Client) -> None:
    """The key's history is 200 and empty as long as armed; other keys and other routes see everything."""
    job = finished(client)
    asked = {"endpoint_id": LITE.strip("/"), "request_id": job["request_id"]}
    arm(client, "history_hidden", key=LIMITED_KEY, count=None)
    hidden = {"Authorization": f"Key {LIMITED_KEY}"}
    for _ in range(2):
        reply = client.get("/v1/models/requests/by-endpoint", params=asked, headers=hidden)
        assert (reply.status_code, reply.json()) == (
            200,
            {"items": [], "next_cursor": None, "has_more": False},
        )
    assert len(client.get("/v1/models/requests/by-endpoint", params=asked).json()["items"]) == 1
    prices = client.get("/v1/models/pricing", params={"endpoint_id": LITE.strip("/")}, headers=hidden)
    assert prices.status_code == 200


@pytest.mark.parametrize("text", ["0", "0.000001", "-11.745", "many", ""])
def test_units_can_be_nonsense_in_the_header(client: httpx.Client, text: str) -> None:
    """The header says what was armed; the billing event keeps the true units and cost."""
    arm(client, "units", text=text)
    job = finished(client)
    assert client.get(job["response_url"]).headers["x-fal-billable-units"] == text
    (event,) = client.get("/v1/models/billing-events", params={"request_id": job["request_id"]}).json()[
        "billing_events"
    ]
    assert (event["output_units"], event["cost_estimate_nano_usd"]) == (11.745, 21_141_000)


def test_the_bill_itself_can_be_nothing(client: httpx.Client) -> None:
    """A factor of 0 bills nothing, in the header and in the event."""
    arm(client, "overbill", factor=0)
    job = finished(client)
    assert client.get(job["response_url"]).headers["x-fal-billable-units"] == "0"
    (event,) = client.get("/v1/models/billing-events", params={"request_id": job["request_id"]}).json()[
        "billing_events"
    ]
    assert (event["output_units"], event["cost_estimate_nano_usd"]) == (0, 0)


def test_a_clip_can_have_its_sides_exchanged(client: httpx.Client) -> None:
    """Width and height are exchanged in the file, and the bill is the same."""
    arm(client, "swapped_size")
    job = finished(client)
    reply = client.get(job["response_url"])
    with av.open(io.BytesIO(client.get(reply.json()["video"]["url"]).content)) as container:
        assert (container.streams.video[0].width, container.streams.video[0].height) == (480, 864)
    assert reply.headers["x-fal-billable-units"] == TRUE_UNITS


def test_the_checker_can_refuse_everything(client: httpx.Client) -> None:
    """Every render ends with fal's own 422 of the content checker, as a list with one item, unbilled."""
    arm(client, "render_failed", status=422, error_type="content_policy_violation", message="no", count=None)
    for _ in range(3):
        job = finished(client)
        reply = client.get(job["response_url"])
        assert (reply.status_code, reply.headers["x-fal-error-type"]) == (422, "content_policy_violation")
        (item,) = reply.json()["detail"]
        assert {"loc", "msg", "type", "url"} <= set(item)
        assert "x-fal-billable-units" not in reply.headers


def file_url(client: httpx.Client) -> str:
    """Render a clip and return its address."""
    return str(client.get(finished(client)["response_url"]).json()["video"]["url"])


@pytest.mark.parametrize("location", ["", "http://localhost:1{path}", "https://evil.example/a.mp4"])
def test_the_media_host_redirects(client: httpx.Client, location: str) -> None:
    """302 to itself, to another name of an allowed host, or to a foreign host."""
    url = file_url(client)
    arm(client, "file_redirect", location=location)
    reply = client.get(url)
    path = httpx.URL(url).path
    assert (reply.status_code, reply.headers["location"]) == (302, location.replace("{path}", path) or path)
    assert client.get(url).status_code == 200


@pytest.mark.parametrize(
    ("kind", "check"),
    [
        ("file_empty", lambda body, _whole: body == b""),
        ("file_trailing", lambda body, whole: body == whole + bytes(100)),
        ("file_webm", lambda body, _whole: body.startswith(b"\x1aE\xdf\xa3")),
        ("file_wrong", lambda body, _whole: body.startswith(b"<html>")),
    ],
)
def test_the_media_host_sends_something_else(client: httpx.Client, kind: str, check: Any) -> None:
    """200 with other bytes and an honest length, once; then the file."""
    url = file_url(client)
    whole = client.get(url).content
    arm(client, kind)
    reply = client.get(url)
    assert reply.status_code == 200
    assert check(reply.content, whole), kind
    assert client.get(url).content == whole, "the next one is the file"
