"""`callsheet ui`."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from callsheet.cli.output import flush, note, result
from callsheet.cli.prefect import configured_api_url, own_server
from callsheet.errors import UsageError
from callsheet.files import ELSEWHERE, is_there
from callsheet.settings import settings_from


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
