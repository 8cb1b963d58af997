"""How many jobs of this process go on at the same time.

The ledger decides whether a slot is free, over all processes. The limiter keeps this process from asking for
more slots than there are, and from buying on while finished videos cannot be fetched.
"""

from __future__ import annotations

import asyncio

MOST_FETCHING = 20
"""Jobs whose render has ended and whose file is still being fetched. Above that nothing more is bought."""


class Limiter:
    """At most `slots` jobs hold a slot, and at most `slots + MOST_FETCHING` jobs are open."""

    def __init__(self, slots: int) -> None:
        self._slots = asyncio.Semaphore(slots)
        self._open = asyncio.Semaphore(slots + MOST_FETCHING)
        self._holds_slot: set[int] = set()

    async def enter(self, job_id: int) -> None:
        """Wait for a slot; in the order of asking."""
        await self._open.acquire()
        try:
            await self._slots.acquire()
        except BaseException:
            self._open.release()
            raise
        self._holds_slot.add(job_id)

    def release_slot(self, job_id: int) -> None:
        """Let the next job begin: the render of this one has ended. Does nothing the second time."""
        if job_id in self._holds_slot:
            self._holds_slot.remove(job_id)
            self._slots.release()

    def leave(self, job_id: int) -> None:
        """End an entered job: nothing more is done for it."""
        self.release_slot(job_id)
        self._open.release()
