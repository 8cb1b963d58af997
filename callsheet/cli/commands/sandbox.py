"""`callsheet sandbox`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from callsheet.cli.options import Speed
from callsheet.errors import UsageError
from callsheet.files import usable_folder

MAX_PORT = 65_535
MAX_SPEED = 10_000

Port = Annotated[int, Parameter(name="--port", env_var="CALLSHEET_SANDBOX_PORT", help="0 takes a free one")]
State = Annotated[
    Path | None,
    Parameter(name="--state", env_var="CALLSHEET_SANDBOX_STATE", help="Keep requests and files here"),
]


def sandbox(*, port: Port = 8790, speed: Speed = 1.0, state: State = None) -> int:
    """Serve the local sandbox: fal's queue API, real MP4s, no money. Ends with Ctrl-C.

    Example: callsheet sandbox --port 8790 --speed 20
    """
    if not 0 <= port <= MAX_PORT:
        raise UsageError(f"--port is {port}; it may be 0 to {MAX_PORT}, and 0 takes a free one")
    if not 0 < speed <= MAX_SPEED:
        raise UsageError(f"--speed is {speed:g}; it may be above 0 and up to {MAX_SPEED:,}")
    if state is not None:
        usable_folder(state, what="the sandbox's folder", instead="name another with --state")
    from callsheet.sandbox.config import SandboxConfig  # noqa: PLC0415 -- a server is not imported for --help
    from callsheet.sandbox.server import serve  # noqa: PLC0415

    serve(SandboxConfig(port=port, speed=speed, state_dir=state))
    return 0
