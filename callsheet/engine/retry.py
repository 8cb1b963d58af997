"""Trying again: what failed and may succeed, was left out, or was cancelled. Each attempt is a new purchase.

What fal still has of an earlier attempt is fetched for free, and what another run has made since is used.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from callsheet.engine.context import open_account
from callsheet.engine.in_flight import naming_commands
from callsheet.engine.made_files import absent_files, not_stored, refetch_gone
from callsheet.engine.paid_results import NOT_FETCHED, reopen_unfetched, unfetched_jobs
from callsheet.ledger import JobRow, Ledger, Run, State, queries, recovery
from callsheet.reconciliation.account import AccountSession
from callsheet.report.error_table import worth_trying
from callsheet.settings import Settings
from callsheet.wording import command

RETRIED = frozenset({State.FAILED, State.CANCELLED, State.SKIPPED_BUDGET})


@dataclass(frozen=True, slots=True)
class Retry:
    """What becomes of a run's jobs that ended without a video.

    `bought` are pending again; `reused` have the file of another run; `fetched` is the number of jobs whose
    video fal still has; `left_out` may be had without buying, each with what to do; `not_tried` stay as they
    are. `unsent` are the run's other jobs to buy, which are bought as well. `refetched` names files of other
    runs that were gone and were downloaded again, `gone` those that fal did not give again.
    """

    bought: list[JobRow] = field(default_factory=list)
    reused: list[JobRow] = field(default_factory=list)
    fetched: int = 0
    left_out: list[tuple[JobRow, str]] = field(default_factory=list)
    not_tried: list[JobRow] = field(default_factory=list)
    unsent: list[JobRow] = field(default_factory=list)
    refetched: tuple[str, ...] = ()
    gone: list[str] = field(default_factory=list)

    @property
    def ended(self) -> int:
        """How many jobs had ended without a video."""
        return len(self.bought) + len(self.reused) + self.fetched + len(self.left_out) + len(self.not_tried)

    @property
    def has_work(self) -> bool:
        """Whether there is something to do for the run."""
        return bool(self.bought or self.reused or self.fetched)


async def prepare_retry(settings: Settings, run: Run, *, all_failures: bool, again: bool) -> Retry:
    """Decide what is tried again and write it into the ledger. Nothing is sent to be rendered.

    `all_failures` also retries what will probably fail again; `again` also buys what another run has made or
    paid for and, with `all_failures`, what could be fetched. Raises Busy where a living process owns the run.
    """
    async with open_account(settings) as account:
        with account.ledger.claim(run.run_id):
            ended = await account.do(queries.jobs, run.run_id, states=RETRIED)
            asked = [] if all_failures and again else [row for row in ended if row.error_type in NOT_FETCHED]
            reopened = await reopen_unfetched(account, asked)
            ended = [row for row in ended if row.job_id not in reopened.found]
            why = {job_id: _unsure(said) for job_id, said in reopened.unsure.items()}
            if not again:
                why |= await _paid_elsewhere(account, run, ended)
            left_out = [(row, why[row.job_id]) for row in ended if row.job_id in why]
            left = [row for row in ended if row.job_id not in why]
            made = {} if again else await account.do.call(_made_since, run, left)
            back = await refetch_gone(account, made.values())
            absent = await account.do.call(absent_files, made.values())
            missing = {file.job_id: file.path for file in await asyncio.to_thread(not_stored, absent)}
            retry = Retry(fetched=len(reopened.found), left_out=left_out, refetched=back.again)
            retry.unsent.extend(
                await account.do(queries.jobs, run.run_id, states={State.PENDING, State.HELD})
            )
            await account.do.call(_write, run, left, missing, retry, all_failures=all_failures, again=again)
            return retry


def _unsure(said: str) -> str:
    return f"could not ask fal for its video ({said}); `--all --again` buys it again"


async def _paid_elsewhere(account: AccountSession, run: Run, rows: Sequence[JobRow]) -> dict[int, str]:
    """Say of these jobs, by id, which run of the campaign has paid for the same and not fetched it."""
    made = await account.do.call(_made_since, run, rows)
    wanted = {row.fingerprint for row in rows if not row.is_finish} - made.keys()
    others = await account.do(queries.runs_of, run.campaign) - {run.run_id}
    unfetched = [each for each in await unfetched_jobs(account) if each.run_id in others]
    payers = {each.fingerprint: each.run_id for each in unfetched if each.fingerprint in wanted}
    return {
        row.job_id: _paid_by(payers[row.fingerprint], in_sandbox=account.ledger.is_sandbox)
        for row in rows
        if row.fingerprint in payers
    }


def _paid_by(run_id: str, *, in_sandbox: bool) -> str:
    fetch = command("retry", run_id, sandbox=in_sandbox)
    return (
        f"run {run_id} has paid for it; `{fetch}` downloads it if fal still has it, `--again` buys it again"
    )


def _write(
    ledger: Ledger,
    run: Run,
    rows: list[JobRow],
    missing: Mapping[int, Path],
    retry: Retry,
    *,
    all_failures: bool,
    again: bool,
) -> None:
    """Put back what is tried again, and add to `retry` what becomes of each job."""
    ledger.discard_unopened(run.campaign)
    made = {} if again else _made_since(ledger, run, rows)
    gone = {content: row for content, row in made.items() if row.job_id in missing}
    retry.gone.extend(
        f"{row.label} was made and paid for, but its file is gone: {missing[row.job_id]}. It could "
        "not be downloaded again and is not bought again; put the file back, or buy it once more with --again"
        for row in gone.values()
    )
    tried = {
        row.job_id: row
        for row in rows
        if row.fingerprint not in gone and (all_failures or row.fingerprint in made or is_worth_trying(row))
    }
    with naming_commands(ledger):
        reused = ledger.do(recovery.retry, list(tried), why="retried by a person", once=not again)
    retry.bought.extend(row for row in tried.values() if row.job_id not in reused)
    retry.reused.extend(row for row in tried.values() if row.job_id in reused)
    retry.not_tried.extend(row for row in rows if row.job_id not in tried)


def _made_since(ledger: Ledger, run: Run, rows: Iterable[JobRow]) -> dict[str, JobRow]:
    """Return the jobs of the campaign that have made what these ended without, by fingerprint."""
    prints = {row.fingerprint for row in rows if not row.is_finish}
    return ledger.do(queries.already_made, run.campaign, prints)


def is_worth_trying(row: JobRow) -> bool:
    """Say whether a job that ended without a video is worth another purchase."""
    return row.state is not State.FAILED or worth_trying(row.error_type, row.charged, row.purchases)
