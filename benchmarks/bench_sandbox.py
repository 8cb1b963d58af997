"""How fast the sandbox answers beside a bare ASGI app in the same run, and what one clip costs to render.

Status requests must reach half of the bare app's rate, submissions a quarter, also with 2,000 jobs waiting;
five seconds of 720p must take at most 0.5 s of processor time.
"""

import http.client
import json
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvicorn

from callsheet.sandbox.config import SANDBOX_KEY
from callsheet.sandbox.scene import Scene
from callsheet.sandbox.served_endpoints import ENDPOINTS, shot_of
from callsheet.sandbox.video import encode

CALLS, ROUNDS, CLIPS = 400, 5, 3
PATH = "/fal-ai/bytedance/seedance/v1/lite/text-to-video"
BODY = json.dumps({"prompt": "a kite over dunes", "resolution": "480p", "duration": "5"})
HEADERS = {"Authorization": f"Key {SANDBOX_KEY}", "Content-Type": "application/json"}
PROMPT = "A race car on snow. [Push in] Cars speed through the storm. [Pan left] The camera pulls upward"


async def bare(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """The least that answers a request with JSON."""
    if scope["type"] != "http":
        return
    await receive()
    headers = [(b"content-type", b"application/json"), (b"content-length", b"15")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b'{"status":"ok"}'})


@dataclass(frozen=True)
class Server:
    """A process that listens on this machine."""

    pid: int
    port: int

    def cpu_s(self) -> float:
        """Processor seconds of all its threads so far."""
        tasks = Path(f"/proc/{self.pid}/task").glob("*/schedstat")
        return sum(int(task.read_text().split()[0]) for task in tasks) / 1e9

    def rate(self, method: str, path: str, body: str = "") -> float:
        """Calls for each second of the server's processor, which other work on the machine hardly changes."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port)
        rates = []
        for _ in range(ROUNDS):
            begun = self.cpu_s()
            for _ in range(CALLS):
                connection.request(method, path, body, HEADERS)
                reply = connection.getresponse()
                reply.read()
                if reply.status >= 300:
                    sys.exit(f"{method} {path} answered {reply.status}")
            rates.append(CALLS / (self.cpu_s() - begun))
        connection.close()
        return max(rates)


@contextmanager
def serving(*command: str) -> Iterator[Server]:
    """Start a server that prints its address at the end of its first line."""
    with subprocess.Popen([sys.executable, *command], stdout=subprocess.PIPE, text=True) as process:
        line = process.stdout.readline() if process.stdout else ""
        yield Server(process.pid, int(line.rpartition(":")[2]))
        process.terminate()


def serve_bare() -> None:
    """Serve the bare app with the sandbox's own settings of the server."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listener:
        listener.bind(("127.0.0.1", 0))
        print(f"bare at :{listener.getsockname()[1]}", flush=True)
        config = uvicorn.Config(bare, http="h11", ws="none", loop="asyncio", lifespan="off", access_log=False)
        config.log_level = "error"
        uvicorn.Server(config).run(sockets=[listener])


def clip_cpu_s() -> float:
    """Processor seconds of five seconds of 720p with two shots."""
    endpoint = ENDPOINTS["fal-ai/bytedance/seedance/v1/pro/text-to-video"]
    scene = Scene(shot_of(endpoint, {"prompt": PROMPT}, 5), 1280, 720)
    with tempfile.TemporaryDirectory() as folder:
        spent = []
        for _ in range(CLIPS):
            begun = time.process_time()
            encode(scene, Path(folder) / "clip.mp4")
            spent.append(time.process_time() - begun)
    return min(spent)


def main() -> int:
    """Measure and print; 0 where every bound is kept."""
    if sys.argv[1:] == ["bare"]:
        serve_bare()
        return 0
    slow = ("-m", "callsheet.sandbox", "--speed", "0.001", "--slots", "1")
    with serving(__file__, "bare") as plain, serving(*slow) as own:
        posts, gets = plain.rate("POST", "/", BODY), plain.rate("GET", "/")
        early, submits = own.rate("POST", PATH, BODY), own.rate("POST", PATH, BODY)
        connection = http.client.HTTPConnection("127.0.0.1", own.port)
        connection.request("POST", PATH, BODY, HEADERS)
        status_url = json.loads(connection.getresponse().read())["status_url"]
        connection.close()
        statuses = own.rate("GET", "/" + status_url.split("/", 3)[3])
    cpu_s = clip_cpu_s()
    waiting = CALLS * ROUNDS
    rows = [
        ("bare ASGI app, POST", posts, "", True),
        ("submissions", early, f"{early / posts:.2f} of bare, at least 0.25", early >= posts / 4),
        (
            f"submissions, {waiting:,} waiting",
            submits,
            f"{submits / early:.2f} of that",
            submits > 0.7 * early,
        ),
        ("bare ASGI app, GET", gets, "", True),
        ("status requests", statuses, f"{statuses / gets:.2f} of bare, at least 0.5", statuses >= gets / 2),
        ("5 s of 720p, processor seconds", cpu_s, "at most 0.5", cpu_s <= 0.5),
    ]
    print("calls for each second of the server's processor")
    for name, value, bound, ok in rows:
        print(f"{name:36}{value:10.2f}  {bound}{'' if ok else '  MISSED'}")
    return 0 if all(ok for *_, ok in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
