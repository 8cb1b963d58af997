"""Threads for work that may take its time: decoding, stills.

They run at a lower priority than the rest (on Linux, where threads have one of their own), because a slot
that stands empty costs more than a file that is verified a moment later.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from callsheet.niceness import step_back

P = ParamSpec("P")
T = TypeVar("T")

NICENESS = 5
THREADS = max(2, min(4, os.cpu_count() or 2))


_pool = ThreadPoolExecutor(THREADS, thread_name_prefix="decode", initializer=step_back, initargs=(NICENESS,))


async def in_background(work: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """Run blocking work in one of the threads and return what it returns or raises."""
    return await asyncio.get_running_loop().run_in_executor(_pool, lambda: work(*args, **kwargs))
