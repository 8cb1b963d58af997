"""`callsheet reconcile`."""

from __future__ import annotations

import asyncio
from typing import Annotated

from cyclopts import Parameter

from callsheet.cli.options import Json, Sandbox
from callsheet.cli.output import document
from callsheet.cli.runs import run_settings
from callsheet.cli.views.reconcile import show_bills, show_findings
from callsheet.engine.collect_runs import settle_and_collect
from callsheet.engine.context import open_account
from callsheet.engine.finalize import EXIT_FAILED_JOBS, EXIT_UNKNOWN
from callsheet.engine.request import RunRequest, settings_for
from callsheet.errors import UsageError
from callsheet.ledger import Ledger, State, queries
from callsheet.reconcile import decisions
from callsheet.reconcile.billing import MAX_DAYS, Bills, compare_bills
from callsheet.reconcile.decisions import adopt as adopt_request
from callsheet.reconcile.findings import Findings
from callsheet.settings import Settings

AssumeSpent = Annotated[
    str | None,
    Parameter(name="--assume-spent", help="Book the hold of this unknown job (number or custom_id) as spent"),
]
Resubmit = Annotated[
    str | None,
    Parameter(name="--resubmit", help="Release the hold of this unknown job, so that it can be bought again"),
]
Adopt = Annotated[
    tuple[str, str] | None,
    Parameter(
        name="--adopt",
        negative=(),
        help="JOB REQUEST_ID: assign this request of fal's to this unknown job (number or custom_id)",
    ),
]
Reason = Annotated[
    str, Parameter(name="--reason", help="The reason for a decision; kept in the ledger with your user name")
]
Days = Annotated[
    int,
    Parameter(
        name="--days", env_var="CALLSHEET_RECONCILE_DAYS", help=f"Days of bills to compare, 1-{MAX_DAYS}"
    ),
]


def reconcile(
    *,
    assume_spent: AssumeSpent = None,
    resubmit: Resubmit = None,
    adopt: Adopt = None,
    reason: Reason = "",
    days: Days = 30,
    sandbox: Sandbox = False,
    json: Json = False,
) -> int:
    """Settle every open or unknown submission against fal's records, and compare the bills.

    Requests that are found are followed and their files downloaded. The
    money of those that provably never arrived is released. The rest stay
    unknown, and the exit code is 7; the output says when to check again.
    You can decide with --adopt, --assume-spent or --resubmit, each with a
    --reason. Comparing bills needs an admin key (FAL_ADMIN_KEY).

    Example: callsheet reconcile

    Example: callsheet reconcile --assume-spent 17 --reason "seen in fal's dashboard"

    Example: callsheet reconcile --adopt 17 764cabcf-b745-4b3e-ae38-1200304cf45b --reason "the seed is ours"
    """
    if not 1 <= days <= MAX_DAYS:
        raise UsageError(f"--days is {days}; use 1 to {MAX_DAYS}")
    if sum(decision is not None for decision in (assume_spent, resubmit, adopt)) > 1:
        raise UsageError("--adopt, --assume-spent and --resubmit exclude each other; give one at a time")
    if assume_spent is not None or resubmit is not None:
        findings = _decided(run_settings(sandbox=sandbox), assume_spent, resubmit, reason)
        bills = None
    else:
        findings, bills = asyncio.run(
            _looked_up(settings_for(RunRequest(sandbox=sandbox)), days, adopt, reason)
        )
    if json:
        document({**findings.document(), **(bills.document() if bills else {})})
    else:
        show_findings(findings)
        if bills:
            show_bills(bills)
    if findings.undecided:
        return EXIT_UNKNOWN
    return EXIT_FAILED_JOBS if findings.by("rendered") else 0


def _decided(settings: Settings, spent: str | None, again: str | None, reason: str) -> Findings:
    """Record a person's decision. It needs neither fal nor a key."""
    with Ledger.open(settings.ledger) as ledger:
        decide = decisions.resubmit if spent is None else decisions.assume_spent
        decided = decide(ledger, spent or again or "", reason=reason)
        left = ledger.do(queries.open_jobs, states={State.UNKNOWN})
    return Findings([decided], unknown_elsewhere=len(left))


async def _looked_up(
    settings: Settings, days: int, adopted: tuple[str, str] | None, reason: str
) -> tuple[Findings, Bills]:
    async with open_account(settings) as account:
        findings = Findings()
        if adopted is not None:
            findings.take([await adopt_request(account, *adopted, reason=reason)])
        looked_up = await settle_and_collect(account)
        findings.take(looked_up.each)
        findings.busy, findings.unknown_elsewhere = looked_up.busy, looked_up.unknown_elsewhere
        return findings, await compare_bills(account, days=days)
