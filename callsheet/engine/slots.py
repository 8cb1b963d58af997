"""The places of this process, so that it does not ask the ledger for more than the cap.

The ledger alone decides whether a slot is free, over all processes; a place only keeps this process from
starting more jobs than could possibly be admitted.
"""

from __future__ import annotations

import asyncio


class Place:
    """One place, given back once and early: at the moment the render ends, before the download."""

    def __init__(self, places: asyncio.Semaphore) -> None:
        self._places = places
        self._taken = True

    def give_back(self) -> None:
        """Let the next job start. Calling it again does nothing."""
        if self._taken:
            self._taken = False
            self._places.release()


class Places:
    """As many places as the cap, handed out in the order in which they were asked for."""

    def __init__(self, count: int) -> None:
        self._semaphore = asyncio.Semaphore(count)

    async def take(self) -> Place:
        """Wait for a place."""
        await self._semaphore.acquire()
        return Place(self._semaphore)
