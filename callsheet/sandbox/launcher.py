"""Find the sandbox of a state folder, or start one that outlives this process."""

from __future__ import annotations

import http.client
import json
import os
import select
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from callsheet.errors import CallsheetError
from callsheet.files import append_privately

OWN_CATALOG = "CALLSHEET_CATALOG"
"""The environment variable that names a file with more endpoints to serve."""

ADDRESS_FILE = "server.json"
LOG_FILE = "sandbox.log"
START_TIMEOUT_S = 15.0


@dataclass(frozen=True, slots=True)
class SandboxAddress:
    """Where a running sandbox is. `url` carries no trailing slash; `speed` is the one it runs at."""

    url: str
    key: str
    pid: int
    speed: float


class SandboxNotStarted(CallsheetError):
    """The sandbox's process ended or did not answer; the message ends with the last lines of its log."""


def ensure_sandbox(state_dir: Path, *, speed: float, idle_timeout_s: float = 600.0) -> SandboxAddress:
    """Return the address of the sandbox on `state_dir`, starting it where none runs.

    One that runs already at another speed is set to `speed`, which holds for what starts to render from then
    on. A new one takes the port of the last one where that is free, so that URLs in stored results stay
    right, and ends by itself after `idle_timeout_s` seconds without work. Raises SandboxNotStarted.
    """
    state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        address = running_address(state_dir)
        # One that was found may have ended meanwhile.
        if address is not None and (
            address.speed == speed or _call(address, "POST", "/_sandbox/speed", {"speed": speed})
        ):
            # Have it serve the endpoints of the person's own catalog, as the file is now.
            if own := os.environ.get(OWN_CATALOG, "").strip():
                _call(address, "POST", "/_sandbox/catalog", {"path": str(Path(own).expanduser().absolute())})
            return replace(address, speed=speed)
        # A child that loses a race against another launcher ends at once; the winner is then found above.
        _start(state_dir, speed, idle_timeout_s, deadline)
    raise SandboxNotStarted(f"the sandbox did not start within {START_TIMEOUT_S:g} s. {_log_tail(state_dir)}")


def running_address(state_dir: Path) -> SandboxAddress | None:
    """Return the address of the sandbox that runs on `state_dir` and answers, or None."""
    address = _written_address(state_dir)
    health = _call(address, "GET", "/_sandbox/health") if address is not None else None
    # The process id tells our sandbox from another program on the same port.
    if address is None or health is None or health.get("pid") != address.pid:
        return None
    return replace(address, speed=float(health["speed"]))


def _written_address(state_dir: Path) -> SandboxAddress | None:
    try:
        return SandboxAddress(**json.loads((state_dir / ADDRESS_FILE).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def _call(address: SandboxAddress, method: str, path: str, document: object = None) -> dict[str, Any] | None:
    """Use a control route; None where it does not answer with 200 and a JSON object."""
    parts = urlsplit(address.url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=2.0)
    body = None if document is None else json.dumps(document)
    try:
        connection.request(method, path, body, {"Authorization": f"Key {address.key}"})
        reply = connection.getresponse()
        found: object = json.loads(reply.read())
    except (OSError, ValueError, http.client.HTTPException):
        return None
    else:
        return found if reply.status == HTTPStatus.OK and isinstance(found, dict) else None
    finally:
        connection.close()


def _start(state_dir: Path, speed: float, idle_timeout_s: float, deadline: float) -> None:
    """Start a detached process and wait for its first line, or its end."""
    previous = _written_address(state_dir)
    port = urlsplit(previous.url).port if previous is not None else 0
    command = [sys.executable, "-m", "callsheet.sandbox", "--port", str(port or 0), "--any-port"]
    command += ["--speed", str(speed), "--state", str(state_dir), "--idle-timeout-s", str(idle_timeout_s)]
    # The sandbox must not see the key for the real fal.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("FAL_")}
    with append_privately(state_dir / LOG_FILE) as log:
        # The shell exits at once, so the server is not our child and outlives this process.
        shell = subprocess.Popen(  # noqa: S603 - our own interpreter and our own arguments
            ["/bin/sh", "-c", '"$@" &', "sh", *command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            env=environment,
            start_new_session=True,
            umask=0o077,
        )
    with shell:
        assert shell.stdout is not None
        left_s = max(0.0, deadline - time.monotonic())
        readable, _, _ = select.select([shell.stdout], [], [], left_s)
        if readable and not shell.stdout.readline():
            # It ended without a line; a short pause, or a lost race would become a busy loop.
            time.sleep(0.05)


def _log_tail(state_dir: Path) -> str:
    try:
        lines = (state_dir / LOG_FILE).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    return " / ".join(lines[-3:])
