"""What fal last said of a job that it has, for the people who watch the run."""

from __future__ import annotations

from dataclasses import dataclass

SILENT_S = 30.0
"""Longer than any pause between two questions: without an answer for so long, fal does not answer."""


@dataclass(frozen=True, slots=True)
class Polled:
    """A job at fal, as fal last described it.

    `answered_s` is when fal last answered about it (monotonic clock). `position` is how many requests are
    ahead of it, None where fal does not say or it renders. `overdue` says which timeout has passed, "" while
    none has.
    """

    answered_s: float
    position: int | None = None
    overdue: str = ""

    def silent_s(self, now_s: float) -> float:
        """Return for how long fal has not answered; 0 while its last answer is recent."""
        silence_s = now_s - self.answered_s
        return silence_s if silence_s > SILENT_S else 0.0
