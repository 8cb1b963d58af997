"""Reconciling as Prefect shows it: two steps that cost nothing, so a retry is free, and a table."""

from __future__ import annotations

from typing import Any

from prefect import task
from prefect.artifacts import acreate_table_artifact
from prefect.cache_policies import NO_CACHE

from callsheet.engine.collect_runs import settle_and_collect
from callsheet.engine.context import open_account
from callsheet.engine.request import RunRequest, settings_for
from callsheet.reconcile.billing import compare_bills


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
