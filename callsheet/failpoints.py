"""Named places where a test may kill this process: `CALLSHEET_FAILPOINT="after_post:3"`.

At the third passing of `after_post` the process gets SIGKILL from itself, as from a power cut or the kernel's
OOM killer: nothing is cleaned up. Without the variable, which is how it always is in production, a passing
does nothing. `only_here` keeps an armed process away from every provider but a local one.
"""

from __future__ import annotations

import os
import signal
from collections import Counter
from typing import Final
from urllib.parse import urlsplit

from callsheet.errors import UsageError

VARIABLE: Final = "CALLSHEET_FAILPOINT"

NAMES: Final = (
    "after_open",  # a run is in the ledger, and the files that it uses again are not in its folder
    "after_intent",  # the intent is on disk, the POST has not left
    "after_post",  # fal answered, and the request id is known to this process alone
    "in_record_tx",  # the request id is written, and not committed
    "after_record",  # the request id is on disk
    "before_settle",  # the result is here, and its cost is not booked
    "after_settle",  # the cost is booked, and there is no file
    "half_download",  # a part file is being written
    "before_rename",  # the file is verified and has no name
    "after_rename",  # the file has its name, and the ledger does not know
    "after_done",  # the ledger knows the file
    "after_reconcile",  # what a dead process left was put in order
)

_passed: Counter[str] = Counter()


def armed() -> str:
    """Return what the variable says, empty where it is unset."""
    return os.environ.get(VARIABLE, "")


def passing(name: str) -> None:
    """Kill this process if the variable names this passing of this place."""
    wanted = os.environ.get(VARIABLE)
    if not wanted:
        return
    place, number = _read(wanted)
    if place != name:
        return
    _passed[name] += 1
    if _passed[name] == number:
        os.kill(os.getpid(), signal.SIGKILL)


def only_here(url: str) -> None:
    """Raise UsageError where a failpoint is armed and `url` is not on this machine: this is no test."""
    wanted = armed()
    if not wanted:
        return
    _read(wanted)
    if urlsplit(url).hostname not in {"localhost", "127.0.0.1", "::1"}:
        raise UsageError(
            f"{VARIABLE}={wanted!r} would kill this process in the middle of a purchase; it is for tests "
            f"against a local sandbox only: unset {VARIABLE}"
        )


def _read(wanted: str) -> tuple[str, int]:
    """Take `name` or `name:passing` apart. Raises UsageError for a place that does not exist."""
    name, _, number = wanted.partition(":")
    counts = not number or (number.isascii() and number.isdigit() and 0 < len(number) < 7 and int(number) > 0)
    if name not in NAMES or not counts:
        raise UsageError(
            f"{VARIABLE} is {wanted[:60]!r}; it must be one of {', '.join(NAMES)}, or one of them with a "
            "passing, such as after_post:3"
        )
    return name, int(number or 1)
