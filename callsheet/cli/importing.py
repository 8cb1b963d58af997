"""Importing large packages beside an event loop that has better things to do.

An import is a second of pure computing, and the interpreter lets one thread compute at a time: whatever the
loop does meanwhile would wait for its turn at every call of the system. So the thread that imports looks at
each import statement that names something new whether the loop is at rest (waiting for sockets and timers),
and goes on then.
"""

from __future__ import annotations

import asyncio
import builtins
import selectors
import sys
import threading
import time
from collections.abc import Callable, Coroutine, Iterable, Mapping
from importlib.machinery import ExtensionFileLoader
from importlib.util import resolve_name
from types import ModuleType
from typing import Any, TypeVar

from callsheet.cli import garbage

T = TypeVar("T")

PATIENCE_S = 0.02
"""How long one import waits for a loop that does not come to rest, in seconds: the loop may itself wait for a
module that this thread is just importing."""

WAITS_S = 4.0
"""How long imports wait in all, in seconds: on a slow machine they would take longer than the whole run."""

LOOK_EVERY_S = 0.002

YIELD_EVERY_S = 0.0005
"""How soon a thread that computes gives way to another, in seconds: Prefect's threads compute too."""

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
    """Run a coroutine as `asyncio.run` does, on a loop that other threads let go first.

    Imports beside it step back; whatever else computes gives way ten times sooner than Python's threads do.
    """
    usual_s = sys.getswitchinterval()
    sys.setswitchinterval(YIELD_EVERY_S)
    try:
        with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(_Selector())) as runner:
            return runner.run(main)
    finally:
        _at_rest.set()
        sys.setswitchinterval(usual_s)


class NotWanted(BaseException):
    """What was being imported is of no use any more. No package may take it for a mistake of its own."""


def _in_compiled_module() -> bool:
    """Say whether a compiled module is being initialised in this thread.

    Some crash the process where an import of theirs raises something else than ImportError (PyAV does).
    """
    frame = sys._getframe()  # noqa: SLF001 -- public in all but name (documented)
    while frame := frame.f_back:  # type: ignore[assignment]
        if isinstance(frame.f_locals.get("self"), ExtensionFileLoader):
            return True
    return False


def _full_name(name: str, given: tuple[Any, ...], named: Mapping[str, Any]) -> str:
    """Return the whole name of a module from what `__import__` was given; "" where that is not known."""
    level = given[3] if len(given) > 3 else named.get("level", 0)
    if not level:
        return name
    package = (given[0] or {}).get("__package__") if given else None
    return resolve_name("." * level + name, package) if package else ""


class _Manners:
    """When to go on with an import: where the loop rests, and nothing is in a hurry.

    A loop that does not come to rest may itself wait for a module that this thread is just importing: then
    all goes on at once until it has rested again.
    """

    def __init__(self, is_calm: Callable[[], bool]) -> None:
        self._is_calm = is_calm
        self._left_s = WAITS_S
        self._is_patient = True

    def step_back(self) -> None:
        """Wait for a moment in which an import disturbs nobody."""
        begun_s = time.monotonic()
        until_s = begun_s + self._left_s
        if self._left_s > 0:
            self._rest()
        while self._is_patient and time.monotonic() < until_s and not self._is_calm():
            time.sleep(LOOK_EVERY_S)
            self._rest()
        self._left_s -= time.monotonic() - begun_s

    def _rest(self) -> None:
        self._is_patient = _at_rest.wait(PATIENCE_S if self._is_patient else 0)


def import_beside(
    names: Iterable[str],
    *,
    is_wanted: Callable[[], bool] = lambda: True,
    is_calm: Callable[[], bool] = lambda: True,
) -> None:
    """Import modules, with all that they import, in this thread, stepping back for the loop before new ones.

    While it is not calm, they wait even where the loop rests. Raises NotWanted before the next one where they
    are not wanted any more.
    """
    usual, thread = builtins.__import__, threading.get_ident()
    manners = _Manners(is_calm)

    def stepping_back(name: str, *given: Any, **named: Any) -> ModuleType:
        # A finder in sys.meta_path would be the usual place, but it is called under the lock of all imports:
        # a loop that itself imports something would wait for the thread that waits for it.
        if threading.get_ident() == thread and _full_name(name, given, named) not in sys.modules:
            if not is_wanted() and not _in_compiled_module():
                raise NotWanted
            manners.step_back()
        return usual(name, *given, **named)

    builtins.__import__ = stepping_back
    try:
        for name in names:
            stepping_back(name)
    except Exception:  # what was begun may have been left half done
        if is_wanted():
            raise
        raise NotWanted from None
    finally:
        builtins.__import__ = usual
        garbage.keep_for_good()
        garbage.look_as_usual()
