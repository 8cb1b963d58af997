"""Who watches a run from outside the flow: the command line hands its stop sign in beside Prefect."""

from __future__ import annotations

from contextvars import ContextVar

from callsheet.engine.stopping import StopSign

stop_sign: ContextVar[StopSign | None] = ContextVar("stop_sign", default=None)


def current_stop() -> StopSign:
    """Return the command line's stop sign, or a fresh one where a worker runs the flow."""
    return stop_sign.get() or StopSign()
