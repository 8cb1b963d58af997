"""Unfinished runs of a campaign: what they have in flight of a plan, and which commands go on with them.

None of it is bought by another run. Nothing is sent and nothing is claimed to find it out, except where a
refusal says whether somebody works on the run.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

from callsheet.engine.request import RunRequest
from callsheet.errors import InFlight
from callsheet.ledger import Ledger, Run, activity, queries, runs
from callsheet.reconciliation.account import claimed
from callsheet.wording import command
from manifests.diff import Changes
from manifests.plan import Plan
from pricing.budgets import Spend

RunState = Literal["running", "idle", "stopped"]

BEGIN_WITHIN_MS = 300_000
"""How long after its opening a run may be begun by the process that opened it, in milliseconds. Before that
nobody owns it, and nothing says that the process is dead."""


@dataclass(frozen=True, slots=True)
class UnfinishedRun:
    """An unfinished run of a plan's campaign, and what it means for the plan.

    `jobs` is how many jobs of the plan it has in flight, `held_nano` what it holds in all, `pending` what its
    jobs still need that hold nothing yet. A living process works on one that is `running`; nobody does on the
    others. `goes_on_first` says that the campaign's next run carries it out before it buys anything.
    """

    run_id: str
    state: RunState
    jobs: int
    held_nano: int
    pending: Sequence[Spend] = ()
    pending_jobs: int = 0
    goes_on_first: bool = False
    sandbox: bool = False

    @property
    def pending_nano(self) -> int:
        """The most that its jobs still need, in nano-dollars."""
        return sum(each.maximum_nano for each in self.pending)


def rows_in_flight(ledger: Ledger, plan: Plan, changes: Changes) -> dict[int, str]:
    """Return the positions of the jobs that a run of the campaign has in flight, each with that run.

    What was made already is not among them. `changes` is the plan beside what was made.
    """
    prints = {
        at: fingerprint for at, (fingerprint, _) in enumerate(plan.identities()) if at not in changes.made
    }
    there = ledger.do(runs.in_flight, plan.campaign, set(prints.values()))
    return {at: there[fingerprint] for at, fingerprint in prints.items() if fingerprint in there}


def unfinished_beside(ledger: Ledger, campaign: str, in_flight: Mapping[int, str]) -> list[UnfinishedRun]:
    """Return the unfinished runs that matter to a plan, oldest first.

    These are the ones with some of its jobs in flight, and those that go on before the campaign's next run.
    """
    counts = Counter(in_flight.values())
    there = {run.run_id: run for run in ledger.do(queries.unfinished, campaign)}
    # A request that turned up after its run had ended is in flight again, and the run is not.
    there |= {run_id: ledger.do(queries.run, run_id) for run_id in counts.keys() - there.keys()}
    found = []
    for run in sorted(there.values(), key=lambda run: (run.created_ms, run.run_id)):
        is_owned = ledger.do(activity.has_owner, run.run_id)
        first = run.closed_ms is None and goes_on_first(run, may_ask=False) and not is_owned
        if not (first or counts[run.run_id]):
            continue
        stopped: RunState = "idle" if run.stopping_ms is None else "stopped"
        pending = ledger.do(runs.pending, run.run_id)
        found.append(
            UnfinishedRun(
                run_id=run.run_id,
                state="running" if is_owned else stopped,
                jobs=counts[run.run_id],
                held_nano=ledger.do(queries.tally, run.run_id).held_nano,
                pending=[Spend(campaign, *owner, 0, total) for owner, (_, total) in pending.items()],
                pending_jobs=sum(jobs for jobs, _ in pending.values()),
                goes_on_first=first,
                sandbox=RunRequest.of(run).sandbox,
            )
        )
    return found


def goes_on_first(run: Run, *, may_ask: bool) -> bool:
    """Say whether an unfinished run that nobody works on is carried out before its campaign's next run.

    One that was stopped on purpose is not: a person goes on with it. Nor is one that waits for an approval,
    unless the next run may ask for one (`may_ask`).
    """
    if run.stopping_ms is not None or run.opened_ms is None:
        return False
    return may_ask or RunRequest.of(run).approve_above_usd is None


@contextmanager
def naming_commands(ledger: Ledger) -> Iterator[None]:
    """Let a refusal because of jobs in flight say with which commands that run goes on, or ends."""
    try:
        yield
    except InFlight as error:
        in_sandbox = RunRequest.of(ledger.do(queries.run, error.run_id)).sandbox
        verbs = ("status", "resume", "cancel")
        status, resume, cancel = (command(verb, error.run_id, sandbox=in_sandbox) for verb in verbs)
        with claimed(ledger, [error.run_id]) as idle:
            others = "is working on it" if error.run_id not in idle else "has just opened it"
            what = (
                f"Go on with it: `{resume}`"
                if error.run_id in idle and not may_be_begun(ledger, error.run_id)
                else f"Another process {others}: wait until it has ended (`{status}` shows how far "
                f"it is), and only if it ends before all is done: `{resume}`"
            )
        raise InFlight(
            f"{error}. {what}. To give it up, `{cancel}` ends what was not submitted yet. "
            "`--again` buys them a second time",
            run_id=error.run_id,
        ) from None


def may_be_begun(ledger: Ledger, run_id: str) -> bool:
    """Say whether the process that opened a run may still be about to begin it."""
    run = ledger.do(queries.run, run_id)
    until_ms = (run.opened_ms or run.created_ms) + BEGIN_WITHIN_MS
    is_new = run.is_going_on and ledger.do(queries.now_ms) < until_ms
    return is_new and not ledger.do(queries.has_bought, run_id)


def left_to(run_id: str, count: int, *, sandbox: bool) -> str:
    """Say that rows are left to an unfinished run, and which commands go on with it or end it."""
    resume, retry, cancel = (command(verb, run_id, sandbox=sandbox) for verb in ("resume", "retry", "cancel"))
    return (
        f"{count} of these are left to run {run_id}, which was not finished: `{resume}` goes on with it, "
        f"`{retry} --all` also tries again what failed, `{cancel}` gives up what was not sent"
    )
