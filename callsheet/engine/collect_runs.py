"""Reconciling a whole ledger: settle what is open, then fetch what has ended, run by run.

Nothing is bought here. Runs that a living process owns are left to it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

from callsheet.engine.admit import TURNED_UP
from callsheet.engine.context import RunContext, context_of
from callsheet.engine.finalize import finalize
from callsheet.engine.job import render_job
from callsheet.engine.paid_results import HISTORY_KEPT_MS, reopen_unfetched, unfetched_jobs
from callsheet.engine.request import RunRequest
from callsheet.engine.stopping import StopSignal
from callsheet.errors import Interrupted, TurnedUp
from callsheet.ledger import JobRow, State, admission, queries, recovery
from callsheet.reconciliation.account import AccountSession, claimed
from callsheet.reconciliation.findings import Finding, Findings, Outcome, finding
from callsheet.reconciliation.open_jobs import settle_ledger

AT_ONCE = 4
"""Files fetched at the same time, per run."""

FETCH_PAUSES_S = (0.5, 1.0)
"""Pauses between attempts to fetch a file, in seconds: `reconcile` does not wait for minutes."""


@dataclass(frozen=True, slots=True)
class PaidBefore:
    """Fingerprints of what a campaign has paid for and has no video of.

    What is `waiting` may still be had, or was perhaps bought (TurnedUp). What is `lost`, fal says that it no
    longer has.
    """

    waiting: frozenset[str] = frozenset()
    lost: frozenset[str] = frozenset()


async def settle_and_collect(account: AccountSession) -> Findings:
    """Settle the ledger against fal's records and fetch every file that is paid for."""
    unfetched = await unfetched_jobs(account)
    findings = await settle_ledger(account)
    rendered = await account.do(queries.open_jobs, states={State.RENDERED})
    runs = {row.run_id for row in (*rendered, *unfetched)}
    runs |= {each.run_id for each in findings.of_submissions}
    with claimed(account.ledger, runs) as mine:
        reopened = await reopen_unfetched(account, [row for row in unfetched if row.run_id in mine])
        rendered += [await account.do(queries.job, job_id) for job_id in sorted(reopened.found)]
        for run_id in sorted(mine):
            findings.take(await _collected(account, run_id, rendered))
    findings.busy = tuple(sorted(set(findings.busy) | (runs - mine)))
    return findings


async def collect_dead_runs(account: AccountSession, *, leave: Collection[str] = ()) -> list[Finding]:
    """Fetch what has been rendered for runs whose process died, except those in `leave`.

    A run whose folder cannot be reached from this machine keeps its jobs `rendered`.
    """
    rendered = [
        row
        for row in await account.do(queries.open_jobs, states={State.RENDERED})
        if account.speaks_for(row.submission)
    ]
    runs = {row.run_id for row in rendered} - set(leave)
    found: list[Finding] = []
    with claimed(account.ledger, runs) as mine:
        for run_id in sorted(mine):
            found += await _collected(account, run_id, rendered)
    return found


async def collect_campaign(account: AccountSession, campaign: str) -> PaidBefore:
    """Fetch what a campaign has paid for and not fetched yet, before anything new is bought.

    Returns what could not be fetched. What is `waiting` must not be bought again.
    """
    turned_up = await _turned_up(account, campaign)
    before = await _paid_and_not_fetched(account, campaign)
    if not before:
        return PaidBefore(waiting=turned_up)
    with claimed(account.ledger, {row.run_id for row in before}) as mine:
        failed = [row for row in before if row.run_id in mine and row.state is State.FAILED]
        reopened = await reopen_unfetched(account, failed)
        rendered = [
            row
            for row in before
            if row.run_id in mine and (row.state is State.RENDERED or row.job_id in reopened.found)
        ]
        for run_id in sorted({row.run_id for row in rendered}):
            await _collected(account, run_id, rendered)
    after = await _paid_and_not_fetched(account, campaign)
    gone = {row.job_id for row in failed} - reopened.found - reopened.unsure.keys()
    return PaidBefore(
        waiting=turned_up.union(row.fingerprint for row in after if row.job_id not in gone),
        lost=frozenset(row.fingerprint for row in after if row.job_id in gone),
    )


async def _paid_and_not_fetched(account: AccountSession, campaign: str) -> list[JobRow]:
    """Return the jobs of a campaign that fal may have a video of that was never fetched."""
    rendered = await account.do(queries.open_jobs, states={State.RENDERED})
    ours = await account.do(queries.runs_of, campaign)
    return [row for row in (*rendered, *await unfetched_jobs(account)) if row.run_id in ours]


async def _turned_up(account: AccountSession, campaign: str) -> frozenset[str]:
    """Return the fingerprints of a campaign's jobs that are not bought again unasked, because of TurnedUp."""
    ours = await account.do(queries.runs_of, campaign)
    orphans = await account.do(recovery.orphans, since_ms=account.now_ms() - HISTORY_KEPT_MS)
    rows = [await account.do(queries.job, job_id) for job_id, _, _ in orphans]
    return frozenset(
        [row.fingerprint for row in rows if row.run_id in ours and await _has_turned_up(account, row)]
    )


async def _has_turned_up(account: AccountSession, row: JobRow) -> bool:
    """Say whether a job has failed because of TurnedUp, or would now."""
    if row.error_type == TURNED_UP:
        return True
    try:
        await account.do(admission.refuse_turned_up, row.job_id)
    except TurnedUp:
        return True
    return False


async def _collected(account: AccountSession, run_id: str, of_all: Iterable[JobRow]) -> list[Finding]:
    """Fetch the files of those jobs that are the run's, and write its results again."""
    run = await account.do(queries.run, run_id)
    rows = [row for row in of_all if row.run_id == run_id]
    if not await asyncio.to_thread(Path(run.out).is_dir):  # on another machine, or taken away
        return [finding("rendered", row, f"the folder {run.out} cannot be reached here") for row in rows]
    stop = StopSignal()
    stop.drain(Interrupted("reconciling buys nothing"))
    ctx = context_of(account, run, RunRequest.of(run), stop)
    ctx.state.fetch_pauses_s = FETCH_PAUSES_S
    gate = asyncio.Semaphore(AT_ONCE)

    async def one(row: JobRow) -> Finding:
        async with gate:
            try:
                return _outcome(ctx, await render_job(ctx, row.job_id))
            except Exception as error:  # noqa: BLE001 -- one file must not keep the others back
                return finding("rendered", row, f"{type(error).__name__}: {error}"[:500])

    ended = await asyncio.gather(*(one(row) for row in rows))
    await finalize(ctx)
    return list(ended)


_OUTCOMES: dict[State, Outcome] = {State.SUCCEEDED: "collected", State.FAILED: "failed"}


def _outcome(ctx: RunContext, row: JobRow) -> Finding:
    request = (row.ticket.request_id,) if row.ticket else ()
    outcome = _OUTCOMES.get(row.state, "rendered")
    if row.error_type == "result_lost":
        outcome = "lost"
    why = row.error or (row.output.path if row.output else "; ".join(ctx.state.unfinished[-1:]))
    return finding(outcome, row, why, request_ids=request)
