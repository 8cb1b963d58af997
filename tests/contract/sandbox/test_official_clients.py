"""fal's own clients, as they are, over TLS under fal's own names, in a network namespace of their own."""

import base64
import hashlib
import io
import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import trustme
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from PIL import Image

from callsheet.sandbox.config import FAL_NAMES

ROOT = Path(__file__).parents[3]
JS = ROOT / "tests" / "contract" / "js"
NAMESPACE = ("unshare", "--net", "--mount", *(() if os.geteuid() == 0 else ("--user", "--map-root-user")))
PREPARE = 'ip link set lo up && mount --bind "$0" /etc/hosts && exec "$@"'
PRINTED = json.loads((JS / "printed.json").read_text())
"""The examples of fal's model pages: what curl posts to fal.run, and what the clients subscribe to."""

CURL = (
    "curl --silent --fail --cacert $SSL_CERT_FILE --request POST --url https://fal.run/{endpoint} "
    '--header "Authorization: Key $FAL_KEY" --header "Content-Type: application/json" --data {body}'
)
JWKS = "import httpx; print(httpx.get('https://rest.fal.ai/.well-known/jwks.json').text)"


pytestmark = pytest.mark.xdist_group("official-clients")


def missing() -> str:
    """What this machine lacks for the tests, or nothing."""
    needs = ("unshare", "ip", "mount")
    if lacking := [name for name in needs if shutil.which(name) is None]:
        return f"needs {', '.join(lacking)}"
    tried = subprocess.run([*NAMESPACE, "ip", "link", "set", "lo", "up"], capture_output=True, check=False)
    if tried.returncode:
        return f"may make no network namespace: {tried.stderr.decode().strip()}"
    if shutil.which("node") is None or not (JS / "node_modules").is_dir():
        return "needs Node 18 or newer and `npm ci --prefix tests/contract/js`"
    return ""


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What both clients saw, run side by side, and the webhooks that came."""
    if why := missing():
        assert "CI" not in os.environ, why
        pytest.skip(f"fal's clients cannot be run under fal's names: this machine {why}")
    folder: Path = tmp_path_factory.mktemp("tls")
    authority = trustme.CA()
    certificate = authority.issue_cert(*FAL_NAMES)
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    certificate.private_key_pem.write_to_path(str(folder / "key.pem"))
    for blob in certificate.cert_chain_pems:
        blob.write_to_path(str(folder / "chain.pem"), append=True)
    (folder / "hosts").write_text("127.0.0.1 localhost " + " ".join(FAL_NAMES) + "\n")
    buffer = io.BytesIO()
    Image.new("RGB", (640, 640), (90, 140, 60)).save(buffer, "PNG")
    python = shlex.quote(sys.executable)
    commands = [
        f"{python} {shlex.quote(str(Path(__file__).with_name('python_client.py')))}",
        f"node {shlex.quote(str(JS / 'client.mjs'))}",
        f"{python} -c {shlex.quote(JWKS)}",
        *(
            CURL.format(endpoint=f"fal-ai/bytedance/seedance/{path}", body=shlex.quote(json.dumps(given)))
            for path, given in PRINTED.items()
        ),
    ]
    inside = [sys.executable, str(Path(__file__).with_name("fal_names.py")), str(folder), *commands]
    ran = subprocess.run(
        [*NAMESPACE, "sh", "-c", PREPARE, str(folder / "hosts"), *inside],
        env={
            **os.environ,
            "PICTURE": base64.b64encode(buffer.getvalue()).decode(),
            "PRINTED": json.dumps(PRINTED),
            "PYTHONPATH": str(ROOT),
        },
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr[-3000:]
    document = json.loads(ran.stdout)
    python_told, js_told, jwks, *curl = document["told"]
    told = {"python": python_told, "js": js_told, "jwks": jwks, "curl": curl}
    return {**told, "webhooks": document["webhooks"]}


@pytest.fixture(scope="module")
def python(seen: Any) -> Any:
    """What the Python client saw."""
    assert "error" not in seen["python"], seen["python"]
    return seen["python"]


@pytest.fixture(scope="module")
def js(seen: Any) -> Any:
    """What the JavaScript client saw."""
    assert "error" not in seen["js"], seen["js"]
    return seen["js"]


def is_video(result: Any) -> bool:
    """Whether a result names a video on fal's media host, with the seed that was asked for."""
    return result["seed"] == 5 and result["video"]["url"].startswith("https://v3.fal.media/files/")


def test_python_follows_a_job(python: Any) -> None:
    """submit, status, iter_events and get work, sync and async, with logs and metrics."""
    told = python["sync"]
    assert told["first"] in ("Queued", "InProgress", "Completed")
    for events in (told["events"], python["async"]["events"]):
        assert events[-1] == "Completed"
        assert set(events) <= {"Queued", "InProgress", "Completed"}
    assert told["logs"] >= 2
    assert told["metrics"]["inference_time"] > 0
    assert is_video(told["result"])
    assert is_video(python["async"]["result"])
    assert told["again"]


def test_python_subscribes_and_runs(python: Any) -> None:
    """Subscribe and run answer with the result, sync and async; priority, hint and timeout are taken."""
    for told in (python["sync"], python["async"]):
        assert is_video(told["subscribed"])
        assert is_video(told["ran"])
    assert python["sync"]["last_update"] == "Completed"
    assert python["sync"]["queued"] == 5


def test_python_uploads(python: Any) -> None:
    """Small files and files above 100 MiB get addresses on fal's media host that the models can read."""
    told = python["files"]
    for url in (told["small"], told["storage"], told["large"], python["async"]["large"]):
        assert url.startswith("https://v3.fal.media/files/")
    assert told["large_bytes"] == 100 * 2**20 + 1
    assert is_video(told["from_upload"])
    assert is_video(python["async"]["from_upload"])
    assert told["hidden"] == 404


def test_python_raises_its_own_errors(python: Any) -> None:
    """401, 404, 422, a failed job and a late cancel each become the client's error with the right status."""
    told = python["sync"]
    assert told["forbidden"]["status"] == 401
    assert told["unknown"]["status"] == 404
    assert told["wrong"]["status"] == 422
    assert "aspect_ratio" in told["wrong"]["message"]
    assert (told["failed"]["status"], told["failed"]["type"]) == (500, "runner_server_error")
    assert (told["cancel_done"]["status"], told["cancel_unknown"]["status"]) == (400, 404)
    assert told["cancel_running"] is None


def test_the_printed_examples_run(seen: Any, python: Any, js: Any) -> None:
    """Every example of fal's model pages works as printed, by curl, Python and JavaScript."""
    for results in (seen["curl"], python["printed"], js["printed"]):
        assert len(results) == len(PRINTED)
        for result in results:
            assert "error" not in result, result
            assert result["video"]["content_type"] == "video/mp4"
            assert result["video"]["file_size"] > 10_000


def test_js_follows_a_job(js: Any) -> None:
    """submit, status, the event stream and result work, with logs and metrics."""
    assert js["first"] in ("IN_QUEUE", "IN_PROGRESS", "COMPLETED")
    assert js["events"][-1] == "COMPLETED"
    assert js["done"]["logs"] >= 2
    assert js["done"]["metrics"]["inference_time"] > 0
    assert (is_video(js["result"]["data"]), js["result"]["requestId"]) == (True, js["requestId"])


def test_js_subscribes_and_runs(js: Any) -> None:
    """Subscribe by polling and by streaming, and run, answer with the result and the request's id."""
    for name in ("subscribed", "streamed", "ran"):
        assert is_video(js[name]["data"])
        assert js[name]["requestId"]
    assert js["updates"][-1] == "COMPLETED"


def test_js_uploads(js: Any) -> None:
    """Blobs among the arguments, small files, and files above 90 MiB in parts."""
    assert is_video(js["fromBlob"]["data"])
    assert is_video(js["fromUrl"])
    assert js["large"].startswith("https://v3.fal.media/files/")
    assert js["largeBytes"] == 90 * 2**20 + 1
    assert js["shortLived"].startswith("https://v3.fal.media/files/")


def test_js_raises_its_own_errors(js: Any) -> None:
    """A model's 422 is a ValidationError with fal's list; other failures are ApiErrors with their status."""
    assert (js["wrong"]["name"], js["wrong"]["status"]) == ("ValidationError", 422)
    assert js["wrong"]["body"]["detail"][0]["loc"] == ["body", "aspect_ratio"]
    assert js["unknown"]["status"] == 404
    assert (js["failed"]["status"], js["failed"]["body"]["detail"][0]["type"]) == (500, "runner_server_error")
    assert (js["cancelDone"]["status"], js["cancelUnknown"]["status"]) == (400, 404)
    assert js["cancelRunning"] == "requested"


def test_webhooks_are_signed_and_tried_again(seen: Any, python: Any, js: Any) -> None:
    """Each webhook's signature fits the published key, and the one that was refused comes again."""
    keys = seen["jwks"]["keys"]
    x = keys[0]["x"]
    public = Ed25519PublicKey.from_public_bytes(base64.urlsafe_b64decode(x + "=" * (-len(x) % 4)))
    for each in seen["webhooks"]:
        headers = {name.removeprefix("x-fal-webhook-"): value for name, value in each["headers"].items()}
        digest = hashlib.sha256(each["body"].encode()).hexdigest()
        parts = (headers["request-id"], headers["user-id"], headers["timestamp"], digest)
        public.verify(bytes.fromhex(headers["signature"]), "\n".join(parts).encode())
    bodies = [(each["path"], json.loads(each["body"])) for each in seen["webhooks"]]
    assert len(bodies) == 3, "two requests, and one webhook twice"
    by_path = dict(bodies)
    for path, told, request_id in (
        ("/python", python["sync"]["result"], python["sync"]["request_id"]),
        ("/js", js["result"]["data"], js["requestId"]),
    ):
        body = by_path[path]
        assert (body["status"], body["error"], body["request_id"]) == ("OK", None, request_id)
        assert body["payload"] == told
