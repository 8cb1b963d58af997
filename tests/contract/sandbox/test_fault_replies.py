import gzip
import json
import time
from typing import Any

import httpx
import pytest

from tests.contract.sandbox.conftest import arm

LITE = "/fal-ai/bytedance/seedance/v1/lite/text-to-video"
SMALL = {"prompt": "a kite over dunes", "resolution": "480p", "num_frames": 29, "seed": 5}


def accepted(client: httpx.Client) -> int:
    """How many requests the oracle knows."""
    return int(client.get("/_sandbox/ledger").json()["accepted_count"])


def same(one: bytes, other: bytes) -> bool:
    """Whether two files are equal; pytest would spend minutes on showing where they are not."""
    return one == other


def finished(client: httpx.Client, **more: Any) -> Any:
    """Submit, wait until the end, return the submit's reply."""
    job = client.post(LITE, json={**SMALL, **more}).json()
    with client.stream("GET", job["status_url"] + "/stream") as stream:
        for _ in stream.iter_lines():
            pass
    return job


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("close", httpx.RemoteProtocolError),
        ("reset", httpx.ReadError),
        ("hang", httpx.ReadTimeout),
        ("truncate", httpx.RemoteProtocolError),
    ],
)
def test_a_lost_reply_hides_an_accepted_job(
    client: httpx.Client, kind: str, expected: type[httpx.TransportError]
) -> None:
    """The connection breaks in its own way, once; the oracle shows that the job was accepted."""
    before = accepted(client)
    arm(client, kind)
    with pytest.raises(expected):
        client.post(LITE, json=SMALL, timeout=0.5 if kind == "hang" else 60)
    while accepted(client) == before:
        time.sleep(0.01)
    assert accepted(client) == before + 1
    assert client.post(LITE, json=SMALL).status_code == 200
    assert client.get("/_sandbox/ledger").json()["fired"][kind] >= 1


@pytest.mark.parametrize("status", [502, 503, 504])
def test_a_proxy_page_hides_an_accepted_job(client: httpx.Client, status: int) -> None:
    """A proxy's HTML page without an id comes back although the job was accepted."""
    before = accepted(client)
    arm(client, "nginx_after", status=status)
    reply = client.post(LITE, json=SMALL)
    assert (reply.status_code, "x-fal-request-id" in reply.headers) == (status, False)
    assert "nginx" in reply.text
    assert accepted(client) == before + 1


def test_a_json_error_gives_away_the_id_in_its_header(client: httpx.Client) -> None:
    """error_after answers 500 as fal does, with the id of the job that was accepted."""
    before = accepted(client)
    arm(client, "error_after")
    reply = client.post(LITE, json=SMALL)
    assert (reply.status_code, reply.json()["error_type"]) == (500, "internal_server_error")
    assert accepted(client) == before + 1
    newest = client.get("/_sandbox/ledger").json()["accepted"][-1]
    assert reply.headers["x-fal-request-id"] == newest["id"]


def test_replies_that_cannot_be_used(client: httpx.Client) -> None:
    """200 with a body that is no JSON, and 200 without request_id; both were accepted."""
    before = accepted(client)
    arm(client, "bad_json")
    with pytest.raises(json.JSONDecodeError):
        client.post(LITE, json=SMALL).json()
    arm(client, "no_request_id")
    reply = client.post(LITE, json=SMALL)
    assert reply.status_code == 200
    assert "request_id" not in reply.json()
    assert accepted(client) == before + 2


def test_a_late_job_is_accepted_after_the_client_gave_up(client: httpx.Client) -> None:
    """Nothing is accepted while the client waits; it is accepted when nobody listens any more."""
    before = accepted(client)
    arm(client, "late", delay_s=2)
    with pytest.raises(httpx.ReadTimeout):
        client.post(LITE, json=SMALL, timeout=0.1)
    assert accepted(client) == before
    while accepted(client) == before:
        time.sleep(0.01)
    assert accepted(client) == before + 1


@pytest.mark.parametrize(
    ("kind", "more", "status"),
    [
        ("throttle", {"delay_s": 3}, 429),
        ("server_error", {}, 503),
        ("server_error", {"status": 500}, 500),
        ("nginx_error", {}, 502),
        ("account_locked", {}, 403),
    ],
)
def test_a_refusal_accepts_nothing(
    client: httpx.Client, kind: str, more: dict[str, Any], status: int
) -> None:
    """Refusals answer with their status as often as armed, and no job exists afterwards."""
    before = accepted(client)
    arm(client, kind, count=3, **more)
    replies = [client.post(LITE, json=SMALL) for _ in range(3)]
    assert [reply.status_code for reply in replies] == [status] * 3
    assert accepted(client) == before
    if kind == "throttle":
        assert replies[0].headers["retry-after"] == "3"
    if kind == "account_locked":
        assert "Exhausted balance" in replies[0].json()["detail"]


def test_a_storm_reaches_every_route_but_the_controls(client: httpx.Client) -> None:
    """A fault on any route strikes reads, uploads, files and the platform; health goes on answering."""
    job = finished(client)
    url = client.get(job["response_url"]).json()["video"]["url"]
    arm(client, "server_error", route="any", count=None)
    urls = [job["status_url"], job["response_url"], url, "/v1/models/pricing"]
    assert [client.get(each).status_code for each in urls] == [503] * 4
    assert client.post("/storage/auth/token").status_code == 503
    assert client.get("/_sandbox/health").json()["status"] == "ok"


def test_a_job_can_fail_at_the_provider(client: httpx.Client) -> None:
    """COMPLETED with an error: the status says so, the result answers it, nothing is billed."""
    arm(
        client,
        "render_failed",
        status=422,
        error_type="content_policy_violation",
        message="not this one",
        prompt_contains="storm",
    )
    job = finished(client, prompt="a storm")
    status = client.get(job["status_url"])
    assert (status.status_code, status.json()["error_type"]) == (200, "content_policy_violation")
    result = client.get(job["response_url"])
    assert (result.status_code, result.headers["x-fal-error-type"]) == (422, "content_policy_violation")
    record = client.get("/_sandbox/ledger").json()["accepted"][-1]
    assert (record["cost_nano"], record["units"]) == (0, "")
    assert client.get(finished(client, prompt="a calm")["response_url"]).status_code == 200


def test_a_job_can_be_billed_above_its_worth(client: httpx.Client) -> None:
    """Overbill multiplies units and cost in the header and in the billing event alike."""
    true_units = 864 * 480 * 29 / 1_024_000
    arm(client, "overbill", factor=1.5)
    job = finished(client)
    units = client.get(job["response_url"]).headers["x-fal-billable-units"]
    assert float(units) == pytest.approx(true_units * 1.5)
    events = client.get("/v1/models/billing-events", params={"request_id": job["request_id"]}).json()
    assert events["billing_events"][0]["output_units"] == float(units)


def test_a_result_can_be_late_or_gone(client: httpx.Client) -> None:
    """The result answers 504, then 404 as expired, then itself."""
    job = finished(client)
    arm(client, "nginx_error", route="result", status=504)
    arm(client, "not_found")
    statuses = [client.get(job["response_url"]).status_code for _ in range(3)]
    assert statuses == [504, 404, 200]


def test_files_that_are_not_the_file(client: httpx.Client) -> None:
    """Each file fault gives something else than the file, and the next download is whole."""
    url = client.get(finished(client)["response_url"]).json()["video"]["url"]
    whole = client.get(url).content
    for kind in ("file_truncated", "file_wrong_length"):
        arm(client, kind)
        with pytest.raises(httpx.RemoteProtocolError):
            client.get(url)
    arm(client, "file_cut")
    assert same(client.get(url).content, whole[: len(whole) // 2])
    arm(client, "file_no_length")
    short = client.get(url)
    assert "content-length" not in short.headers
    assert same(short.content, whole[: len(whole) // 2])
    arm(client, "file_wrong")
    assert client.get(url).headers["content-type"] == "text/html"
    arm(client, "file_corrupt")
    corrupt = client.get(url).content
    assert len(corrupt) == len(whole)
    assert not same(corrupt, whole)
    arm(client, "file_gzip")
    with client.stream("GET", url) as packed:
        assert packed.headers["content-encoding"] == "gzip"
        assert same(gzip.decompress(b"".join(packed.iter_raw())), whole)
    arm(client, "file_slow", delay_s=0.2)
    slow = client.get(url)
    assert same(slow.content, whole)
    assert slow.elapsed.total_seconds() >= 0.15
    assert same(client.get(url).content, whole)


def test_nonsense_is_not_armed(client: httpx.Client) -> None:
    """An unknown fault is answered with what there is, and nothing is armed."""
    reply = client.post("/_sandbox/faults", json={"kind": "earthquake"})
    assert reply.status_code == 422
    assert "truncate" in reply.json()["detail"]
    assert client.get("/_sandbox/faults").json()["armed"] == []


def test_a_call_may_ask_for_its_own_fault(client: httpx.Client) -> None:
    """A header strikes this one call; a render fault in it holds for the request that it submits."""
    before = accepted(client)
    reply = client.post(LITE, json=SMALL, headers={"X-Sandbox-Fault": "throttle delay_s=2"})
    assert (reply.status_code, reply.headers["retry-after"]) == (429, "2")
    assert client.post(LITE, json=SMALL, headers={"X-Sandbox-Fault": "nonsense"}).status_code == 400
    assert accepted(client) == before
    asked = {"X-Sandbox-Fault": "render_failed status=422 error_type=content_policy_violation"}
    job = client.post(LITE, json=SMALL, headers=asked).json()
    with client.stream("GET", job["status_url"] + "/stream") as stream:
        for _ in stream.iter_lines():
            pass
    reply = client.get(job["response_url"])
    assert (reply.status_code, reply.json()["detail"][0]["type"]) == (422, "content_policy_violation")


@pytest.mark.parametrize(
    ("marker", "allowed"),
    [
        ("render_failed status=abc", "integer"),
        ("render_failed status=700", "599"),
        ("overbill factor=much", "number"),
        ("render_failed colour=red", "status"),
        ("nonsense", "render_failed"),
        ("throttle", "render_failed"),
        ("", "kind name=value"),
    ],
)
def test_a_fault_in_a_prompt_that_cannot_be_read_is_refused(
    client: httpx.Client, marker: str, allowed: str
) -> None:
    """Nothing is accepted, and the reply says what may stand there."""
    before = accepted(client)
    reply = client.post(LITE, json={**SMALL, "prompt": f"a kite <sandbox:{marker}>"})
    assert (reply.status_code, reply.json()["error_type"]) == (400, "bad_request")
    assert allowed in reply.json()["detail"]
    assert accepted(client) == before


def test_a_fault_in_a_prompt_strikes_its_job_each_time(client: httpx.Client) -> None:
    """A marker holds for every request with that prompt."""
    for _ in range(2):
        job = finished(client, prompt="a kite <sandbox:render_failed status=422> over dunes")
        assert client.get(job["response_url"]).status_code == 422
