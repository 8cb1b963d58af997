"""The places of this process, so that it does not ask the ledger for more than the cap.

The ledger alone decides whether a slot is free, over all processes; a place only keeps this process from
asking for more slots than there could possibly be. A few jobs more than there are places are let in early:
they read, decode and upload while they wait, so that a freed slot is filled by one that is ready.

A place that is free costs time; whatever follows a render (its bill, its file, what people are told of it)
does not. So that waits for a moment while a place is being filled.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, suppress

RUSH_S = 0.1
"""How long, in seconds, anything waits for places that are being filled: fal may take long to answer."""

FIRST_RUSH_S = 0.5
"""How long, in seconds, anything waits for the first places to be filled: a run may have nothing to buy."""


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
        self._being_filled = 0
        self._calm = asyncio.Event()
        self._calm.set()
        self._filled_once = asyncio.Event()

    async def enter(self) -> Place:
        """Wait to be let in."""
        await self._door.acquire()
        return Place(self._door, self._places)

    @contextmanager
    def being_filled(self) -> Iterator[None]:
        """Let what can wait do so while a job is bought for a place."""
        self._count(1)
        try:
            yield
        finally:
            self._count(-1)

    @contextmanager
    def standing_empty(self) -> Iterator[None]:
        """Let it go on for as long as whoever fills a place waits for somebody else."""
        self._count(-1)
        try:
            yield
        finally:
            self._count(1)

    def _count(self, more: int) -> None:
        self._being_filled += more
        if self._being_filled > 0:
            self._calm.clear()
        else:
            self._calm.set()
            self._filled_once.set()

    def is_calm(self) -> bool:
        """Say whether no place is being filled. Any thread may ask."""
        return self._calm.is_set()

    async def calm(self) -> None:
        """Return when no place is being filled, after RUSH_S at the latest."""
        await asyncio.sleep(0)  # whoever waits for a place that was given back just now takes it first
        if not self._calm.is_set():
            await _wait_for(self._calm, RUSH_S)

    async def filled_once(self) -> None:
        """Return when the first rush for places is over, after FIRST_RUSH_S at the latest."""
        await _wait_for(self._filled_once, FIRST_RUSH_S)


async def _wait_for(event: asyncio.Event, at_most_s: float) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(at_most_s):
            await event.wait()
