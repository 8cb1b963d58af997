"""When a submission that fal does not show counts as absent. Pure.

    sent -- start timeout, run timeout, history lag --> deadline -- first look without it
         -- gap --> second look without it: absent

The wait for a start is the one that was sent with the submission: fal goes by that, whatever the settings say
today. Two looks at one instant would be one look, for whatever hides a request (a replica that lags, a search
index that is being rebuilt) hides it from both. A look is whole reads of the history in two orders.
"""

from __future__ import annotations

from dataclasses import dataclass

from callsheet.ledger import Submission
from callsheet.reconcile.matching import CLOCK_SLACK_MS
from callsheet.settings import DEFAULT_START_TIMEOUT_S, Settings

MIN_GAP_MS = 30_000
"""The least time between two looks that decide, in milliseconds, where the history is said not to lag."""


def window_ms(settings: Settings, submission: Submission) -> int:
    """Return for how long after it was sent a submission may still turn up, in milliseconds.

    The longest wait for a start, then the longest render, then what fal's history may be late by: after that
    an accepted request has ended and is listed. Where an older ledger did not keep the wait that was sent,
    it is taken to have been today's setting or the default, whichever is longer.
    """
    sent_s = submission.start_timeout_s
    start_s = max(settings.start_timeout_s, DEFAULT_START_TIMEOUT_S) if sent_s is None else sent_s
    return 1000 * (start_s + settings.run_timeout_s + settings.history_lag_s)


def gap_ms(settings: Settings) -> int:
    """Return the time between the two looks, in milliseconds: half the history's lag, at least MIN_GAP_MS.

    With the default lag of 600 s that is five minutes.
    """
    return max(MIN_GAP_MS, 500 * settings.history_lag_s)


def certain_now_ms(server_ms: int | None, now_ms: int) -> int | None:
    """Return a time that has certainly come by fal's clock and ours; None where they disagree."""
    if server_ms is None or abs(server_ms - now_ms) > CLOCK_SLACK_MS:
        return None
    return min(server_ms, now_ms)


@dataclass(frozen=True, slots=True, kw_only=True)
class Due:
    """What one submission has to wait for. All times are Unix milliseconds by fal's clock."""

    deadline_ms: int
    gap_ms: int
    first_look_ms: int | None = None
    """When it was first not seen; a look before the deadline (which may have been put off) is none."""

    @property
    def again_ms(self) -> int:
        """From when on another look can bring something new."""
        if not self.had_first_look:
            return self.deadline_ms
        assert self.first_look_ms is not None
        return self.first_look_ms + self.gap_ms

    @property
    def had_first_look(self) -> bool:
        """Whether one look after the deadline has not shown it."""
        return self.first_look_ms is not None and self.first_look_ms >= self.deadline_ms

    def is_absent(self, look_ms: int) -> bool:
        """Say whether a look that began at `look_ms` and did not show it either is the second one."""
        return self.had_first_look and look_ms >= self.again_ms
