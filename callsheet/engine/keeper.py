"""The keeper: looks at a whole ledger once a minute and goes on with what dead processes left.

One round is a function on an account. It settles unknown submissions, takes up runs and parts that nobody
owns, writes the results of runs whose parts have all ended, and closes openings that were broken off. It
leaves alone what a living process owns, and what was stopped on purpose: by a person, a canary, another
price or a bill above its hold.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from callsheet.engine.collect_runs import collect_dead_runs
from callsheet.engine.coordinator import IN_FLIGHT, Start, start_parts
from callsheet.engine.in_flight import BEGIN_WITHIN_MS
from callsheet.engine.shard import carry_out_part, finalize_run, request_to_go_on
from callsheet.engine.stopping import StopSignal, stop_under
from callsheet.errors import Busy, CallsheetError
from callsheet.ledger import Ledger, PartWork, Run, State, admission, parts, queries, runs
from callsheet.ledger.activity import KEEPER
from callsheet.notify.sending import Announcer
from callsheet.reconciliation.account import AccountSession
from callsheet.reconciliation.open_jobs import settle_ledger
from callsheet.report.rows import iso_utc

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class Round:
    """What one round of the keeper did and found.

    `taken_up` are the runs and parts that were started, as `RUN` or `RUN FIRST-LAST`; `finalized` the runs
    whose results were written; `discarded` the openings that were closed; `settled` how many submissions
    were looked up; `unknown` how many are unknown now; `frozen` the accounts that are frozen; `problems`
    what could not be done. `waiting` are runs that nobody has begun, each with the moment (ISO 8601, UTC)
    from which a keeper may begin it.
    """

    taken_up: list[str] = field(default_factory=list)
    finalized: list[str] = field(default_factory=list)
    discarded: list[str] = field(default_factory=list)
    settled: int = 0
    unknown: int = 0
    frozen: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    waiting: dict[str, str] = field(default_factory=dict)

    def document(self) -> dict[str, Any]:
        """Return the round as JSON."""
        return {name: getattr(self, name) for name in self.__slots__}

    @property
    def is_quiet(self) -> bool:
        """Whether nothing was done."""
        return not (self.taken_up or self.finalized or self.discarded or self.settled or self.problems)


async def keep(
    account: AccountSession, start: Start, announcer: Callable[[], Announcer] = Announcer
) -> Round:
    """Do one round. `start` starts a process for a part, or for a whole run that was never split.

    `announcer` makes what tells the end of a run whose results are written here.
    """
    done = Round()
    await account.do.call(_sign_in)
    await account.do.call(_discard_unopened, done)
    with _noted(done):
        done.settled = len((await settle_ledger(account)).of_submissions)
    for run_id in await account.do(parts.open_runs):
        with _noted(done):
            await _look_after(account, run_id, start, done, announcer)
    with _noted(done):
        taken = {name.partition(" ")[0] for name in done.taken_up}
        done.settled += len(await collect_dead_runs(account, leave=taken))
    done.unknown = len(await account.do(queries.open_jobs, states={State.UNKNOWN}))
    done.frozen = [str(each.ref) for each in await account.do(admission.balances) if each.frozen]
    if not done.is_quiet:
        logger.info("keeper: %s", done.document())
    return done


def _sign_in(ledger: Ledger) -> None:
    """Leave a trace of this round, by which `callsheet doctor` knows that a keeper is alive."""
    with suppress(Busy), ledger.claim(KEEPER):
        pass


@contextmanager
def _noted(done: Round) -> Iterator[None]:
    """Let one run that cannot be looked after keep no other one back: what goes wrong is said."""
    try:
        yield
    except CallsheetError as error:
        done.problems.append(str(error))
    except Exception as error:  # an object store's own, a disk that is away: the others are looked after
        logger.warning("a part of the keeper's round failed: %r", error, exc_info=True)
        done.problems.append(f"{type(error).__name__}: {error}"[:500])


def _discard_unopened(ledger: Ledger, done: Round) -> None:
    """Close the runs whose opening a dead process left behind. Nothing of them was bought."""
    for run_id in ledger.do(runs.being_opened):
        with suppress(Busy), ledger.claim(run_id):
            ledger.do(runs.discard, run_id)
            done.discarded.append(run_id)


async def _look_after(
    account: AccountSession, run_id: str, start: Start, done: Round, announcer: Callable[[], Announcer]
) -> None:
    work = await account.do(parts.work, run_id)
    if not any(each.has_work for each in work):
        tally = await account.do(queries.tally, run_id)
        if tally.finished == tally.jobs and await finalize_run(account, run_id, announcer=announcer()):
            done.finalized.append(run_id)
        return
    run = await account.do(queries.run, run_id)
    if await _has_an_owner(account, run, work, done):
        return
    for each in await start_parts(account.do, work, start, IN_FLIGHT):
        done.taken_up.append(f"{run_id} {each.part}".rstrip())


async def _has_an_owner(account: AccountSession, run: Run, work: Sequence[PartWork], done: Round) -> bool:
    """Whether a living process begins the run, or may still begin it, or starts its shards."""
    if any(each.range for each in work):
        return await account.do(parts.has_coordinator, run.run_id)
    until_ms = (run.opened_ms or run.created_ms) + BEGIN_WITHIN_MS
    if account.now_ms() >= until_ms or await account.do(queries.has_bought, run.run_id):
        return False
    if not any(each.is_taken for each in work):
        done.waiting[run.run_id] = iso_utc(until_ms)
    return True


AT_ONCE = 3
"""Runs and parts that a keeper without Prefect renders at the same time, each with an account of its own."""


class RendersHere:
    """Starts parts as tasks of this process: the keeper without Prefect.

    `stop` ends all of them. What stops one of them stops neither the others nor the keeper.
    """

    def __init__(self, *, sandbox: bool, stop: StopSignal) -> None:
        self._sandbox = sandbox
        self._stop = stop
        self._running: set[asyncio.Task[None]] = set()
        self.problems: list[str] = []

    async def start(self, each: PartWork) -> None:
        """Start a task for a part. Raises CallsheetError where it has to wait."""
        if len(self._running) >= AT_ONCE:
            raise Busy(f"{AT_ONCE} are rendered already; {each.run_id} {each.part} waits")
        if not each.part:
            request = await asyncio.to_thread(request_to_go_on, each.run_id, sandbox=self._sandbox)
            if request.approve_above_usd is not None:
                raise Busy(f"run {each.run_id} waits for a person's approval in Prefect")
        task = asyncio.create_task(self._carried_out(each))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _carried_out(self, each: PartWork) -> None:
        try:
            async with stop_under(self._stop) as stop:
                await carry_out_part(each.run_id, each.part, sandbox=self._sandbox, stop=stop)
        except Exception as error:  # no caller awaits this task, so the error would be lost
            logger.warning("%s %s: %r", each.run_id, each.part, error, exc_info=True)
            self.problems.append(f"{each.run_id} {each.part}: {error}")

    async def ended(self) -> None:
        """Return when nothing that was started is under way."""
        while self._running:
            await asyncio.wait(set(self._running))
