"""What a page in a browser, or a broken client, can do to the sandbox: nothing, and never a 500."""

import json
import os
import socket
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from callsheet.sandbox.config import LIMITED_KEY, SandboxConfig
from callsheet.sandbox.server import running_sandbox

PREFIX = "/fal-ai/bytedance/seedance/"
LITE = PREFIX + "v1/lite/text-to-video"
FROM_IMAGE = PREFIX + "v1/lite/image-to-video"
SMALL = {"prompt": "a kite over dunes", "resolution": "480p", "num_frames": 29, "seed": 5}


@pytest.fixture(scope="module")
def client() -> Iterator[httpx.Client]:
    """One sandbox for the module."""
    with (
        running_sandbox(SandboxConfig(speed=5000, draw_seed=False, hosts=("queue.test",))) as address,
        httpx.Client(
            base_url=address.url, headers={"Authorization": f"Key {address.key}"}, timeout=60
        ) as client,
    ):
        yield client


CONTROLS = [
    ("GET", "health"),
    ("GET", "ledger"),
    ("GET", "faults"),
    ("POST", "faults"),
    ("DELETE", "faults"),
    ("POST", "prices"),
    ("POST", "speed"),
]


@pytest.mark.parametrize(("method", "name"), CONTROLS)
@pytest.mark.parametrize("key", ["", "Key wrong", f"Key {LIMITED_KEY}", "Bearer sandbox-key"])
def test_control_routes_ask_for_the_key(client: httpx.Client, method: str, name: str, key: str) -> None:
    """A page of another origin can send text/plain without asking, but no Authorization: it gets 401."""
    headers = {"Authorization": key, "Content-Type": "text/plain", "Origin": "https://evil.example"}
    reply = client.request(method, f"/_sandbox/{name}", headers=headers, content='{"kind": "close"}')
    assert reply.status_code == 401
    assert client.get("/_sandbox/faults").json()["armed"] == []


@pytest.mark.parametrize("path", [LITE, "/_sandbox/ledger", "/v1/models/pricing", "/files/render/a.mp4"])
def test_no_other_origin_is_allowed(client: httpx.Client, path: str) -> None:
    """Neither a preflight nor a plain request gets an Access-Control-Allow-Origin header."""
    for method in ("OPTIONS", "GET", "POST"):
        asked = {"Origin": "https://evil.example", "Access-Control-Request-Headers": "authorization"}
        reply = client.request(method, path, headers=asked, json=SMALL)
        assert not [name for name in reply.headers if name.startswith("access-control")]


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1", 200),
        ("localhost:8790", 200),
        ("LOCALHOST", 200),
        ("[::1]:80", 200),
        ("192.0.2.7", 200),
        ("queue.test", 200),
        ("evil.example", 421),
        ("127.0.0.1.evil.example", 421),
        ("localhost.evil.example", 421),
        ("[::1", 421),
        ("local host", 421),
        ("localhost:99999999", 421),
        ("", 421),
    ],
)
def test_a_rebound_name_is_refused(client: httpx.Client, host: str, status: int) -> None:
    """Every route checks Host: addresses, loopback names and the names it was started with, no others."""
    for path in ("/_sandbox/health", "/v1/models/pricing?endpoint_id=" + LITE.strip("/")):
        assert client.get(path, headers={"Host": host}).status_code == status


def outcome(client: httpx.Client, path: str, **arguments: Any) -> httpx.Response:
    """Run a job to its end and return the reply of its result."""
    job = client.post(path, json={**SMALL, **arguments}).json()
    with client.stream("GET", job["status_url"] + "/stream") as stream:
        for _ in stream.iter_lines():
            pass
    return client.get(job["response_url"])


@pytest.mark.parametrize(
    "url", ["http://[::1", "http://[::1]:x/files/a", "http://\u0000/", "//", "data:", "x" * 9000]
)
def test_an_address_that_is_none_is_a_download_error(client: httpx.Client, url: str) -> None:
    """Whatever stands where an image's address belongs, the job ends with fal's own 422."""
    reply = outcome(client, FROM_IMAGE, image_url=url)
    assert reply.status_code == 422
    assert reply.json()["detail"][0]["type"] == "file_download_error"


@pytest.mark.parametrize(
    "body",
    [
        b'{"prompt": "\\ud800"}',
        b'{"prompt": "a", "more": "\\udfff"}',
        b'{"\\ud800": 1, "prompt": "a"}',
        b"[" * 50_000 + b"]" * 50_000,
        b'{"prompt": "a", "deep": ' + b"[" * 200 + b"]" * 200 + b"}",
        b'{"prompt": "a", "seed": 1e999}',
        b'{"prompt": "a", "more": 1e999}',
        b'{"prompt": "a", "seed": ' + b"9" * 5000 + b"}",
        b"\xff\xfe",
        b"\xff\xfe{\x00",
        b"null",
        b"[1]",
        b'"text"',
    ],
    ids=range(13),
)
def test_a_hostile_body_is_refused(client: httpx.Client, body: bytes) -> None:
    """Half surrogates, deep nesting, endless numbers and huge prompts are 400 or 422, in a short reply."""
    before = client.get("/_sandbox/ledger").json()["accepted_count"]
    for path in (LITE, "/storage/upload/initiate", "/_sandbox/faults", "/_sandbox/prices", "/_sandbox/speed"):
        reply = client.post(path, content=body)
        assert reply.status_code in {400, 422}, (path, reply.status_code, reply.text[:200])
        assert len(reply.content) < 20_000
    assert client.get("/_sandbox/ledger").json()["accepted_count"] == before


@pytest.mark.parametrize("wrong", [{"seed": int("9" * 400)}, {"prompt": ["x" * 2**20]}])
def test_a_hostile_value_ends_the_job(client: httpx.Client, wrong: dict[str, Any]) -> None:
    """A number without end and a list instead of a text are model errors, in a short reply."""
    reply = outcome(client, LITE, **wrong)
    assert reply.status_code == 422
    assert len(reply.content) < 20_000


def test_a_prompt_of_40_mib_is_refused(client: httpx.Client) -> None:
    """A prompt has a bound, and the reply does not repeat it."""
    reply = client.post(LITE, content=b'{"prompt": "' + b"x" * (40 * 2**20) + b'"}')
    assert (reply.status_code, reply.json()["detail"][0]["type"]) == (422, "string_too_long")
    assert len(reply.content) < 20_000


def test_a_body_without_end_is_cut_off(client: httpx.Client) -> None:
    """More than 256 MiB are refused while they come, instead of being kept in memory."""

    def endless() -> Iterator[bytes]:
        for _ in range(300):
            yield bytes(2**20)

    try:
        status = client.put("/files/upload/none", content=endless()).status_code
    except httpx.TransportError:  # the server closes the connection while the client still sends
        status = 413
    assert status == 413
    assert client.get("/_sandbox/health").status_code == 200


@pytest.mark.parametrize(
    "content_type", ["image/png\r\nx: y", "imag\u00e9/png", "", "image/png; a=\u2603", "a" * 500, 5, None]
)
def test_a_content_type_cannot_add_headers(client: httpx.Client, content_type: Any) -> None:
    """A content type that cannot be sent again as it is becomes plain bytes."""
    asked = {"file_name": "k.png", "content_type": content_type}
    url = client.post("/storage/upload/initiate", json=asked).json()["upload_url"]
    assert client.put(url, content=b"x").status_code == 200
    reply = client.get(url)
    assert (reply.status_code, reply.headers["content-type"]) == (200, "application/octet-stream")
    assert "x" not in reply.headers


@pytest.mark.parametrize("limit", ["\u00b2", "\u0663", "-1", "0", "1e3", "9" * 5000, " 1", ""])
def test_a_limit_is_a_plain_number(client: httpx.Client, limit: str) -> None:
    """Digits of other kinds, and numbers without end, are refused with the platform's own 400."""
    found = client.get("/v1/models/requests/by-endpoint", params={"endpoint_id": "x", "limit": limit})
    assert found.status_code == 400
    longest = client.post(LITE, json={}, params={"fal_max_queue_length": limit})
    assert longest.status_code in {200, 429}


PATHS = st.sampled_from(
    [
        LITE,
        FROM_IMAGE,
        "/fal-ai/bytedance/requests/x/status",
        "/fal-ai/bytedance/requests/x",
        "/fal-ai/bytedance/requests/x/cancel",
        "/storage/auth/token",
        "/storage/upload/initiate",
        "/files/upload",
        "/files/upload/x",
        "/v1/models/pricing",
        "/v1/models/requests/by-endpoint",
        "/v1/models/billing-events",
        "/v1/account/billing",
        "/v1/models",
        "/v1/models/usage",
        "/v1/models/pricing/estimate",
        "/v1/models/requests/x/payloads",
        "/v1/storage/settings",
        "/v1/storage/files/sign",
        "/fal.run" + LITE,
        "/files/upload/x/multipart/y/1",
        "/files/upload/x/multipart/y/complete",
        "/storage/upload/initiate-multipart",
        "/_sandbox/faults",
        "/_sandbox/prices",
        "/_sandbox/speed",
        "/%ff/%00/..%2f/x",
        "//",
    ]
)
WORDS = (
    "prompt seed image_url aspect_ratio duration num_frames kind count headers file_name content_type speed "
    "unit status body limit cursor start endpoint_id timezone timeframe end url parts endpoints fal_webhook"
)
NAMES = st.sampled_from(WORDS.split())
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(codec=None)),
    lambda each: st.lists(each, max_size=3) | st.dictionaries(NAMES | st.text(max_size=5), each, max_size=4),
    max_leaves=8,
)
HEADERS = st.dictionaries(
    st.sampled_from(
        [
            "x-fal-queue-priority",
            "x-fal-request-timeout",
            "x-fal-store-io",
            "x-fal-file-name",
            "x-fal-object-lifecycle-preference",
            "x-sandbox-fault",
            "range",
        ]
    ),
    st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=20).map(str.strip),
    max_size=2,
)


@settings(
    max_examples=int(os.environ.get("CALLSHEET_TEST_EXAMPLES", "150")),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    derandomize=True,
)
@given(
    st.sampled_from(["GET", "POST", "PUT", "DELETE", "HEAD"]),
    PATHS,
    st.dictionaries(NAMES, st.text(max_size=12), max_size=3),
    HEADERS,
    st.binary(max_size=40) | st.dictionaries(NAMES, VALUES, max_size=5).map(json.dumps),
)
def test_no_request_breaks_the_server(
    client: httpx.Client, method: str, path: str, params: dict[str, str], headers: dict[str, str], body: Any
) -> None:
    """Whatever is asked, the answer is below 500; a fault that the request armed itself is disarmed."""
    try:
        reply = client.request(method, path, params=params, headers=headers, content=body)
    finally:
        client.delete("/_sandbox/faults")
    assert reply.status_code < 500, (method, path, params, headers, body, reply.text[:300])


def test_what_is_no_http_harms_nothing(client: httpx.Client) -> None:
    """Bytes that are no HTTP are answered with 400 and the next request is served."""
    with socket.create_connection((client.base_url.host, client.base_url.port or 80)) as connection:
        connection.sendall(b"\x16\x03\x01\x02\x00\r\n\r\n")
        assert b" 400 " in connection.recv(200)
    assert client.get("/_sandbox/health").status_code == 200


@pytest.mark.parametrize("kind", ["no_request_id", "other_id", "torn_id"])
@pytest.mark.parametrize(
    "path", ["/", "/v1/meta", "/v1/models/pricing", LITE, "/no/such", "/storage/auth/token"]
)
def test_a_fault_of_submits_strikes_no_other_reply(client: httpx.Client, kind: str, path: str) -> None:
    """A reply that has no id to spoil comes as it is; no other call can ask for such a fault."""
    for method in ("POST", "PUT", "GET"):
        reply = client.request(method, path, headers={"X-Sandbox-Fault": kind, "Authorization": "Key wrong"})
        assert reply.status_code < 500, (method, reply.text)
        assert len(reply.content) < 5000


def test_a_fault_sends_a_strange_path_back_as_an_address(client: httpx.Client) -> None:
    """A redirect to the path of the call escapes what no header may hold."""
    asked = {"X-Sandbox-Fault": "file_redirect"}
    reply = client.get("/files/a%00b%e9c", headers=asked, follow_redirects=False)
    assert (reply.status_code, reply.headers["location"][:12]) == (302, "/files/a%00b")


@pytest.mark.parametrize("status", [204, 205, 304])
def test_an_answer_without_a_body_has_none(client: httpx.Client, status: int) -> None:
    """Statuses that allow no body are sent without one, and the connection lives on."""
    reply = client.get("/v1/meta", headers={"X-Sandbox-Fault": f"answer status={status} body='{{}}'"})
    assert (reply.status_code, reply.content) == (status, b"")
    assert client.get("/v1/meta").status_code == 200
