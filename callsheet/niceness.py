"""Leaving the machine to what cannot wait: a slot that stands empty costs more than a file verified later.

Linux weighs nice values only within one session of processes where it groups them by session (autogroup, as
most desktops do): what steps back stays in the session of what it steps back for.
"""

from __future__ import annotations

import os
import sys
import threading
from contextlib import suppress


def step_back(niceness: int) -> None:
    """Let this thread, and what it starts from now on, have the machine after others; only Linux can."""
    if sys.platform == "linux":
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), niceness)
