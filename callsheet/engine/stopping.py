"""How a run stops: by a person, by a cap, by a locked account. Nothing is lost either way.

running   jobs are admitted
draining  no new submissions; what renders at fal is finished and collected
stopped   nothing is waited for any more; renders go on at fal and `resume` collects them
"""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Literal

from callsheet.errors import CallsheetError, Interrupted, InterruptedByPerson

Phase = Literal["running", "draining", "stopped"]

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""The signals that a run takes while it goes on."""


class StopSignal:
    """Says whether a run may go on. It only moves towards `stopped`. `announce` is called at each move."""

    def __init__(self, announce: Callable[[StopSignal], None] = lambda _stop: None) -> None:
        self.phase: Phase = "running"
        self.reason: CallsheetError | None = None
        self._announce = announce
        self._draining = asyncio.Event()
        self._stopped = asyncio.Event()

    @property
    def admitting(self) -> bool:
        """Whether new submissions are still made."""
        return self.phase == "running"

    def drain(self, reason: CallsheetError) -> None:
        """Admit nothing more because of `reason`; the first reason given is the one that is kept."""
        if self.phase != "running":
            return
        self.phase, self.reason = "draining", reason
        self._draining.set()
        self._announce(self)

    def stop(self, reason: CallsheetError) -> None:
        """Wait for nothing more."""
        if self.phase == "stopped":
            return
        self.reason = self.reason or reason
        self.phase = "stopped"
        self._draining.set()
        self._stopped.set()
        self._announce(self)

    def interrupt(self) -> None:
        """Ctrl-C: the first drains, the second stops."""
        reason = InterruptedByPerson("interrupted")
        if self.phase == "running":
            self.drain(reason)
        else:
            self.stop(reason)

    async def pause(self, seconds: float) -> None:
        """Wait that long, or until nothing new is admitted any more."""
        try:
            await asyncio.wait_for(self._draining.wait(), seconds)
        except TimeoutError:
            return

    async def wait_draining(self) -> None:
        """Return when nothing new is admitted any more."""
        await self._draining.wait()

    async def wait_stopped(self) -> None:
        """Return when the run is to end at once."""
        await self._stopped.wait()


@asynccontextmanager
async def beside(work: Coroutine[Any, Any, object]) -> AsyncIterator[None]:
    """Do `work` while inside. At the end it is cancelled, and what it raised is dropped."""
    doing = asyncio.ensure_future(work)
    try:
        yield
    finally:
        doing.cancel()
        await asyncio.gather(doing, return_exceptions=True)


@asynccontextmanager
async def stop_under(outer: StopSignal) -> AsyncIterator[StopSignal]:
    """Give one of several runs in a process a signal of its own, which follows `outer` while inside.

    What stops the run stops no other one. The end of the process is no decision about the run: its reason is
    Interrupted, also after Ctrl-C, so that the run is taken up again.
    """
    own = StopSignal()

    def interrupted() -> Interrupted:
        return Interrupted("the process that renders this run is ending")

    async def follow() -> None:
        await outer.wait_draining()
        own.drain(interrupted())
        await outer.wait_stopped()
        own.stop(interrupted())

    if not outer.admitting:
        own.drain(interrupted())
    async with beside(follow()):
        yield own


@contextmanager
def handlers_kept() -> Iterator[None]:
    """Put back the process's handlers of signals that stood before, whatever took them inside."""
    if not _has_signals():
        yield
        return
    loop = asyncio.get_running_loop()
    previous = {number: signal.getsignal(number) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in previous.items():
            loop.remove_signal_handler(number)
            signal.signal(number, handler)


@contextmanager
def signals_to(stop: StopSignal) -> Iterator[None]:
    """Let SIGINT drain and then stop, and SIGTERM and SIGHUP stop at once, while inside.

    SIGHUP comes where the terminal is closed; under `nohup` it stays ignored. The handlers that stood before
    are put back. A run under a Prefect worker leaves Prefect's own in place.
    """
    with handlers_kept():
        take_signals(stop)
        if _has_signals() and signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
            closed = Interrupted("its terminal was closed")
            asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, lambda: stop.stop(closed))
        yield


def take_signals(stop: StopSignal, *, terminate: Callable[[], object] | None = None) -> None:
    """Let SIGINT drain and then stop, and SIGTERM stop at once (or call `terminate`), from here on.

    In another thread than the main one nothing is taken: signals do not reach it.
    """
    if not _has_signals():
        return
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGINT, stop.interrupt)
    loop.add_signal_handler(signal.SIGTERM, terminate or (lambda: stop.stop(Interrupted("terminated"))))


def _has_signals() -> bool:
    return threading.current_thread() is threading.main_thread()
