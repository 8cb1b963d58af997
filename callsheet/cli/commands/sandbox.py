"""`callsheet sandbox`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from callsheet.cli.options import Speed
from callsheet.errors import UsageError
from callsheet.files import usable_folder
from callsheet.sandbox.config import SandboxConfig

MAX_PORT = 65_535
MAX_SPEED = 10_000

Port = Annotated[
    int, Parameter(name="--port", env_var="CALLSHEET_SANDBOX_PORT", help="The port; 0 picks a free one")
]
State = Annotated[
    Path | None,
    Parameter(
        name="--state", env_var="CALLSHEET_SANDBOX_STATE", help="Keep requests and files in this folder"
    ),
]


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
