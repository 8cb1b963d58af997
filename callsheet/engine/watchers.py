"""What the command line and the flow share beside Prefect: a stop sign, the run begun, its troubles."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass

from callsheet.engine.stopping import StopSign
from callsheet.engine.studio import Studio

stop_sign: ContextVar[StopSign | None] = ContextVar("stop_sign", default=None)
begun_studio: ContextVar[Studio | None] = ContextVar("begun_studio", default=None)


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
