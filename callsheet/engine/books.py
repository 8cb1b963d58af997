"""The ledger, called from the event loop.

A commit to a server waits for the network and for other machines, so a thread does it and the loop goes on.
A ledger that is a file of this machine answers within a few milliseconds, and handing over to a thread and
back costs several times that, since every statement gives up the interpreter lock and has to win it back;
so there the short verbs are done on the spot. In the thread, what a slot waits for goes first: when ten
renders end together, the next ten jobs are bought before the ten old ones are booked.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from concurrent.futures import Future
from queue import PriorityQueue
from threading import Thread
from typing import Any, Concatenate, ParamSpec, TypeVar

from callsheet.errors import LedgerError
from callsheet.ledger import Ledger

P = ParamSpec("P")
T = TypeVar("T")

FIRST = frozenset({"admit", "admit_and_send", "send", "accept", "render"})
"""Verbs that a slot waits for: the end of a render frees it, and the others fill it again."""

SHORT = FIRST | {"not_sent", "release", "refuse", "start", "settle", "collect", "job"}
"""Verbs about one job: a handful of statements and at most one commit."""

_LAST = 2
_Work = tuple[int, int, Callable[[], Any] | None, Future[Any]]


class Books:
    """The ledger, one verb at a time: `await books(Ledger.admit, job_id, slots=10)`.

    `is_near` says that the ledger is a file of this machine. Verbs of one job keep their order as long as
    each is awaited before the next is asked for.
    """

    def __init__(self, ledger: Ledger, *, is_near: bool = False) -> None:
        self._ledger = ledger
        self._at_once = SHORT if is_near else frozenset[str]()
        self._waiting: PriorityQueue[_Work] = PriorityQueue()
        self._numbers = itertools.count()
        self._thread = Thread(target=self._serve, name="ledger", daemon=True)
        self._closed = False
        self._thread.start()

    async def __call__(
        self, verb: Callable[Concatenate[Ledger, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Do one verb of the ledger.

        A verb that was asked for is finished and awaited even when the caller is cancelled: nobody may be
        left not knowing what the ledger holds. Raises LedgerError after `close`.
        """
        if self._closed:
            raise LedgerError("the ledger is closed already; nothing was changed")
        name = getattr(verb, "__name__", "")
        if name in self._at_once:
            return verb(self._ledger, *args, **kwargs)
        rank = 0 if name in FIRST else 1
        asked = self._put(rank, lambda: verb(self._ledger, *args, **kwargs))
        work: asyncio.Future[T] = asyncio.wrap_future(asked)
        try:
            return await asyncio.shield(work)
        except asyncio.CancelledError:
            if not work.done():
                await asyncio.wait([work])
            raise

    def close(self) -> None:
        """Finish what was asked for and end the thread."""
        self._closed = True
        self._put(_LAST, None)
        self._thread.join()

    def _put(self, rank: int, work: Callable[[], Any] | None) -> Future[Any]:
        future: Future[Any] = Future()
        self._waiting.put((rank, next(self._numbers), work, future))
        return future

    def _serve(self) -> None:
        while True:
            _, _, work, future = self._waiting.get()
            if work is None:
                return
            try:
                answer = work()
            except BaseException as error:  # noqa: BLE001 -- it belongs to whoever asked
                future.set_exception(error)
            else:
                future.set_result(answer)
