"""The places of this process, so that it does not ask the ledger for more than the cap.

The ledger alone decides whether a slot is free, over all processes; a place only keeps this process from
asking for more slots than there could possibly be. A few jobs more than there are places are let in early:
they read, decode and upload while they wait, so that a freed slot is filled by one that is ready.
"""

from __future__ import annotations

import asyncio


class Place:
    """One job's way in: let in already, at a place after `take`, gone after `give_back`."""

    def __init__(self, door: asyncio.Semaphore, places: asyncio.Semaphore) -> None:
        self._door = door
        self._places = places
        self._inside = True
        self._taken = False

    async def take(self) -> None:
        """Wait for one of the places. Places go to jobs in the order in which they ask."""
        await self._places.acquire()
        self._taken = True

    def give_back(self) -> None:
        """Let the next job in: early, at the moment the render ends. Calling it again does nothing."""
        if self._taken:
            self._taken = False
            self._places.release()
        if self._inside:
            self._inside = False
            self._door.release()


class Places:
    """As many places as the cap, and `ahead` more jobs that are let in to get ready."""

    def __init__(self, count: int, *, ahead: int) -> None:
        self._door = asyncio.Semaphore(count + ahead)
        self._places = asyncio.Semaphore(count)

    async def enter(self) -> Place:
        """Wait to be let in."""
        await self._door.acquire()
        return Place(self._door, self._places)
