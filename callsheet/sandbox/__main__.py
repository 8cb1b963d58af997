"""`python -m callsheet.sandbox`: serve in the foreground, the way the launcher starts it."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from callsheet.errors import CallsheetError
from callsheet.sandbox.config import LIMITED_KEY, OWN_CATALOG, SANDBOX_KEY, SandboxConfig
from callsheet.sandbox.own_endpoints import serve_own
from callsheet.sandbox.server import serve


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m callsheet.sandbox", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=int, default=0, help="port to listen on; 0 takes a free one")
    parser.add_argument("--any-port", action="store_true", help="take a free port where --port is taken")
    parser.add_argument("--speed", type=_positive, default=1.0, help="divides render times")
    parser.add_argument("--slots", type=int, default=10, help="how many render at once")
    parser.add_argument("--state", type=Path, help="folder that keeps requests and files")
    parser.add_argument("--idle-timeout-s", type=_positive, help="stop after so many seconds without work")
    parser.add_argument("--key", default=SANDBOX_KEY, help="the key that opens everything")
    parser.add_argument("--limited-key", default=LIMITED_KEY, help="a key without admin rights")
    parser.add_argument("--certfile", type=Path, help="certificate chain for TLS")
    parser.add_argument("--keyfile", type=Path, help="private key for TLS")
    parser.add_argument("--allow-fetch", action="store_true", help="fetch images from other hosts")
    parser.add_argument("--allow-host", action="append", default=[], help="another name it is called by")
    parser.add_argument(
        "--audio-billing", choices=("price", "units"), default="price", help="what is doubled with sound"
    )
    parser.add_argument("--hide-seed", action="store_true", help="leave the seed out of the picture")
    return parser


def _positive(text: str) -> float:
    number = float(text)
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} must be above 0")
    return number


def main(arguments: list[str] | None = None) -> int:
    """Serve. Returns the exit code: 0 when asked to stop, 2 where it could not start."""
    given = _parser().parse_args(arguments)
    config = SandboxConfig(
        state_dir=given.state,
        host=given.host,
        port=given.port,
        any_port=given.any_port,
        speed=given.speed,
        slots=given.slots,
        key=given.key,
        limited_key=given.limited_key,
        idle_timeout_s=given.idle_timeout_s,
        certfile=given.certfile,
        keyfile=given.keyfile,
        allow_fetch=given.allow_fetch,
        hosts=tuple(given.allow_host),
        audio_billing=given.audio_billing,
        draw_seed=not given.hide_seed,
    )
    try:
        if own := os.environ.get(OWN_CATALOG, "").strip():
            serve_own(Path(own))
        serve(config)
    except CallsheetError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
