"""How long something free is tried again that did not leave this machine, or was turned away for a moment."""

from __future__ import annotations

import random

from callsheet.provider import transport

FREE_TRIES = 8
"""How often an upload is tried, and a POST that never left or was throttled: about two minutes in all."""


def backoff_s(attempt: int, advice_s: float | None) -> float:
    """Return the seconds until the next free try. See `callsheet.provider.transport.backoff_s`."""
    return transport.backoff_s(attempt, advice_s, random.random())  # noqa: S311 -- jitter
