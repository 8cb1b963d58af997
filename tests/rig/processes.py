"""Processes that start in a few milliseconds: forks of one that has imported everything.

The forking process must have no threads and no open database: everything that needs either is done in a
fork of its own.
"""

import os
import signal
import time
import traceback
from collections.abc import Callable
from contextlib import suppress

from tests.procfs import send_signal

KILLED = -signal.SIGKILL


def spawn(work: Callable[..., object], *arguments: object) -> int:
    """Run `work` in a new process. Returns its process id.

    An error that ends it is written to this process's standard error, wherever `work` sends its own.
    """
    pid = os.fork()
    if pid:
        return pid
    shown = os.fdopen(os.dup(2), "w")
    status = 1
    try:
        work(*arguments)
        status = 0
    except SystemExit as end:
        status = int(end.code or 0)
    except BaseException:  # noqa: BLE001 - nothing of the parent may run on in the child
        traceback.print_exc(file=shown)
        shown.flush()
    finally:
        os._exit(status)


def ended(pid: int) -> int | None:
    """Return how a process ended (0, 1, or -9 for SIGKILL), None while it runs."""
    found, status = os.waitpid(pid, os.WNOHANG)
    return os.waitstatus_to_exitcode(status) if found else None


def wait(pid: int) -> int:
    """Wait for a process and return how it ended."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def kill(pid: int, number: int = signal.SIGKILL) -> None:
    """Send a signal to one process; one that is gone already is ignored."""
    with suppress(ProcessLookupError):
        send_signal(pid, number)


def apart(work: Callable[..., object], *arguments: object) -> None:
    """Do something in a process of its own. Raises RuntimeError when it fails there."""
    if wait(spawn(work, *arguments)) != 0:
        raise RuntimeError(f"{work.__name__} failed; see above")


def until(true: Callable[[], object], seconds: float = 20.0) -> None:
    """Wait until something is true. Raises TimeoutError."""
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{true} did not become true within {seconds} s")
        time.sleep(0.005)
