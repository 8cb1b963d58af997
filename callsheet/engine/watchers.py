"""What the command line hands to the flow beside Prefect: its stop sign, and the run it has begun."""

from __future__ import annotations

from contextvars import ContextVar

from callsheet.engine.stopping import StopSign
from callsheet.engine.studio import Studio

stop_sign: ContextVar[StopSign | None] = ContextVar("stop_sign", default=None)
begun_studio: ContextVar[Studio | None] = ContextVar("begun_studio", default=None)


def current_stop() -> StopSign:
    """Return the command line's stop sign, or a fresh one where a worker runs the flow."""
    return stop_sign.get() or StopSign()
