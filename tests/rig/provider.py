"""The provider under the rig: a sandbox in a process of its own, with scripted faults and the oracle."""

import http.client
import json
import os
import signal
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from callsheet.reconciliation import evidence
from callsheet.sandbox.config import SANDBOX_KEY, SandboxConfig
from callsheet.sandbox.launcher import ADDRESS_FILE
from callsheet.sandbox.server import serve
from callsheet.settings import ApiKey, Settings
from tests.rig.processes import kill, spawn, until, wait

SPEED = 50.0
LATE_S = 0.8
"""A late acceptance lands so many seconds after the POST came in, when its sender has given up."""

REPLIES = {
    "close": {},
    "reset": {},
    "truncate": {},
    "nginx_after": {},
    "error_after": {},
    "bad_json": {},
    "no_request_id": {},
    "late": {"delay_s": LATE_S},
    "server_error": {},
    "nginx_error": {},
    "throttle": {"delay_s": 0.05},
}
"""Ways in which a submit is answered badly: eight after it was accepted, three instead."""


@dataclass(frozen=True, slots=True)
class Provider:
    """A running provider."""

    url: str
    pid: int

    def call(self, method: str, path: str, document: object = None) -> Any:
        """Use one of the sandbox's own routes, or its platform API."""
        parts = urlsplit(self.url)
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=30)
        try:
            body = None if document is None else json.dumps(document)
            connection.request(method, path, body, {"Authorization": f"Key {SANDBOX_KEY}"})
            reply = connection.getresponse()
            found = json.loads(reply.read())
        finally:
            connection.close()
        if reply.status != 200:
            raise RuntimeError(f"{method} {path}: {reply.status} {found}")
        return found

    def oracle(self) -> dict[str, Any]:
        """Return the whole truth: what was accepted, rendered and billed."""
        return self.call("GET", "/_sandbox/ledger")

    def arm(self, *faults: dict[str, Any]) -> None:
        """Script faults."""
        self.call("POST", "/_sandbox/faults", list(faults))

    def calm(self) -> None:
        """Let nothing go wrong any more."""
        self.call("DELETE", "/_sandbox/faults")

    def settings(self, home: Path, ledger_url: str, concurrency: int) -> Settings:
        """Return settings that point here."""
        return Settings(
            data_dir=home,
            key=ApiKey(SANDBOX_KEY),
            queue_url=self.url,
            rest_url=self.url,
            cdn_url=self.url,
            platform_url=f"{self.url}/v1",
            ledger_url=ledger_url,
            concurrency=concurrency,
            # Absence after four seconds: five times what a late acceptance takes, on a busy machine.
            start_timeout_s=2,
            run_timeout_s=1,
            history_lag_s=1,
        )


def bad_replies(share: float, seed: int) -> list[dict[str, Any]]:
    """Return faults that spoil this share of all submits, each kind as often as the others.

    The kinds are asked one after the other, so a later one must strike more often to strike as often.
    """
    faults, left = [], 1.0
    each = share / len(REPLIES)
    for number, (kind, given) in enumerate(REPLIES.items()):
        faults.append(
            {"kind": kind, "count": None, "probability": each / left, "seed": seed + number, **given}
        )
        left -= each
    return faults


def other_trouble(seed: int) -> list[dict[str, Any]]:
    """Return faults of the free calls, of files and of renders: rarer, as each is tried again.

    Each has dice of its own. With the same ones every kind would strike in turn, call after call: three bad
    files for one job, which is all the tries it has.
    """
    reads = [(kind, route) for kind in ("close", "truncate", "nginx_error") for route in ("status", "result")]
    faults: list[dict[str, Any]] = [
        *({"kind": kind, "route": route, "probability": 0.04} for kind, route in reads),
        *({"kind": kind, "probability": 0.005} for kind in ("file_truncated", "file_cut", "file_wrong")),
        {"kind": "render_failed", "probability": 0.04},
    ]
    return [{**fault, "count": None, "seed": seed * 100 + number} for number, fault in enumerate(faults)]


@contextmanager
def provider(folder: Path):
    """Run a provider that keeps its state in `folder`."""
    pid = spawn(_serve, folder)
    address = folder / ADDRESS_FILE
    try:
        until(lambda: address.exists() and json.loads(address.read_text())["pid"] == pid)
        yield Provider(json.loads(address.read_text())["url"], pid)
    finally:
        kill(pid, signal.SIGTERM)
        with suppress(ChildProcessError):
            wait(pid)


def hurry() -> None:
    """Let two looks without a submission decide half a second apart, as its deadline is seconds away too."""
    evidence.MIN_GAP_MS = 500


def silence() -> None:
    """Keep libraries from writing between the rig's lines; CALLSHEET_RIG_LOG names a file that gets it."""
    log = Path(os.environ.get("CALLSHEET_RIG_LOG", os.devnull))
    os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), 2)


def _serve(folder: Path) -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    silence()
    serve(SandboxConfig(state_dir=folder, speed=SPEED, draw_seed=False, render_threads=1))
