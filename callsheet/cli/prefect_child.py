"""The Prefect server of one run, as a child process: `python -m callsheet.cli.prefect_child DESCRIPTOR`.

It ends when its parent does, however that ends: the parent holds the other end of standard input and the
kernel closes it. Nothing is left running on anybody's machine.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading

from callsheet.cli import garbage
from callsheet.niceness import step_back

NICENESS = 10


def _end_with_parent() -> None:
    sys.stdin.buffer.read()
    os.kill(os.getpid(), signal.SIGTERM)


def main() -> None:
    """Serve Prefect's API and pages on the listening socket whose descriptor is the only argument."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the run; the run then ends us
    step_back(NICENESS)  # it keeps a history to look at, which can wait
    garbage.look_seldom()

    import uvicorn  # noqa: PLC0415 -- the watcher must be in place before the slow imports

    config = uvicorn.Config(
        "prefect.server.api.server:create_app", factory=True, log_level="error", timeout_graceful_shutdown=1
    )
    uvicorn.Server(config).run([socket.socket(fileno=int(sys.argv[1]))])


if __name__ == "__main__":
    main()
