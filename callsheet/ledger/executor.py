"""The ledger, called from the event loop: one thread executes verbs in the order of their urgency.

A commit waits for the disk or for a server. Short verbs that wait at the same time share one: ten renders
that end together free their slots with one commit. Each is answered after that commit and not before.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextvars import Context, copy_context
from queue import Empty, PriorityQueue
from threading import Thread
from typing import Any, Concatenate, NamedTuple, ParamSpec, TypeVar

from callsheet.errors import LedgerError
from callsheet.ledger.open_ledger import Ledger
from callsheet.ledger.transaction import Access, Verb

P = ParamSpec("P")
T = TypeVar("T")
Outcome = tuple[Any, BaseException | None]

MOST_TOGETHER = 32
"""Verbs in one commit. The first waits for the last."""


class _Call(NamedTuple):
    """A call that waits: the smallest is done first. No two have the same number.

    It is executed in its caller's context, so that its log lines belong to the caller's flow run and task.
    """

    rank: int
    number: int
    shares_commit: bool
    execute: Callable[[], Any] | None
    answer: Future[Any]
    context: Context


class LedgerExecutor:
    """The ledger, one verb at a time: `await do(admission.admit, job_id, slots=10)`.

    Verbs about one job keep their order as long as each is awaited before the next is asked for.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._waiting: PriorityQueue[_Call] = PriorityQueue()
        self._numbers = itertools.count()
        self._thread = Thread(target=self._serve, name="ledger", daemon=True)
        self._closed = False
        self._thread.start()

    async def __call__(self, verb: Verb[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Execute a verb of the ledger and return its result.

        A verb that was asked for is finished and awaited even when the caller is cancelled: otherwise
        the caller would not know what the ledger holds. Raises LedgerError after `close`.
        """
        declared = verb.declared
        result: T = await self._executed(
            lambda: self._ledger.do(verb, *args, **kwargs),
            rank=0 if declared.urgent else 1,
            shares_commit=declared.short and declared.access is not Access.READ,
        )
        return result

    async def call(
        self, function: Callable[Concatenate[Ledger, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Call a function that executes several verbs, each in its own transaction. Otherwise as a verb."""
        result: T = await self._executed(lambda: function(self._ledger, *args, **kwargs))
        return result

    async def _executed(
        self, execute: Callable[[], Any], *, rank: int = 1, shares_commit: bool = False
    ) -> Any:
        if self._closed:
            raise LedgerError("the ledger is closed; nothing was changed")
        call = _Call(rank, next(self._numbers), shares_commit, execute, Future(), copy_context())
        self._waiting.put(call)
        result = asyncio.wrap_future(call.answer)
        try:
            return await asyncio.shield(result)
        except asyncio.CancelledError:
            if not result.done():
                await asyncio.wait([result])
            result.exception()  # seen: the caller is not there to hear of it
            raise

    def close(self) -> None:
        """Finish the calls that wait and end the thread."""
        self._closed = True
        end = _Call(2, next(self._numbers), False, None, Future(), copy_context())  # noqa: FBT003 -- a field
        self._waiting.put(end)
        self._thread.join()

    def _serve(self) -> None:
        """Execute calls in this thread: short ones that wait together share a commit."""
        over = False
        while not over:
            together: list[_Call] = []
            for call in self._take():
                if call.execute is None:
                    over = True
                elif call.shares_commit:
                    together.append(call)
                else:
                    _execute(self._ledger, together)
                    together = []
                    _execute(self._ledger, [call])
            _execute(self._ledger, together)

    def _take(self) -> list[_Call]:
        """Wait for a call. Return it and those that wait behind it."""
        taken = [self._waiting.get()]
        while len(taken) < MOST_TOGETHER:
            try:
                taken.append(self._waiting.get_nowait())
            except Empty:
                break
        return taken


def _execute(ledger: Ledger, calls: Sequence[_Call]) -> None:
    """Execute calls with one commit and answer each after it."""
    for call, (result, error) in zip(calls, _outcomes(ledger, calls), strict=True):
        if error is None:
            call.answer.set_result(result)
        else:
            call.answer.set_exception(error)


def _outcomes(ledger: Ledger, calls: Sequence[_Call]) -> list[Outcome]:
    if len(calls) < 2:
        return [_outcome(call) for call in calls]
    outcomes: list[Outcome] = []
    try:
        with ledger.together():
            outcomes.extend(_outcome(call) for call in calls)
    except BaseException as error:  # noqa: BLE001 -- none of it has happened, and every caller must hear it
        return [(None, error) for _ in calls]
    return outcomes


def _outcome(call: _Call) -> Outcome:
    assert call.execute is not None
    try:
        return call.context.run(call.execute), None
    except BaseException as error:  # noqa: BLE001 -- it is raised for the caller
        return None, error
