"""Threads for work that may take its time: decoding, stills.

They run at a lower priority than the rest (on Linux, where threads have one of their own), because a slot
that stands empty costs more than a file that is verified a moment later.
"""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

NICENESS = 5
THREADS = max(2, min(4, os.cpu_count() or 2))


def _step_back() -> None:
    if sys.platform == "linux":
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)


_pool = ThreadPoolExecutor(THREADS, thread_name_prefix="decode", initializer=_step_back)


async def in_background(work: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """Run blocking work in one of the threads and return what it returns or raises."""
    return await asyncio.get_running_loop().run_in_executor(_pool, lambda: work(*args, **kwargs))
