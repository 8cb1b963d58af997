"""When to ask next. Pure: times come in as numbers, and nothing here waits or reads a clock.

A slot stays taken until the end of a render is seen, so every second of seeing late is a second in which the
next job could have run; and every question costs a call. Render times of one kind of job hardly differ, so
the questions are put where the end is expected:

    waiting     sparse: time in the queue is not render time
    early       from a 16th of the expected time on, in growing steps: finds failures, and estimates far off
    expected    between the low and the high estimate, in small steps
    late        in growing steps again, never more than an eighth of the time already gone

What was rendered teaches what to expect (`RenderTimes`). All times are in seconds of one clock.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from callsheet.errors import Unavailable
from callsheet.provider.messages import Completed, InProgress, InQueue, Status
from pricing.render_times import Estimate

FLOOR_S = 0.05
CEILING_S = 10.0
"""Bounds of the time between two questions, in seconds."""

_FIRST = 0.061
"""When a render is first asked about, as a share of the expected time: about a 16th, which keeps the lag
within 25 % even where the truth is 20 times shorter."""


@dataclass(slots=True)
class PollSchedule:
    """The questions about one submission: tell it what was seen, ask it how long to wait.

    `submitted_s` is when the job was submitted, on the clock that every `now_s` comes from (for a job of an
    earlier process: now minus its age). A render that is not over `run_timeout_s` after it was first seen to
    run, or has not begun `start_timeout_s` after the submission, is `overdue`: a person may be told, and the
    questions go on, since the job holds a slot until its end is seen. `jitter` returns numbers in [0, 1).
    """

    estimate: Estimate
    submitted_s: float
    run_timeout_s: float
    start_timeout_s: float
    jitter: Callable[[], float]
    _started_low_s: float = field(init=False)
    _started_high_s: float | None = field(init=False, default=None)
    _still_running_s: float = field(init=False)
    _queue_wait_s: float = field(init=False)
    _late_wait_s: float = field(init=False, default=0.0)
    _failures: int = field(init=False, default=0)
    _times_gone: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        self._started_low_s = self._still_running_s = self.submitted_s
        self._queue_wait_s = self.estimate.expected_s / 20

    def learn(self, estimate: Estimate, now_s: float) -> None:
        """Take an estimate that others' renders have bettered, where this one cannot be ending yet.

        Later its steps go on as they are: those of a known kind are small, and a straggler would take many.
        """
        if now_s - self._started_low_s < estimate.low_s:
            self.estimate = estimate

    def first_wait_s(self, now_s: float) -> float:
        """Return how long to wait before the first question; 0 for a job that is already old."""
        return max(0.0, _within(self.estimate.expected_s * _FIRST) - (now_s - self.submitted_s))

    def next_wait_s(self, seen: Status, now_s: float) -> float:
        """Return how long to wait after `seen`; 0 once it is over."""
        self._failures = self._times_gone = 0
        if isinstance(seen, Completed):
            return 0.0
        if isinstance(seen, InQueue) and self._started_high_s is None:
            self._started_low_s = now_s
            return self._waiting()
        if self._started_high_s is None:
            self._started_high_s = now_s
        if isinstance(seen, InProgress):
            self._still_running_s = now_s
        return self._running(now_s - self._started_low_s, now_s - self._started_high_s)

    def wait_after_error_s(self, error: Unavailable) -> float:
        """Return how long to wait after a question without an answer. It changes nothing about the job.

        Raises the error itself when the queue said three times in a row that it does not hold the request.
        """
        self._times_gone = self._times_gone + 1 if error.gone else 0
        if self._times_gone >= 3:
            raise error
        base_s = _within(self.estimate.expected_s / 20) * 2 ** min(self._failures, 10)
        self._failures += 1
        wait_s = _within(base_s * (0.75 + 0.5 * self.jitter()))
        return max(wait_s, min(error.retry_after_s or 0.0, 300.0))

    def overdue(self, now_s: float) -> str:
        """Say which timeout has passed without the job's start or end, in words; "" while none has."""
        if self._started_high_s is not None:
            if now_s - self._started_high_s < self.run_timeout_s:
                return ""
            return f"the render has not ended within {self.run_timeout_s:g} s"
        if now_s - self.submitted_s < self.start_timeout_s:
            return ""
        return f"the render has not begun within {self.start_timeout_s:g} s"

    def render_s(self, completed: Completed, now_s: float) -> float:
        """Return how long the render took: fal's own figure where it fits what was seen, else the middle."""
        started_s = now_s if self._started_high_s is None else self._started_high_s
        longest = now_s - self._started_low_s
        shortest = max(0.0, self._still_running_s - started_s)
        told = completed.inference_time_s
        if told is not None and shortest <= told <= longest:
            return told
        return (shortest + longest) / 2

    def _waiting(self) -> float:
        wait_s = self._queue_wait_s
        self._queue_wait_s = min(wait_s * 1.25, self.estimate.expected_s / 8)
        return _within(wait_s)

    def _running(self, longest_s: float, shortest_s: float) -> float:
        """Return the wait when the render has run for at least `shortest_s` and at most `longest_s`."""
        aim = self.estimate
        if longest_s < aim.low_s:
            growth = 4.0 if aim.is_known else 1.25
            at_s = max(aim.expected_s * _FIRST, longest_s * growth)
            return _within(min(at_s, aim.low_s) - longest_s)
        step_s = min(longest_s, aim.high_s) * 0.056
        if aim.is_known:
            step_s = min(step_s, (aim.high_s - aim.low_s + longest_s - shortest_s) / 12)
        if shortest_s <= aim.high_s:
            self._late_wait_s = step_s
            return _within(step_s)
        self._late_wait_s = min(max(self._late_wait_s, step_s) * 1.3, shortest_s / 8)
        return _within(self._late_wait_s)


def _within(wait_s: float) -> float:
    return min(max(wait_s, FLOOR_S), CEILING_S)
