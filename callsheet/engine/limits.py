"""How many jobs of this process go on at the same time, and which of them asks for a slot next.

The ledger decides whether a slot is free, over all processes. The limiter keeps this process from asking for
more slots than there are, and from buying on while finished videos cannot be fetched.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field

MOST_FETCHING = 20
"""Jobs whose render has ended and whose file is still being fetched; as many as there are slots where that is
more, because all renders may end at once. Above that nothing more is bought."""


class Limiter:
    """At most `slots` jobs hold a slot, and at most `slots` and MOST_FETCHING (or twice `slots`) are open."""

    def __init__(self, slots: int) -> None:
        self._slots = asyncio.Semaphore(slots)
        self._open = asyncio.Semaphore(slots + max(MOST_FETCHING, slots))
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


class SlotLine:
    """Jobs of this process that wait for a slot of the ledger, in the order of asking.

    The first one asks from time to time. Each render of this process that ends lets one of them ask at once,
    beside the others: while the first waits for its answer, more slots become free. `first` is the lock that
    the first one holds.
    """

    def __init__(self) -> None:
        self.first = asyncio.Lock()
        self._freed = 0
        self._has_freed = asyncio.Event()

    @property
    def is_empty(self) -> bool:
        """Whether no job waits."""
        return not self.first.locked()

    def note_freed(self) -> None:
        """A render of this process has ended, and its slot is free."""
        self._freed += 1
        self._has_freed.set()

    def take_freed(self) -> bool:
        """Say whether a slot was freed that no job has asked for since; that one is then asked for."""
        if not self._freed:
            return False
        self._freed -= 1
        if not self._freed:
            self._has_freed.clear()
        return True

    async def wait_freed(self, at_most_s: float) -> None:
        """Wait until there is such a slot, and not for longer."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._has_freed.wait(), at_most_s)


@dataclass(slots=True)
class Breaker:
    """Counts how the paid jobs of each price group ended.

    `limit` is the number of equal failures that stop buying the group; 0 turns the breaker off.
    """

    limit: int
    _failures: dict[str, dict[int, str]] = field(default_factory=dict)
    _trusted: set[str] = field(default_factory=set)
    _open: set[str] = field(default_factory=set)

    def record_success(self, group: str) -> None:
        """A clip of the group passed: the group is bought on."""
        self._trusted.add(group)
        self._open.discard(group)

    def record_failure(self, group: str, job_id: int, error_type: str) -> bool:
        """A paid clip of the group failed. Return True where that stops buying the group.

        A job whose file is fetched again and fails again is one failure.
        """
        if not self.limit or group in self._trusted or group in self._open:
            return False
        failures = self._failures.setdefault(group, {})
        failures[job_id] = error_type
        if len(failures) < self.limit or set(failures.values()) != {error_type}:
            return False
        self._open.add(group)
        return True

    def is_trusted(self, group: str) -> bool:
        """Say whether the next clip of the group may be bought before the last one is judged."""
        return not self.limit or group in self._trusted

    @property
    def has_tripped(self) -> bool:
        """Whether any group is not bought any more."""
        return bool(self._open)

    def is_open(self, group: str) -> bool:
        """Say whether nothing more of the group is bought."""
        return group in self._open
