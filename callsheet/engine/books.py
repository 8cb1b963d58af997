"""The ledger, called from the event loop without ever holding it up.

A commit waits for the disk and may wait for another process; one worker thread does all of it, so calls
keep their order and the ledger is used by one thread at a time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Concatenate, ParamSpec, TypeVar

from callsheet.ledger import Ledger

P = ParamSpec("P")
T = TypeVar("T")


class Books:
    """The ledger behind its one thread: `await books(Ledger.admit, job_id, slots=10)`."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="ledger")

    async def __call__(
        self, verb: Callable[Concatenate[Ledger, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Do one verb of the ledger.

        A verb that has begun is finished and awaited even when the caller is cancelled: nobody may be left
        not knowing what the ledger holds.
        """
        loop = asyncio.get_running_loop()
        work = loop.run_in_executor(self._thread, lambda: verb(self._ledger, *args, **kwargs))
        try:
            return await asyncio.shield(work)
        except asyncio.CancelledError:
            if not work.done():
                await asyncio.wait([work])
            raise

    def close(self) -> None:
        """Finish what has begun and end the thread."""
        self._thread.shutdown(wait=True)
