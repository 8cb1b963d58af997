"""Who watches a run from outside the flow: the command line hands its stop sign in, and listens."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass

from callsheet.engine.stopping import StopSign

stop_sign: ContextVar[StopSign | None] = ContextVar("stop_sign", default=None)


@dataclass(slots=True)
class Trouble:
    """What keeps jobs from being sent just now, in words; "" while they are. Read by another thread."""

    words: str = ""


trouble: ContextVar[Trouble | None] = ContextVar("trouble", default=None)


def current_stop() -> StopSign:
    """Return the command line's stop sign, or a fresh one where a worker runs the flow."""
    return stop_sign.get() or StopSign()


def tell_trouble(words: str) -> None:
    """Let whoever watches know why jobs are not sent; "" says that they are again."""
    if (heard := trouble.get()) is not None:
        heard.words = words
