"""A run as it is being looked at: what the ledger and this process know about it now.

The figures come from the ledger, so they include what other processes did. What fal says of a job, and what
keeps jobs from being sent, comes from the process that carries out the run; other processes ask fal
themselves.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from statistics import median

from callsheet.cli.views.run_line import NOTHING_BEFORE, Before
from callsheet.engine.context import Polled
from callsheet.engine.request import at_sandbox
from callsheet.errors import CallsheetError
from callsheet.ledger import (
    HOLDS_SLOT,
    Account,
    JobRow,
    Ledger,
    Run,
    State,
    Tally,
    admission,
    history,
    queries,
    refs_of_owners,
)
from callsheet.ledger.states import FOLLOWED
from callsheet.provider.client import FalQueue
from callsheet.provider.messages import InQueue
from callsheet.sandbox.launcher import running_address
from callsheet.settings import Settings, settings_from
from pricing.render_times import RenderKind, campaign_s

LEARN_EVERY_S = 5.0
"""What is left to render, and how long renders take, is read again after so many seconds."""

PACE_OVER_S = 600.0
"""The rate is that of the last ten minutes."""

ENOUGH_FINISHED = 5
"""From so many finished jobs on (and one for each slot), their pace says how long the rest takes."""

ANSWER_WITHIN_S = 3.0
"""How long fal is waited for where it is asked for a position."""


@dataclass(frozen=True, slots=True)
class Lane:
    """A job with a slot. `age_s` counts from its submission, or from the begin of its render.

    `usual_s` is how long its render should take; `silent_s` is above 0 where fal does not answer about it.
    """

    name: str
    model: str
    state: State
    age_s: float
    usual_s: float
    position: int | None = None
    overdue: str = ""
    silent_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Moment:
    """A run at one moment.

    `lanes` has a place for each slot, None where it is free. `cap` is the account with the least headroom
    that the run counts in, None without any cap. `rate_per_min` is None until something is finished, and
    `left_s` where nothing is rendered or nothing is known. `learned` says that `left_s` comes from this
    account's own renders. `before` is what became of the jobs of the manifest that are not the run's.
    """

    run_id: str
    tally: Tally
    elapsed_s: float
    lanes: tuple[Lane | None, ...] = ()
    slots: int = 0
    cap: Account | None = None
    rate_per_min: float | None = None
    left_s: float | None = None
    learned: bool = False
    before: Before = NOTHING_BEFORE
    trouble: str = ""

    @property
    def position(self) -> int | None:
        """How many are ahead of the first job that fal has queued; None where that is not known."""
        found = [lane.position for lane in self.lanes if lane and lane.position is not None]
        return min(found, default=None)


@dataclass(slots=True)
class Watch:
    """Looks at a run, again and again.

    `polled` is what fal last said of the jobs, by id; `trouble` says why nothing can be sent. `slots` is how
    many renders go on at a time, and `speed` how much faster than fal the sandbox renders.
    """

    ledger: Ledger
    run: Run
    slots: int
    speed: float = 1.0
    before: Before = NOTHING_BEFORE
    polled: Mapping[int, Polled] = field(default_factory=dict)
    trouble: Callable[[], str] = lambda: ""
    _begun_s: float = field(default_factory=time.monotonic)
    _places: dict[int, int] = field(default_factory=dict)
    _finished: deque[tuple[float, int]] = field(default_factory=deque)
    _owners: list[tuple[str, str]] | None = None
    _learned_s: float = float("-inf")
    _left: Mapping[str, int] = field(default_factory=dict)
    _usual_s: dict[str, float] = field(default_factory=dict)
    _known: bool = False

    def look(self) -> Moment:
        """Return the run as it is now. Raises LedgerError where the ledger cannot be read."""
        now_s = time.monotonic()
        tally = self.ledger.do(queries.tally, self.run.run_id)
        if now_s - self._learned_s >= LEARN_EVERY_S:
            self._learn(now_s)
        lanes = self._lanes(now_s)
        rate = self._rate_per_min(tally.finished, now_s)
        return Moment(
            run_id=self.run.run_id,
            tally=tally,
            elapsed_s=now_s - self._begun_s,
            lanes=lanes,
            slots=self.slots,
            cap=self._nearest_cap(),
            rate_per_min=rate,
            left_s=self._left_s(tally, lanes, rate),
            learned=self._known,
            before=self.before,
            trouble=self.trouble(),
        )

    def _learn(self, now_s: float) -> None:
        """Read what is left to render, and how long the account's own renders of these kinds took."""
        self._learned_s = now_s
        self._left = self.ledger.do(history.to_render, self.run.run_id)
        self._known = False
        for text in self._left:
            seen_ms = self.ledger.do(history.render_times, text)
            self._known = self._known or bool(seen_ms)
            prior_s = RenderKind.read(text).prior_s / self.speed if text else 0.0
            self._usual_s[text] = median(seen_ms) / 1000 if seen_ms else prior_s

    def _lanes(self, now_s: float) -> tuple[Lane | None, ...]:
        rows = {row.job_id: row for row in self.ledger.do(queries.jobs, self.run.run_id, states=HOLDS_SLOT)}
        for gone in self._places.keys() - rows.keys():
            del self._places[gone]
        for job_id in rows.keys() - self._places.keys():
            taken = set(self._places.values())
            self._places[job_id] = next(place for place in range(len(rows) + 1) if place not in taken)
        lanes: list[Lane | None] = [None] * (max(self._places.values(), default=-1) + 1)
        for job_id, place in self._places.items():
            lanes[place] = self._lane(rows[job_id], now_s)
        return tuple(lanes)

    def _lane(self, row: JobRow, now_s: float) -> Lane:
        sent = row.submission
        since_ms = (sent.started_ms or sent.submitted_ms or sent.admitted_ms) if sent else None
        polled = self.polled.get(row.job_id)
        return Lane(
            name=row.custom_id,
            model=row.model,
            state=row.state,
            age_s=0.0 if since_ms is None else max(0.0, time.time() - since_ms / 1000),
            usual_s=self._usual_s.get(row.render_kind, 0.0),
            position=polled.position if polled else None,
            overdue=polled.overdue if polled else "",
            silent_s=polled.silent_s(now_s) if polled else 0.0,
        )

    def _nearest_cap(self) -> Account | None:
        """Return the account with the least headroom that a job of the run counts in."""
        run = self.run
        if self._owners is None:
            self._owners = self.ledger.do(history.owners, run.run_id)
        at_ms = self.ledger.do(queries.now_ms)
        refs = refs_of_owners(self._owners, campaign=run.campaign, run_id=run.run_id, at_ms=at_ms)
        accounts = self.ledger.do(admission.headroom, sorted(refs)).values()
        capped = [(left, each) for each in accounts if (left := each.left_nano) is not None]
        return min(capped, key=lambda pair: pair[0], default=(0, None))[1]

    def _rate_per_min(self, finished: int, now_s: float) -> float | None:
        """Return how many jobs a minute end; None before the first has ended here."""
        seen = self._finished
        if not seen or seen[-1][1] != finished:
            seen.append((now_s, finished))
        while len(seen) > 2 and now_s - seen[1][0] > PACE_OVER_S:
            seen.popleft()
        ended, elapsed_s = finished - seen[0][1], now_s - seen[0][0]
        return ended / elapsed_s * 60 if ended > 0 and elapsed_s > 0 else None

    def _left_s(
        self, tally: Tally, lanes: tuple[Lane | None, ...], rate_per_min: float | None
    ) -> float | None:
        """Estimate the seconds that are left: by the pace so far, before that by the times of renders.

        None where nothing is being rendered. When an unknown outcome is known is not estimated.
        """
        if not FOLLOWED & tally.counts.keys():
            return None
        left = tally.jobs - tally.finished - tally.counts.get(State.UNKNOWN, 0)
        ended_here = tally.finished - self._finished[0][1]
        if rate_per_min and ended_here >= max(ENOUGH_FINISHED, min(self.slots, left)):
            return left / rate_per_min * 60
        kinds = [(count, self._usual_s.get(kind, 0.0)) for kind, count in self._left.items()]
        whole_s = campaign_s(kinds, concurrency=self.slots)
        begun_s = sum(
            min(lane.age_s, lane.usual_s) for lane in lanes if lane and lane.state is State.IN_PROGRESS
        )
        return max(whole_s - begun_s / self.slots, 0.0) or None


async def first_position(queued: Iterable[JobRow], *, sandbox: bool) -> int | None:
    """Ask fal about the job that has been queued longest.

    Returns how many requests are ahead of it; None where there is no such job, no key, or no answer in time.
    """
    tickets = sorted(
        ((row.submission.submitted_ms or 0, row.ticket) for row in queued if row.submission and row.ticket),
        key=lambda pair: pair[0],
    )
    settings = _settings(sandbox=sandbox)
    if not tickets or settings is None:
        return None
    try:
        async with asyncio.timeout(ANSWER_WITHIN_S), FalQueue(settings) as queue:
            seen = await queue.status(tickets[0][1])
    except (CallsheetError, TimeoutError):
        return None
    return seen.position if isinstance(seen, InQueue) else None


def _settings(*, sandbox: bool) -> Settings | None:
    """Return settings with a key; None without one, or where no sandbox is running."""
    settings = settings_from(os.environ)
    if not sandbox:
        return settings if settings.key is not None else None
    address = running_address(settings.data_dir / "sandbox")
    return None if address is None else at_sandbox(settings, address)
