"""The Prefect server that a run reports to: the configured one, or one of its own for as long as it lasts.

A run's own server listens on 127.0.0.1 and keeps its history in `<data folder>/prefect`. `callsheet ui` shows
that history later. Run as a module, this is the server process itself.
"""

from __future__ import annotations

import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
import tomllib
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any

from callsheet.errors import NoPrefect, UsageError
from callsheet.files import ELSEWHERE, append_privately, usable_folder
from callsheet.listener import listening, place_of

PORT = 4200
"""The port that is used where it is free: Prefect's own."""

START_TIMEOUT_S = 120.0
ANSWER_TIMEOUT_S = 5.0
STOP_TIMEOUT_S = 5.0

SERVER_SETTINGS = {
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_LOGGING_LEVEL": "ERROR",
    "PREFECT_LOGGING_SERVER_LEVEL": "ERROR",
    # Task runs and events are written in batches: a third of the processor time per task run.
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_BATCH_SIZE": "100",
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_READ_BATCH_SIZE": "100",
    "PREFECT_SERVER_SERVICES_EVENT_PERSISTER_BATCH_SIZE": "200",
    "PREFECT_SERVER_SERVICES_EVENT_PERSISTER_READ_BATCH_SIZE": "100",
    "PREFECT_SERVER_SERVICES_TRIGGERS_READ_BATCH_SIZE": "100",
}

CLIENT_SETTINGS = {
    "DO_NOT_TRACK": "1",  # Prefect would count its use, and say so in the middle of the run's display
    "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",  # the run has its own display
    "PREFECT_LOGGING_EXTRA_LOGGERS": "callsheet",  # the log of a run is among its pages
    "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",  # what is logged before and after it is not
    # A server that died or hangs must not keep a finished run waiting for minutes.
    "PREFECT_CLIENT_MAX_RETRIES": "2",
    "PREFECT_API_REQUEST_TIMEOUT": "5",
}


def configured_api_url(environ: Mapping[str, str], home: Path) -> str | None:
    """Return the Prefect API that the person has chosen, by PREFECT_API_URL or in the active profile."""
    if url := environ.get("PREFECT_API_URL"):
        return url
    profiles = Path(environ.get("PREFECT_HOME", home / ".prefect")) / "profiles.toml"
    try:
        document = tomllib.loads(profiles.read_text("utf-8"))
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError):
        return None
    name = environ.get("PREFECT_PROFILE", document.get("active", ""))
    url = document.get("profiles", {}).get(name, {}).get("PREFECT_API_URL")
    return url if isinstance(url, str) and url else None


def why_unreachable(url: str) -> str:
    """Say why a configured server cannot be used, or "" where it answers.

    Any answer will do: what it means is for Prefect's client to judge, which knows the certificates and keys
    that this question does not. Takes at most ANSWER_TIMEOUT_S seconds.
    """
    if not url.startswith(("http://", "https://")):
        return "it is not an address; it must begin with http:// or https://"
    try:
        urllib.request.urlopen(f"{url.rstrip('/')}/health", timeout=ANSWER_TIMEOUT_S).close()  # noqa: S310
    except (urllib.error.HTTPError, HTTPException):
        return ""
    except OSError as error:
        reason = getattr(error, "reason", error)
        return "" if isinstance(reason, ssl.SSLError) else str(reason)
    return ""


def require_answer(url: str) -> None:
    """Raise UsageError where nothing answers at the configured server."""
    if why := why_unreachable(url):
        raise UsageError(
            f"the Prefect server {url[:200]} (PREFECT_API_URL or the active profile) cannot be used: {why}. "
            "Start it, or unset it"
        )


@dataclass(frozen=True, slots=True)
class OwnServer:
    """A Prefect server on this machine that was started. `url` is its API."""

    url: str
    process: subprocess.Popen[bytes]
    log_file: Path

    def wait_ready(self) -> None:
        """Return once it answers. Raises NoPrefect where it ends or takes longer than START_TIMEOUT_S."""
        end = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < end:
            if self.process.poll() is not None:
                raise NoPrefect(
                    f"Prefect's server ended with code {self.process.returncode} while starting. "
                    f"See {self.log_file}"
                )
            try:
                with urllib.request.urlopen(f"{self.url}/health", timeout=0.5) as reply:  # noqa: S310 -- ours
                    if reply.status == 200:
                        return
            except (OSError, HTTPException):
                time.sleep(0.05)
        raise NoPrefect(
            f"Prefect's server did not answer within {START_TIMEOUT_S:.0f} s. See {self.log_file}"
        )

    def stop(self) -> None:
        """End the server. What it knows is in its database."""
        if self.process.stdin is not None:
            self.process.stdin.close()
        try:
            self.process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


@contextmanager
def own_server(data_dir: Path) -> Iterator[OwnServer]:
    """Run a Prefect server on 127.0.0.1 while inside; it takes seconds until it answers.

    Raises UsageError where its folder cannot be used.
    """
    home = usable_folder(
        data_dir / "prefect", what="the folder of Prefect's history", instead=ELSEWHERE, mode=0o700
    )
    log_file = home / "server.log"
    with listening("127.0.0.1", PORT, any_port=True) as listener:
        url = f"http://{place_of(listener)}/api"
        # The person's own environment, without the key: the server needs none.
        environment = {name: value for name, value in os.environ.items() if not name.startswith("FAL_")}
        environment |= {**SERVER_SETTINGS, "PREFECT_HOME": str(home), "PREFECT_SERVER_UI_API_URL": url}
        environment |= {"PREFECT_SERVER_CORS_ALLOWED_ORIGINS": url.removesuffix("/api")}
        environment.pop("PREFECT_API_URL", None)
        with append_privately(log_file) as log:
            process = subprocess.Popen(  # noqa: S603 -- our own module, by our own interpreter
                [sys.executable, "-m", "callsheet.cli.prefect", str(listener.fileno())],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                env=environment,
                process_group=0,
                umask=0o077,
                pass_fds=[listener.fileno()],
            )
    server = OwnServer(url, process, log_file)
    try:
        yield server
    finally:
        server.stop()


def client_environment(url: str, environ: Mapping[str, str]) -> dict[str, str]:
    """Return what must be in the environment before Prefect is imported. What is set there already stays."""
    chosen = {name: value for name, value in CLIENT_SETTINGS.items() if name not in environ}
    # A proxy must not stand between a run and a server on this machine.
    name = "no_proxy" if "no_proxy" in environ else "NO_PROXY"  # the one in small letters is read first
    given = environ.get(name, "")
    if given != "*" and "//127.0.0.1" in url:
        chosen[name] = f"{given},127.0.0.1".lstrip(",")
    return chosen | {"PREFECT_API_URL": url}


def is_new(data_dir: Path) -> bool:
    """Say whether a run's own server will make its database first, which takes some seconds."""
    return not (data_dir / "prefect" / "prefect.db").exists()


class LocalOnly:
    """ASGI: answer only requests to this server by its loopback name, and from no other web origin.

    Without it, a page in the person's browser could read the history and delete runs.
    """

    def __init__(self, app: Any, port: int) -> None:
        self._app = app
        self._hosts = {f"{name}:{port}" for name in ("127.0.0.1", "localhost")}

    async def __call__(self, scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        """Serve a request, or refuse it with 403."""
        headers = dict(scope.get("headers", ()))
        host = headers.get(b"host", b"").decode("latin-1").lower()
        origin = headers.get(b"origin", b"").decode("latin-1").lower()
        wanted = host in self._hosts and (not origin or origin.partition("//")[2] in self._hosts)
        if scope["type"] == "lifespan" or wanted:
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            await send({"type": "http.response.start", "status": 403, "headers": []})
            await send({"type": "http.response.body", "body": b"only for this machine"})
        else:
            await send({"type": "websocket.close", "code": 1008})


def _end_with_parent() -> None:
    """End this process when its parent does: the kernel then closes the other end of standard input."""
    sys.stdin.buffer.read()
    os.kill(os.getpid(), signal.SIGTERM)


def main(descriptor: int) -> None:
    """Serve Prefect's API and pages on the listening socket with that descriptor."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the run, which then ends this process

    import uvicorn
    from prefect.server.api.server import create_app

    listening = socket.socket(fileno=descriptor)
    app = LocalOnly(create_app(), listening.getsockname()[1])
    config = uvicorn.Config(app, log_level="error", timeout_graceful_shutdown=1)
    uvicorn.Server(config).run([listening])


if __name__ == "__main__":
    main(int(sys.argv[1]))
