"""Settling a ledger against fal's own records, for a schedule. The order of steps and nothing else."""

from __future__ import annotations

from typing import Any

from prefect import flow

from tasks.upkeep import compare_with_bills, publish_findings, settle_submissions


@flow(name="reconcile-ledger", persist_result=False)
async def reconcile_ledger(days: int = 30, *, sandbox: bool = False) -> dict[str, Any]:
    """Settle every open and unknown submission, fetch what is paid for, compare `days` of bills."""
    findings = await settle_submissions(sandbox=sandbox)
    bills = await compare_with_bills(days, sandbox=sandbox)
    await publish_findings(findings, bills)
    return {**findings, **bills}
