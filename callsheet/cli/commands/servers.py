"""`callsheet sandbox` and `callsheet ui`: servers on this machine that run until Ctrl-C."""

from __future__ import annotations

import os
import signal
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from callsheet.cli.options import Speed, option, require_port
from callsheet.cli.output import flush, note, result, say
from callsheet.cli.prefect import configured_api_url, own_server
from callsheet.errors import UsageError
from callsheet.files import ELSEWHERE, is_there, usable_folder
from callsheet.sandbox.config import SANDBOX_KEY, SandboxConfig
from callsheet.sandbox.launcher import SandboxAddress
from callsheet.settings import settings_from

MAX_SPEED = 10_000
MAX_SLOTS = 1_000

JAVASCRIPT = """\
  fal.config({ credentials: process.env.FAL_KEY, requestMiddleware: async (request) => ({ ...request,
    url: request.url.replace("https://fal.run", "URL/fal.run")
      .replace(/^https:..(queue.fal.run|rest.fal.ai)/, "URL") }) });"""

Host = Annotated[str, option("SANDBOX_HOST", "The address to listen on")]
Port = Annotated[int, option("SANDBOX_PORT", "The port; 0 picks a free one")]
Slots = Annotated[int, option("SANDBOX_SLOTS", "How many requests render at once")]
Key = Annotated[str, option("SANDBOX_KEY", "The key that opens everything")]
Tls = Annotated[
    bool, option("SANDBOX_TLS", "Serve HTTPS with a certificate of its own, also for fal's names")
]
State = Annotated[Path | None, option("SANDBOX_STATE", "Keep requests and files in this folder")]
AllowHost = Annotated[tuple[str, ...], option("SANDBOX_ALLOW_HOST", "Another name that it is called by")]
AllowFetch = Annotated[bool, option("SANDBOX_ALLOW_FETCH", "Fetch pictures from other hosts")]


def sandbox(
    *,
    host: Host = "127.0.0.1",
    port: Port = 8790,
    speed: Speed = 1.0,
    slots: Slots = 10,
    key: Key = SANDBOX_KEY,
    tls: Tls = False,
    state: State = None,
    allow_host: AllowHost = (),
    allow_fetch: AllowFetch = False,
) -> int:
    """Serve the local sandbox: fal's API, real MP4s, no money. Stop it with Ctrl-C.

    Prints what to export for each client. Its address shows requests, money and files in a browser.

    Example: callsheet sandbox --port 8790 --speed 20
    """
    require_port("--port", port)
    if not 0 < speed <= MAX_SPEED:
        raise UsageError(f"--speed is {speed:g}; use a number above 0 and up to {MAX_SPEED:,}")
    if not 1 <= slots <= MAX_SLOTS:
        raise UsageError(f"--slots is {slots}; use 1 to {MAX_SLOTS:,}")
    if not key.isascii() or not key.isprintable() or not key.strip():
        raise UsageError("--key must be printable ASCII; it is sent in a header")
    if state is not None:
        usable_folder(state, what="the sandbox's folder", instead="name another folder with --state")
    from callsheet.sandbox.server import serve

    config = SandboxConfig(
        state_dir=state,
        host=host,
        port=port,
        speed=speed,
        slots=slots,
        key=key,
        hosts=allow_host,
        allow_fetch=allow_fetch,
    )
    with tempfile.TemporaryDirectory() as folder:
        if tls:
            from callsheet.sandbox.server import own_certificate

            certfile, keyfile = own_certificate((state or Path(folder)) / "tls", host, *allow_host)
            config = replace(config, certfile=certfile, keyfile=keyfile)
        serve(config, lambda address: say(exports(address, config)))
    return 0


def exports(address: SandboxAddress, config: SandboxConfig) -> str:
    """Return what to set for each client that shall talk to the sandbox."""
    lines = [f"Status page: {address.url}/", "", "Callsheet:", f"  export FAL_KEY={address.key}"]
    lines += [f"  export CALLSHEET_{name}_URL={address.url}" for name in ("QUEUE", "REST", "CDN")]
    lines += [f"  export CALLSHEET_PLATFORM_URL={address.url}/v1", "", "fal's Python client:"]
    place = urlsplit(address.url).netloc
    if config.certfile is None:
        lines += ["  needs HTTPS: start the sandbox with --tls"]
    else:
        lines += [f"  export FAL_KEY={address.key} FAL_RUN_HOST={place}/fal.run FAL_QUEUE_RUN_HOST={place}"]
        lines += [f"  export SSL_CERT_FILE={config.certfile}"]
        lines += ["  for uploads, point rest.fal.ai and v3.fal.media at this machine, with --port 443"]
    lines += ["", "fal's JavaScript client:"]
    lines += [f"  export NODE_EXTRA_CA_CERTS={config.certfile}"] if config.certfile else []
    return "\n".join([*lines, JAVASCRIPT.replace("URL", address.url)])


def ui() -> int:
    """Serve Prefect's pages of past runs on this machine, until Ctrl-C.

    Runs that reported to a Prefect server of your own are shown there.

    Example: callsheet ui
    """
    settings = settings_from(os.environ)
    database = settings.data_dir / "prefect" / "prefect.db"
    if not is_there(database, what="Prefect's history", instead=ELSEWHERE):
        url = configured_api_url(os.environ, Path.home())
        where = f" Runs are shown at {url.removesuffix('/api')}." if url else ""
        raise UsageError(f"there is no history yet: no run had a Prefect server of its own.{where}")
    with own_server(settings.data_dir) as server:
        server.wait_ready()
        result(server.url.removesuffix("/api"))
        note("Press Ctrl-C to end")
        flush()
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
        signal.sigwait({signal.SIGINT, signal.SIGTERM})
    return 0
