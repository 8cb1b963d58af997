"""Looking after a ledger as Prefect shows it: the keeper's round, and reconciling with fal's records.

Reconciling is two steps that cost nothing, so a retry is free, and a table.
"""

from __future__ import annotations

from typing import Any

from prefect import task
from prefect.artifacts import acreate_table_artifact
from prefect.cache_policies import NO_CACHE
from prefect.runtime import flow_run

from callsheet.engine.collect_runs import settle_and_collect
from callsheet.engine.context import current_run, open_account
from callsheet.engine.keeper import keep
from callsheet.engine.request import RunRequest, settings_for
from callsheet.notify.sending import Announcer
from callsheet.reconciliation.billing import compare_bills
from tasks.flow_run import event_sender
from tasks.shards import starter


@task(name="look after the ledger", retries=0, cache_policy=NO_CACHE, persist_result=False)
async def look_after(pool: str, *, sandbox: bool) -> dict[str, Any]:
    """Do one round of the keeper, which starts shards in a work pool."""
    current_run.set(None)
    async with open_account(settings_for(RunRequest(sandbox=sandbox))) as account:
        done = await keep(account, starter(pool, sandbox=sandbox), _announcer)
    return done.document()


def _announcer() -> Announcer:
    """Return what tells the end of a run as its own flow run would: with Prefect's events."""
    return Announcer(listeners=[event_sender(str(flow_run.id))])


@task(name="settle submissions", retries=2, retry_delay_seconds=30, cache_policy=NO_CACHE)
async def settle_submissions(*, sandbox: bool) -> dict[str, Any]:
    """Settle what is unknown and fetch what has ended."""
    async with open_account(settings_for(RunRequest(sandbox=sandbox))) as account:
        return (await settle_and_collect(account)).document()


@task(name="compare bills", retries=2, retry_delay_seconds=30, cache_policy=NO_CACHE)
async def compare_with_bills(days: int, *, sandbox: bool) -> dict[str, Any]:
    """Book what fal really charged, and name what only one of the two knows."""
    async with open_account(settings_for(RunRequest(sandbox=sandbox))) as account:
        return (await compare_bills(account, days=days)).document()


async def publish_findings(findings: dict[str, Any], bills: dict[str, Any]) -> None:
    """Publish one table: a line per submission and per bill that says something."""
    lists = {name: each for name, each in {**findings, **bills}.items() if isinstance(each, list)}
    table = [
        {"what": name.replace("_", " "), **{key: str(value) for key, value in line.items()}}
        for name, lines in lists.items()
        for line in lines
        if isinstance(line, dict)
    ]
    await acreate_table_artifact(key="reconcile-ledger", table=table, description="Reconciled with fal")
