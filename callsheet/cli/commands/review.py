"""`callsheet review`: judge the clips of a run in a browser."""

from __future__ import annotations

import os
import shlex
import sys
import webbrowser
from typing import Annotated

from callsheet.cli.options import RunId, Sandbox, option, require_port, run_settings
from callsheet.cli.output import flush, note, result, say
from callsheet.engine.run import find_run
from callsheet.review.server import DEFAULT_PORT, serve_review
from callsheet.wording import command

Host = Annotated[str, option("REVIEW_HOST", "The address to listen on")]
Port = Annotated[int | None, option("REVIEW_PORT", f"The port (default {DEFAULT_PORT}, or a free one)")]
NoOpen = Annotated[bool, option("REVIEW_NO_OPEN", "Do not open a browser")]


def review(
    run_id: RunId = None,
    *,
    host: Host = "127.0.0.1",
    port: Port = None,
    no_open: NoOpen = False,
    sandbox: Sandbox = False,
) -> int:
    """Judge the clips of a run in a browser: keep, retake, reject. Stop with Ctrl-C.

    Verdicts are saved at once. The retakes are priced, and written with what
    is kept into selection.csv, which `callsheet plan` and `run` take.

    Example: callsheet review spring-20261121-090000-a1b2
    """
    if port is not None:
        require_port("--port", port)
    settings = run_settings(sandbox=sandbox)
    run = find_run(settings, run_id, latest_of_all=True)

    def announce(url: str) -> None:
        result(url)
        note("Who has this address can judge. Press Ctrl-C to end")
        flush()
        if not no_open and _has_browser():
            webbrowser.open(url)

    selection = serve_review(settings.ledger, run, host=host, port=port, announce=announce, warn=say)
    if selection is None:
        note("nothing was judged")
        return 0
    plan = command("plan", shlex.quote(str(selection)), sandbox=sandbox)
    result(f"{selection}\nNext: {plan}")
    note("The results and the report have the verdicts now")
    return 0


def _has_browser() -> bool:
    """Say whether a browser can open a window. In a bare terminal Python would start a text browser."""
    return sys.platform == "darwin" or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
