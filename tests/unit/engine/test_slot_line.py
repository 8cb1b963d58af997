"""How jobs of one process ask the ledger for slots while all of them are taken."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from callsheet.engine import admit
from callsheet.engine.limits import SlotLine
from callsheet.errors import NoSlot

pytestmark = pytest.mark.anyio


class Slots:
    """A ledger's slots, which answer when they are told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.free = 0
        self.asking: list[int] = []
        self.answers = asyncio.Event()
        self.line = SlotLine()
        monkeypatch.setattr(admit, "_admit_or_stop", self._take)
        monkeypatch.setattr(admit, "SlotWait", lambda _: SimpleNamespace(look=_at_once, pause=self._pause))

    async def _take(self, _ctx: Any, row: int, _order: object) -> int:
        if not self.free:
            raise NoSlot(6)
        self.free -= 1
        self.asking.append(row)
        await self.answers.wait()
        return row

    async def _pause(self) -> None:
        await self.line.wait_freed(60)

    def end_renders(self, count: int) -> None:
        """Let so many renders of this process end."""
        self.free += count
        for _ in range(count):
            self.line.note_freed()

    def wait(self, jobs: int) -> list[asyncio.Future[Any]]:
        """Let so many jobs ask."""
        ctx: Any = SimpleNamespace(state=SimpleNamespace(slot_line=self.line))
        rows: list[Any] = list(range(jobs))
        return [asyncio.ensure_future(admit.admit(ctx, row, None)) for row in rows]


async def _at_once() -> None:
    pass


async def _idle() -> None:
    for _ in range(50):
        await asyncio.sleep(0)


async def test_slots_that_are_freed_together_are_asked_for_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """A ledger on a busy server answers late: one job after the other would leave the rest unused."""
    slots = Slots(monkeypatch)
    jobs = slots.wait(6)
    await _idle()
    slots.end_renders(3)
    await _idle()
    assert slots.asking == [0, 1, 2]
    slots.end_renders(3)
    slots.answers.set()
    async with asyncio.timeout(10):
        assert await asyncio.gather(*jobs) == [0, 1, 2, 3, 4, 5]


async def test_jobs_get_slots_in_the_order_of_asking(monkeypatch: pytest.MonkeyPatch) -> None:
    """The next one is the one that waits longest."""
    slots = Slots(monkeypatch)
    slots.answers.set()
    jobs = slots.wait(4)
    for _ in jobs:
        await _idle()
        slots.end_renders(1)
    async with asyncio.timeout(10):
        await asyncio.gather(*jobs)
    assert slots.asking == [0, 1, 2, 3]
