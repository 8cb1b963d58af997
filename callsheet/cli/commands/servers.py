"""`callsheet sandbox` and `callsheet ui`: servers on this machine that run until Ctrl-C."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Annotated

from callsheet.cli.options import Speed, option
from callsheet.cli.output import flush, note, result
from callsheet.cli.prefect import configured_api_url, own_server
from callsheet.errors import UsageError
from callsheet.files import ELSEWHERE, is_there, usable_folder
from callsheet.sandbox.config import SandboxConfig
from callsheet.settings import settings_from

MAX_PORT = 65_535
MAX_SPEED = 10_000

Port = Annotated[int, option("SANDBOX_PORT", "The port; 0 picks a free one")]
State = Annotated[Path | None, option("SANDBOX_STATE", "Keep requests and files in this folder")]


def sandbox(*, port: Port = 8790, speed: Speed = 1.0, state: State = None) -> int:
    """Serve the local sandbox: fal's queue API, real MP4s, no money. Stop it with Ctrl-C.

    Example: callsheet sandbox --port 8790 --speed 20
    """
    if not 0 <= port <= MAX_PORT:
        raise UsageError(f"--port is {port}; use 0 to {MAX_PORT} (0 picks a free one)")
    if not 0 < speed <= MAX_SPEED:
        raise UsageError(f"--speed is {speed:g}; use a number above 0 and up to {MAX_SPEED:,}")
    if state is not None:
        usable_folder(state, what="the sandbox's folder", instead="name another folder with --state")
    from callsheet.sandbox.server import serve

    serve(SandboxConfig(port=port, speed=speed, state_dir=state))
    return 0


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
