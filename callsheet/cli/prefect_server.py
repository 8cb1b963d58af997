"""Which Prefect server a run reports to: the configured one, or one of its own while it lasts.

A server of our own takes seconds to start, so a run buys meanwhile. Making its database by Prefect's hundred
migrations takes seconds more, so an empty one that is already migrated comes with us
(`deploy/make_prefect_database.sh` makes it; a test holds its revision against Prefect's). Its history stays
in `<data folder>/prefect` and can be looked at later with `prefect server start`.
"""

from __future__ import annotations

import gzip
import http.client
import os
import socket
import ssl
import subprocess
import sys
import threading
import time
import tomllib
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from importlib import metadata, resources
from pathlib import Path

from callsheet.errors import NoPrefect, UsageError
from callsheet.files import ELSEWHERE, usable_folder

START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 5.0
ANSWER_TIMEOUT_S = 10.0
LOOK_S = 0.5
"""How long one question to a server that is starting waits for its answer, in seconds: the system keeps up to
128 callers of a socket that nobody serves yet."""

_SERVER_ENVIRONMENT = {
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_LOGGING_LEVEL": "ERROR",
    "PREFECT_LOGGING_SERVER_LEVEL": "ERROR",
    # A run uses no block types; registering them all takes a new database more than a second of processor
    # time. A server that a person starts on this history later does it, unless a memo says that it was done.
    "PREFECT_SERVER_REGISTER_BLOCKS_ON_START": "false",
    "PREFECT_SERVER_MEMOIZE_BLOCK_AUTO_REGISTRATION": "false",
    # Writing task runs and events in batches costs a third of the server's time per task run, which
    # matters on two cores.
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_BATCH_SIZE": "100",
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_READ_BATCH_SIZE": "100",
    "PREFECT_SERVER_SERVICES_EVENT_PERSISTER_BATCH_SIZE": "200",
    "PREFECT_SERVER_SERVICES_EVENT_PERSISTER_READ_BATCH_SIZE": "100",
    "PREFECT_SERVER_SERVICES_TRIGGERS_READ_BATCH_SIZE": "100",
}
_CLIENT_ENVIRONMENT = {
    # The run has its own progress display; Prefect's lines go to its server and not to the terminal.
    "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",
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


def require_answer(url: str) -> None:
    """Raise UsageError where nothing answers at the API that was chosen.

    Asked before a run is opened: it would stay behind with nothing sent. Any answer will do; what it means is
    for Prefect's client to judge, which knows the certificates and keys that this question does not.
    """
    chosen = f"the chosen Prefect server (PREFECT_API_URL or the active profile) is {url[:200]}"
    if not url.startswith(("http://", "https://")):
        raise UsageError(f"{chosen}, which is no address; it begins with http:// or https://")
    try:
        urllib.request.urlopen(f"{url.rstrip('/')}/health", timeout=ANSWER_TIMEOUT_S).close()  # noqa: S310
    except (urllib.error.HTTPError, http.client.HTTPException):
        return
    except OSError as error:
        reason = getattr(error, "reason", error)
        if not isinstance(reason, ssl.SSLError):
            raise UsageError(f"{chosen}, where nothing answers ({reason}); start it, or unset it") from error


@dataclass(slots=True)
class EmbeddedServer:
    """A Prefect server that lives as long as this run, once it is started; `url` is its API from then on.

    `environment` is what it is started in: the person's own, from before anything was set for the run.
    """

    home: Path
    environment: Mapping[str, str] = field(repr=False)
    url: str = ""
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the server without waiting for it. Calling it again does nothing."""
        if self.process is not None:
            return
        # The socket is ours before anybody hears of its port, so no other program can answer in its place.
        with (
            socket.create_server(("127.0.0.1", 0)) as listening,
            (self.home / "server.log").open("ab") as log,
        ):
            self.url = f"http://127.0.0.1:{listening.getsockname()[1]}/api"
            self.process = subprocess.Popen(  # noqa: S603 -- our own module, by our own interpreter
                [sys.executable, "-m", "callsheet.cli.prefect_child", str(listening.fileno())],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                env=self.environment,
                process_group=0,
                pass_fds=[listening.fileno()],
            )

    def wait_ready(
        self, timeout_s: float = START_TIMEOUT_S, is_wanted: Callable[[], bool] = lambda: True
    ) -> None:
        """Return once the API answers or nobody wants it. Raises NoPrefect when it ends or takes too long."""
        end = time.monotonic() + timeout_s
        while is_wanted() and time.monotonic() < end:
            if self.process is not None and self.process.poll() is not None:
                raise NoPrefect(
                    f"Prefect's server ended with code {self.process.returncode} while starting; "
                    f"its log is {self.home / 'server.log'}"
                )
            if _answers(self.url):
                return
            time.sleep(0.05)
        if is_wanted():
            raise NoPrefect(f"Prefect's server did not answer within {timeout_s:.0f} s; see {self.home}")

    def let_go(self) -> None:
        """Let the server end, which takes it a moment, without waiting for it."""
        if self.process is not None and self.process.stdin is not None:
            self.process.stdin.close()

    def stop(self) -> None:
        """End the server; what it knows is in its database."""
        self.let_go()
        if self.process is None:
            return
        # `wait` with a timeout looks every 50 ms; without one the system wakes whoever waits.
        waiting = threading.Thread(target=self.process.wait, daemon=True)
        waiting.start()
        waiting.join(STOP_TIMEOUT_S)
        if waiting.is_alive():
            self.process.kill()
            waiting.join()


def embedded_server(data_dir: Path) -> EmbeddedServer:
    """Make ready a server on 127.0.0.1, with its history in `data_dir`/prefect.

    Raises UsageError where that folder cannot be used.
    """
    home = usable_folder(data_dir / "prefect", what="the folder of Prefect's history", instead=ELSEWHERE)
    _lay_out_database(home)
    environment = {**os.environ, **_SERVER_ENVIRONMENT, "PREFECT_HOME": str(home)}
    environment.pop("PREFECT_API_URL", None)
    return EmbeddedServer(
        home, {name: value for name, value in environment.items() if not name.startswith("FAL_")}
    )


def keep_our_signals() -> None:
    """Keep Prefect, imported by now, from taking SIGTERM when a flow begins.

    Its handler raises wherever the program happens to be. The run buys already while the flow is beginning: a
    POST, or the answer of the ledger, would be cut off there.
    """
    from prefect import flow_engine  # noqa: PLC0415 -- imports are what a fast start is made of

    vars(flow_engine)["capture_sigterm"] = nullcontext


def client_environment(server: EmbeddedServer | None) -> dict[str, str]:
    """Return what must be in the environment before Prefect is imported."""
    chosen = {name: value for name, value in _CLIENT_ENVIRONMENT.items() if name not in os.environ}
    if server is not None:
        # A server on this machine that does not answer has died; each call is tried for 3 s instead of 31.
        chosen |= {"PREFECT_API_URL": server.url, "PREFECT_HOME": str(server.home)}
        chosen |= {"PREFECT_CLIENT_MAX_RETRIES": os.environ.get("PREFECT_CLIENT_MAX_RETRIES", "2")}
        chosen |= _past_proxies(os.environ)
    return chosen


def _past_proxies(environ: Mapping[str, str]) -> dict[str, str]:
    """Return what keeps a proxy of the environment from standing between a run and its own server."""
    name = "no_proxy" if "no_proxy" in environ else "NO_PROXY"  # the one in small letters is read first
    given = environ.get(name, "")
    return {} if given == "*" else {name: f"{given},127.0.0.1".lstrip(",")}


def _lay_out_database(home: Path) -> None:
    """Put the migrated empty database in place where there is none; Prefect makes its own without it."""
    database = home / "prefect.db"
    template = resources.files("callsheet.cli") / "data" / f"prefect-{metadata.version('prefect')}.sqlite.gz"
    if database.exists() or not template.is_file():
        return
    temporary = home / f".prefect.db.{os.getpid()}"
    temporary.write_bytes(gzip.decompress(template.read_bytes()))
    temporary.replace(database)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/health", timeout=LOOK_S) as reply:  # noqa: S310 -- always http://127.0.0.1
            return bool(reply.status == 200)
    except (OSError, http.client.HTTPException):
        return False
