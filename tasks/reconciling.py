"""Reconciling as Prefect shows it: two steps that cost nothing, so a retry is free, and a table."""

from __future__ import annotations

from typing import Any

from prefect import task
from prefect.artifacts import acreate_table_artifact
from prefect.cache_policies import NO_CACHE

from callsheet.engine.desk import current_desk
from callsheet.engine.reclaim import settle_and_collect
from callsheet.reconcile.billing import compare_bills


@task(name="settle submissions", retries=2, retry_delay_seconds=30, cache_policy=NO_CACHE)
async def settle_submissions() -> dict[str, Any]:
    """Settle what is unknown and fetch what has ended."""
    return (await settle_and_collect(current_desk.get())).document()


@task(name="compare bills", retries=2, retry_delay_seconds=30, cache_policy=NO_CACHE)
async def compare_with_bills(days: int) -> dict[str, Any]:
    """Book what fal really charged, and name what only one of the two knows."""
    return (await compare_bills(current_desk.get(), days=days)).document()


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
