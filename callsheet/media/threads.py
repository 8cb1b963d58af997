"""Threads for blocking work on files: a pool of each name, in each process."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


async def in_threads(name: str, most: int, work: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """Run blocking work in one of at most `most` threads of this name; return what it returns, or raise."""
    pool = _pool(name, most, os.getpid())
    return await asyncio.get_running_loop().run_in_executor(pool, partial(work, *args, **kwargs))


@cache
def _pool(name: str, most: int, process: int) -> ThreadPoolExecutor:  # noqa: ARG001 -- threads do not survive a fork
    return ThreadPoolExecutor(most, thread_name_prefix=name)
