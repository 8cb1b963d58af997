"""The official client, fal_client 1.0.3, over TLS, in a process of its own: it reads its hosts at import."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import trustme

from callsheet.sandbox.config import SandboxConfig
from callsheet.sandbox.faults import Fault, FaultBook
from callsheet.sandbox.server import running_sandbox

SCRIPT = """
import asyncio, io, json, os
import fal_client
import fal_client.client as inside
from PIL import Image

LITE = "fal-ai/bytedance/seedance/v1/lite/text-to-video"
SMALL = {"prompt": "a kite over dunes", "resolution": "480p", "num_frames": 29, "seed": 5}
told = {}

handle = fal_client.submit(LITE, arguments=SMALL)
told["status_class"] = type(handle.status()).__name__
told["events"] = [type(event).__name__ for event in handle.iter_events(with_logs=True, interval=0.02)]
done = handle.status(with_logs=True)
told["logs"] = len(done.logs)
told["metrics"] = done.metrics
told["result"] = handle.get()

again = fal_client.SyncClient().get_handle("fal-ai/bytedance", handle.request_id)
told["again"] = again.get() == told["result"]

updates = []
told["subscribed"] = fal_client.subscribe(
    LITE,
    arguments=SMALL,
    with_logs=True,
    on_queue_update=updates.append
)
told["last_update"] = type(updates[-1]).__name__
told["async"] = asyncio.run(fal_client.AsyncClient().subscribe(LITE, arguments=SMALL))

def failure(work):
    try:
        work()
    except fal_client.FalClientHTTPError as error:
        return {"status": error.status_code, "type": error.error_type, "message": str(error)}
    return None

told["cancel_done"] = failure(handle.cancel)
told["wrong"] = failure(lambda: fal_client.subscribe(LITE, arguments={"prompt": "x", "aspect_ratio": "2:1"}))
told["unknown"] = failure(lambda: fal_client.submit("fal-ai/bytedance/nothing", arguments=SMALL))
told["failed"] = failure(lambda: fal_client.subscribe(LITE, arguments={**SMALL, "prompt": "a storm"}))
told["forbidden"] = failure(lambda: fal_client.SyncClient(key="wrong").submit(LITE, arguments=SMALL))

inside.REST_URL = inside.CDN_URL = "https://" + os.environ["FAL_RUN_HOST"]
buffer = io.BytesIO()
Image.new("RGB", (640, 640), (90, 140, 60)).save(buffer, "PNG")
url = fal_client.upload(buffer.getvalue(), "image/png", "kite.png")
told["from_upload"] = fal_client.subscribe(
    LITE.replace("text", "image"), arguments={**SMALL, "image_url": url}
)
queued = fal_client.submit(LITE, arguments=SMALL, start_timeout=30, priority="low")
told["queued"] = queued.get()["seed"]
print(json.dumps(told))
"""


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What the official client saw."""
    folder: Path = tmp_path_factory.mktemp("tls")
    authority = trustme.CA()
    certificate = authority.issue_cert("localhost", "127.0.0.1")
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    certificate.private_key_pem.write_to_path(str(folder / "key.pem"))
    for blob in certificate.cert_chain_pems:
        blob.write_to_path(str(folder / "chain.pem"), append=True)
    faults = FaultBook()
    failed = Fault("render_failed", status=500, error_type="runner_server_error", prompt_contains="storm")
    faults.arm(failed)
    config = SandboxConfig(
        speed=20, certfile=folder / "chain.pem", keyfile=folder / "key.pem", state_dir=folder / "state"
    )
    with running_sandbox(config, faults=faults) as address:
        host = address.url.replace("https://127.0.0.1", "localhost")
        environment = {
            **os.environ,
            "FAL_KEY": address.key,
            "FAL_RUN_HOST": host,
            "FAL_QUEUE_RUN_HOST": host,
            "SSL_CERT_FILE": str(folder / "ca.pem"),
        }
        ran = subprocess.run(
            [sys.executable, "-c", SCRIPT],
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)


def test_the_official_client_follows_a_job(told: Any) -> None:
    """submit, status, iter_events and get work, with logs and metrics, over TLS."""
    assert told["status_class"] in ("Queued", "InProgress", "Completed")
    assert told["events"][-1] == "Completed"
    assert set(told["events"]) <= {"Queued", "InProgress", "Completed"}
    assert told["logs"] >= 5
    assert told["metrics"]["inference_time"] > 0
    assert told["result"]["seed"] == 5
    assert told["result"]["video"]["url"].startswith("https://localhost:")
    assert told["again"]


def test_the_official_client_subscribes(told: Any) -> None:
    """Subscribe works, sync and async, with updates to the end; priority and start_timeout are taken."""
    assert told["subscribed"]["video"]["content_type"] == "video/mp4"
    assert told["last_update"] == "Completed"
    assert told["async"]["seed"] == told["queued"] == 5


def test_the_official_client_uploads(told: Any) -> None:
    """A file that the official client uploads can be rendered from."""
    assert told["from_upload"]["video"]["file_size"] > 1000


def test_the_official_client_raises_its_own_errors(told: Any) -> None:
    """401, 404, 422, a failed job and a late cancel each become its own error with the right status."""
    assert told["forbidden"]["status"] == 401
    assert told["unknown"]["status"] == 404
    assert told["wrong"]["status"] == 422
    assert "aspect_ratio" in told["wrong"]["message"]
    assert (told["failed"]["status"], told["failed"]["type"]) == (500, "runner_server_error")
    assert told["cancel_done"]["status"] == 400
