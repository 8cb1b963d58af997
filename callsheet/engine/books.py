"""The ledger, called from the event loop.

A commit is what takes the time: the disk, or a server's, has to say that it has it. So verbs that are asked
for at the same moment share one: ten renders that end together free their slots with one commit, and the
next ten jobs are bought with another. Every one of them is answered after that commit and not before.

A commit to a server waits for the network and for other machines, so a thread does it and the loop goes on.
A ledger that is a file of this machine answers within a few milliseconds, and handing over to a thread and
back costs several times that, since every statement gives up the interpreter lock and has to win it back;
so there the short verbs are done in the loop. Only where another process is writing (a large run that is
opened takes seconds) does the thread wait for its turn, while the loop hears fal and Ctrl-C. Wherever they
are done, urgent verbs go first. Which verbs are short or urgent is declared on the verb
(`callsheet.ledger.transaction`).
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from queue import Empty, PriorityQueue
from threading import Thread
from typing import Any, Concatenate, NamedTuple, ParamSpec, TypeVar

from callsheet.errors import CallsheetError, LedgerError
from callsheet.ledger import Ledger
from callsheet.ledger.transaction import Access, Verb

P = ParamSpec("P")
T = TypeVar("T")
Outcome = tuple[Any, BaseException | None]

MOST_TOGETHER = 32
"""Verbs in one commit: the first of them waits for the last."""


class Asked(NamedTuple):
    """A verb that was asked for; the smallest is done first. No two have the same number."""

    rank: int
    number: int
    shares: bool
    do: Callable[[], Any]
    answer: Future[Any]


class Books:
    """The ledger, one verb at a time: `await books(admission.admit, job_id, slots=10)`.

    `is_near` says that the ledger is a file of this machine. Verbs of one job keep their order as long as
    each is awaited before the next is asked for.
    """

    def __init__(self, ledger: Ledger, *, is_near: bool = False) -> None:
        self._ledger = ledger
        self._is_near = is_near
        self._waiting: PriorityQueue[Asked] = PriorityQueue()
        self._next: list[Asked] = []
        self._numbers = itertools.count()
        self._thread = Thread(target=self._serve, name="ledger", daemon=True)
        self._closed = False
        self._thread.start()

    async def __call__(self, verb: Verb[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Do one verb of the ledger.

        A verb that was asked for is finished and awaited even when the caller is cancelled: nobody may be
        left not knowing what the ledger holds. Raises LedgerError after `close`.
        """
        self._require_open()
        declared = verb.declared
        is_read = declared.access is Access.READ
        if self._is_near and declared.short and is_read:
            return self._ledger.do(verb, *args, **kwargs)
        asked = Asked(
            0 if declared.urgent else 1,
            next(self._numbers),
            shares=declared.short and not is_read,
            do=lambda: self._ledger.do(verb, *args, **kwargs),
            answer=Future(),
        )
        if self._is_near and asked.shares:
            self._ask_here(asked)
        else:
            self._waiting.put(asked)
        result: T = await self._answer(asked)
        return result

    async def call(
        self, function: Callable[Concatenate[Ledger, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Call a function that executes several verbs, each in its own transaction. Otherwise as a verb."""
        self._require_open()
        asked = Asked(
            1,
            next(self._numbers),
            shares=False,
            do=lambda: function(self._ledger, *args, **kwargs),
            answer=Future(),
        )
        self._waiting.put(asked)
        result: T = await self._answer(asked)
        return result

    def _require_open(self) -> None:
        if self._closed:
            raise LedgerError("the ledger is closed already; nothing was changed")

    async def _answer(self, asked: Asked) -> Any:
        work: asyncio.Future[Any] = asyncio.wrap_future(asked.answer)
        try:
            return await asyncio.shield(work)
        except asyncio.CancelledError:
            if not work.done():
                await asyncio.wait([work])
            raise

    def close(self) -> None:
        """Finish what was asked for and end the thread."""
        self._closed = True
        self._do_next()
        self._waiting.put(Asked(2, next(self._numbers), shares=False, do=_nothing, answer=Future()))
        self._thread.join()

    def _ask_here(self, asked: Asked) -> None:
        """Let the loop do it as soon as it has heard everybody who is asking now."""
        self._next.append(asked)
        if len(self._next) == 1:
            asyncio.get_running_loop().call_soon(self._do_next)

    def _do_next(self) -> None:
        """Do what was asked for here, or have the thread wait where another process is writing just now."""
        asked, self._next = sorted(self._next), []
        if asked and _is_being_written(self._ledger):
            for each in asked:
                self._waiting.put(each)
            return
        for start in range(0, len(asked), MOST_TOGETHER):
            _do(self._ledger, asked[start : start + MOST_TOGETHER])

    def _serve(self) -> None:
        """Do what is asked for in this thread: short verbs together, anything else by itself."""
        over = False
        while not over:
            together: list[Asked] = []
            for asked in self._take():
                if asked.do is _nothing:
                    over = True
                elif asked.shares:
                    together.append(asked)
                else:
                    _do(self._ledger, together)
                    together = []
                    _do(self._ledger, [asked])
            _do(self._ledger, together)

    def _take(self) -> list[Asked]:
        """Wait for somebody to ask; return him and those who have asked by then."""
        taken = [self._waiting.get()]
        while len(taken) < MOST_TOGETHER:
            try:
                taken.append(self._waiting.get_nowait())
            except Empty:
                break
        return taken


def _nothing() -> None:
    """Stand for the end of all asking."""


def _is_being_written(ledger: Ledger) -> bool:
    try:
        return ledger.is_being_written()
    except CallsheetError:  # whoever asked hears it of the verb
        return False


def _do(ledger: Ledger, asked: Sequence[Asked]) -> None:
    """Do some verbs with one commit and answer everybody after it; a verb alone is its own transaction."""
    for each, (result, error) in zip(asked, _outcomes(ledger, asked), strict=True):
        if error is None:
            each.answer.set_result(result)
        else:
            each.answer.set_exception(error)


def _outcomes(ledger: Ledger, asked: Sequence[Asked]) -> list[Outcome]:
    if len(asked) < 2:
        return [_outcome(each) for each in asked]
    outcomes: list[Outcome] = []
    try:
        with ledger.together():
            outcomes.extend(_outcome(each) for each in asked)
    except BaseException as error:  # noqa: BLE001 -- none of it has happened, and everybody must hear it
        return [(None, error) for _ in asked]
    return outcomes


def _outcome(asked: Asked) -> Outcome:
    try:
        return asked.do(), None
    except BaseException as error:  # noqa: BLE001 -- it belongs to whoever asked
        return None, error
