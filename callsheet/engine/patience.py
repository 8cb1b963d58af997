"""How long something free is tried again that did not leave this machine, or was turned away for a moment."""

from __future__ import annotations

import random

FREE_TRIES = 8
"""How often an upload is tried, and a POST that never left or was throttled: about two minutes in all."""


def backoff_s(attempt: int, advice_s: float | None) -> float:
    """Return the seconds until the next free try: the server's advice, else 1, 2, 4 ... 30 with jitter."""
    return advice_s if advice_s is not None else min(30.0, 2.0 ** (attempt - 1)) * random.uniform(0.7, 1.3)  # noqa: S311 -- jitter
