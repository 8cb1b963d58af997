"""fal's platform API, route by route: what happened, what it cost, what is kept and for how long."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from callsheet.sandbox.config import LIMITED_KEY, SandboxConfig
from callsheet.sandbox.served_endpoints import ENDPOINTS
from tests.contract.sandbox.conftest import client_of

MINI = "bytedance/seedance-2.0/mini/text-to-video"
PRO = "fal-ai/bytedance/seedance/v1/pro/text-to-video"


@pytest.fixture
def client() -> Iterator[httpx.Client]:
    """A sandbox of the test's own, which renders at once."""
    yield from client_of(SandboxConfig(speed=5000, draw_seed=False))


def made(client: httpx.Client, endpoint: str = MINI, **headers: str) -> httpx.Response:
    """Make one clip."""
    given = {"prompt": "a kite", "duration": "4", "resolution": "480p", "generate_audio": False}
    reply = client.post(f"/fal.run/{endpoint}", json=given, headers=headers)
    assert reply.status_code == 200, reply.text
    return reply


def test_each_endpoint_is_listed_with_its_openapi(client: httpx.Client) -> None:
    """All endpoints come with metadata and, if asked, the sandbox's own schema; Lite is deprecated."""
    found: list[Any] = []
    cursor = ""
    while cursor is not None:
        page = client.get(
            "/v1/models", params={"expand": "openapi-3.0", "limit": 10, "cursor": cursor}
        ).json()
        found += page["models"]
        cursor = page["next_cursor"]
    assert {model["endpoint_id"] for model in found} == set(ENDPOINTS)
    by_id = {model["endpoint_id"]: model for model in found}
    schema = by_id[MINI]["openapi"]["components"]["schemas"]["Input"]
    assert schema["required"] == ["prompt"]
    assert schema["properties"]["resolution"] == {
        "default": "720p",
        "enum": ["480p", "720p"],
        "title": "Resolution",
        "type": "string",
    }
    assert schema["properties"]["end_user_id"]["nullable"]
    deprecated = client.get("/v1/models", params={"status": "deprecated"}).json()["models"]
    assert all("/lite/" in model["endpoint_id"] for model in deprecated)
    assert len(deprecated) == 3
    query = {"endpoint_id": MINI}
    assert client.get("/api/openapi/queue/openapi.json", params=query).json() == by_id[MINI]["openapi"]


def test_an_estimate_is_price_times_quantity(client: httpx.Client) -> None:
    """By units: the listed price. By calls: the mean of what calls cost here."""
    by_units = {"estimate_type": "unit_price", "endpoints": {PRO: {"unit_quantity": 2}}}
    assert client.post("/v1/models/pricing/estimate", json=by_units).json()["total_cost"] == 5.0
    made(client)
    cost = client.get("/_sandbox/ledger").json()["cost_nano"]
    by_calls = {"estimate_type": "historical_api_price", "endpoints": {MINI: {"call_quantity": 3}}}
    found = client.post("/v1/models/pricing/estimate", json=by_calls).json()["total_cost"]
    assert found == pytest.approx(3 * cost / 1e9)
    by_calls["endpoints"] = {"nobody/nothing": {"call_quantity": 1}}
    assert client.post("/v1/models/pricing/estimate", json=by_calls).status_code == 404


def test_usage_adds_up_to_the_billing_events(client: httpx.Client) -> None:
    """Rows by endpoint and bucket have the sums of the events; unit and price are the list's."""
    for endpoint in (MINI, MINI, PRO):
        made(client, endpoint)
    events = client.get("/v1/models/billing-events", params={"expand": "auth_method"}).json()[
        "billing_events"
    ]
    assert {event["auth_method"] for event in events} == {"User Key (Key ID: admin)"}
    usage = client.get(
        "/v1/models/usage", params={"expand": "summary,time_series", "timeframe": "day"}
    ).json()
    by_id = {row["endpoint_id"]: row for row in usage["summary"]}
    for endpoint, row in by_id.items():
        own = [event for event in events if event["endpoint_id"] == endpoint]
        assert row["quantity"] == pytest.approx(sum(event["output_units"] for event in own))
        assert row["cost_total"] == pytest.approx(sum(event["cost_total"] for event in own))
    assert (by_id[PRO]["unit"], by_id[PRO]["unit_price"]) == ("1m tokens", 2.5)
    assert sum(len(bucket["results"]) for bucket in usage["time_series"]) == 2
    none = client.get("/v1/models/usage", params={"api_key_id": "limited", "expand": "summary"}).json()
    assert none["summary"] == []


def test_payloads_are_deleted_for_good(client: httpx.Client) -> None:
    """Arguments, result and output file go; the same Idempotency-Key gives the same answer, others none."""
    reply = made(client)
    request_id, url = reply.headers["x-fal-request-id"], reply.json()["video"]["url"]
    path = f"/v1/models/requests/{request_id}/payloads"
    assert client.delete(path, headers={"Authorization": f"Key {LIMITED_KEY}"}).status_code == 403
    first = client.delete(path, headers={"Idempotency-Key": "a"}).json()
    assert first == {"cdn_delete_results": [{"link": url, "exception": None}]}
    assert client.delete(path, headers={"Idempotency-Key": "a"}).json() == first
    assert client.delete(path).json() == {"cdn_delete_results": []}
    assert client.get(url).status_code == 404
    assert client.get(f"/bytedance/seedance-2.0/requests/{request_id}").status_code == 404
    query = {"endpoint_id": MINI, "expand": "payloads"}
    (item,) = client.get("/v1/models/requests/by-endpoint", params=query).json()["items"]
    assert (item["status_code"], "json_input" in item) == (200, False)


def test_storage_settings_hold_for_new_files(client: httpx.Client) -> None:
    """Hidden files answer 404, forbidden ones 403; a signed address opens them, a changed one does not."""
    for access, status in (("hide", 404), ("forbid", 403)):
        acl = {"default": access, "rules": []}
        settings = client.put("/v1/storage/settings", json={"initial_acl": acl}).json()
        assert settings == {"expiration_duration_seconds": None, "initial_acl": acl}
        assert client.get("/v1/storage/settings").json() == settings
        url = made(client).json()["video"]["url"]
        assert httpx.get(url).status_code == status
        signed = client.post("/v1/storage/files/sign", params={"url": url}, json={"expiration_seconds": 60})
        address = signed.json()["signed_url"]
        assert httpx.get(address).status_code == 200
        assert httpx.get(address + "0").status_code == status
    lifecycle = '{"initial_acl": {"default": "allow"}}'
    public = made(client, **{"X-Fal-Object-Lifecycle-Preference": lifecycle}).json()["video"]["url"]
    assert httpx.get(public).status_code == 200


def test_meta_needs_no_key(client: httpx.Client) -> None:
    """Where webhooks come from is public."""
    assert httpx.get(client.base_url.join("/v1/meta")).json()["webhook_ip_ranges"][0] == "127.0.0.1/32"
