"""Importing large packages beside an event loop that has better things to do.

An import is a second of pure computing, and the interpreter lets one thread compute at a time: whatever
the loop does meanwhile would wait for its turn at every call of the system. So the thread that imports looks
before each module whether the loop is at rest (waiting for sockets and timers), and goes on only then.
"""

from __future__ import annotations

import asyncio
import selectors
import sys
import threading
from collections.abc import Callable, Coroutine, Iterable, Sequence
from importlib import import_module
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, TypeVar

T = TypeVar("T")

PATIENCE_S = 0.05
"""How long one module waits for a loop that does not come to rest, in seconds."""

YIELD_EVERY_S = 0.0005
"""How soon a thread that computes lets another one have its turn, while there is an import."""

_at_rest = threading.Event()
"""Set while no loop of `run` computes."""
_at_rest.set()


class _Selector(selectors.DefaultSelector):
    """Tells when the loop waits."""

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Wait as any selector does."""
        _at_rest.set()
        try:
            return super().select(timeout)
        finally:
            _at_rest.clear()


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine as `asyncio.run` does, on a loop that imports beside it can step back for."""
    with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(_Selector())) as runner:
        try:
            return runner.run(main)
        finally:
            _at_rest.set()


class NotWanted(BaseException):
    """What was being imported is of no use any more. No package may take it for a mistake of its own."""


class _StepsBack(MetaPathFinder):
    """Finds no module; makes its thread wait before each that others find."""

    def __init__(self, is_wanted: Callable[[], bool]) -> None:
        self._thread = threading.get_ident()
        self._is_wanted = is_wanted

    def find_spec(
        self,
        fullname: str,  # noqa: ARG002 -- whatever it is, the loop goes first
        path: Sequence[str] | None,  # noqa: ARG002 -- as above
        target: ModuleType | None = None,  # noqa: ARG002 -- as above
    ) -> ModuleSpec | None:
        """Wait for the loop to rest."""
        if threading.get_ident() == self._thread:
            if not self._is_wanted():
                raise NotWanted
            _at_rest.wait(PATIENCE_S)
        return None


def import_beside(names: Iterable[str], is_wanted: Callable[[], bool] = lambda: True) -> None:
    """Import modules, with all that they import, in this thread, stepping back for the loop before each.

    Raises NotWanted before the next one where they are not wanted any more.
    """
    finder = _StepsBack(is_wanted)
    usual_s = sys.getswitchinterval()
    sys.setswitchinterval(YIELD_EVERY_S)
    sys.meta_path.insert(0, finder)
    try:
        for name in names:
            import_module(name)
    finally:
        sys.meta_path.remove(finder)
        sys.setswitchinterval(usual_s)
