"""What fal's Python client sees; prints one JSON document. The sandbox answers under fal's own names."""

import asyncio
import base64
import json
import os
import sys
import uuid
from collections.abc import Callable
from typing import Any

import fal_client
import httpx

LITE = "fal-ai/bytedance/seedance/v1/lite/text-to-video"
FROM_IMAGE = "fal-ai/bytedance/seedance/v1/lite/image-to-video"
SMALL = {"prompt": "a kite over dunes", "resolution": "480p", "num_frames": 29, "seed": 5}
PICTURE = base64.b64decode(os.environ["PICTURE"])
LARGE = bytes(100 * 2**20 + 1)


def failure(work: Callable[[], Any]) -> Any:
    """The client's own error, or what came back."""
    try:
        return work()
    except fal_client.FalClientHTTPError as error:
        return {"status": error.status_code, "type": error.error_type, "message": str(error)}


def sync() -> dict[str, Any]:
    """The blocking client."""
    told: dict[str, Any] = {}
    handle = fal_client.submit(LITE, arguments=SMALL, webhook_url="http://127.0.0.1:9000/python")
    told["request_id"] = handle.request_id
    told["first"] = type(handle.status(with_logs=True)).__name__
    told["events"] = [type(event).__name__ for event in handle.iter_events(with_logs=True, interval=0.02)]
    done = handle.status(with_logs=True)
    told["logs"], told["metrics"] = len(done.logs), done.metrics
    told["result"] = handle.get()
    told["again"] = fal_client.SyncClient().get_handle(LITE, handle.request_id).get() == told["result"]
    updates: list[Any] = []
    told["subscribed"] = fal_client.subscribe(
        LITE, arguments=SMALL, with_logs=True, on_queue_update=updates.append
    )
    told["last_update"] = type(updates[-1]).__name__
    told["ran"] = fal_client.run(LITE, arguments=SMALL)
    queued = fal_client.submit(LITE, arguments=SMALL, start_timeout=30, priority="low", hint="lora-a")
    told["queued"] = queued.get()["seed"]
    told["cancel_done"] = failure(handle.cancel)
    told["cancel_unknown"] = failure(lambda: fal_client.cancel(LITE, str(uuid.uuid4())))
    slow = fal_client.submit(LITE, arguments={**SMALL, "prompt": "slow", "resolution": "1080p"})
    told["cancel_running"] = failure(slow.cancel)
    told["wrong"] = failure(
        lambda: fal_client.subscribe(LITE, arguments={"prompt": "x", "aspect_ratio": "2:1"})
    )
    told["unknown"] = failure(lambda: fal_client.submit("fal-ai/bytedance/nothing", arguments=SMALL))
    told["failed"] = failure(
        lambda: fal_client.subscribe(LITE, arguments={**SMALL, "prompt": "a broken lamp"})
    )
    told["forbidden"] = failure(lambda: fal_client.SyncClient(key="wrong").submit(LITE, arguments=SMALL))
    return told


def files() -> dict[str, Any]:
    """Uploads, small and in parts, with and without a lifecycle."""
    told: dict[str, Any] = {}
    told["small"] = fal_client.upload(PICTURE, "image/png", "kite.png")
    told["from_upload"] = fal_client.subscribe(FROM_IMAGE, arguments={**SMALL, "image_url": told["small"]})
    told["storage"] = fal_client.upload(PICTURE, "image/png", "kite.png", repository="fal")
    told["large"] = fal_client.upload(LARGE, "video/mp4", "large.mp4")
    told["large_bytes"] = int(httpx.head(told["large"]).headers["content-length"])
    hidden = fal_client.StorageSettings(expires_in="1h", initial_acl=fal_client.StorageACL(default="hide"))
    told["hidden"] = httpx.get(
        fal_client.upload(PICTURE, "image/png", "kite.png", lifecycle=hidden)
    ).status_code
    return told


def on_queue_update(update: Any) -> None:
    """As printed on fal's model pages."""
    if isinstance(update, fal_client.InProgress):
        for log in update.logs:
            sys.stderr.write(log["message"])


def printed() -> list[Any]:
    """The examples of fal's model pages."""
    return [
        fal_client.subscribe(
            f"fal-ai/bytedance/seedance/{path}",
            arguments=arguments,
            with_logs=True,
            on_queue_update=on_queue_update,
        )
        for path, arguments in json.loads(os.environ["PRINTED"]).items()
    ]


async def asynchronous() -> dict[str, Any]:
    """The client for asyncio."""
    client = fal_client.AsyncClient()
    handle = await client.submit(LITE, arguments=SMALL)
    events = [type(event).__name__ async for event in handle.iter_events(with_logs=True, interval=0.02)]
    told: dict[str, Any] = {"events": events, "result": await handle.get()}
    told["subscribed"] = await client.subscribe(LITE, arguments=SMALL)
    told["ran"] = await client.run(LITE, arguments=SMALL)
    url = await client.upload(PICTURE, "image/png", "kite.png")
    told["from_upload"] = await client.subscribe(FROM_IMAGE, arguments={**SMALL, "image_url": url})
    told["large"] = await client.upload(LARGE, "video/mp4", "large.mp4")
    return told


if __name__ == "__main__":
    told = {"sync": sync(), "files": files(), "async": asyncio.run(asynchronous()), "printed": printed()}
    sys.stdout.write(json.dumps(told))
