"""`callsheet reconcile`: settle what is open or unknown, and say what was found."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Annotated

from cyclopts import Parameter

from callsheet.cli.options import Json, Sandbox, option, run_settings
from callsheet.cli.output import document, first_of, result, say, show_line, show_table
from callsheet.engine.collect_runs import settle_and_collect
from callsheet.engine.context import open_account
from callsheet.engine.finalize import EXIT_FAILED_JOBS, EXIT_UNKNOWN
from callsheet.engine.request import RunRequest, settings_for
from callsheet.errors import UsageError
from callsheet.ledger import Ledger, State, queries
from callsheet.provider.platform_messages import iso
from callsheet.reconciliation import decisions
from callsheet.reconciliation.billing import MAX_DAYS, Bills, compare_bills
from callsheet.reconciliation.decisions import adopt as adopt_request
from callsheet.reconciliation.findings import Finding, Findings
from callsheet.settings import Settings
from callsheet.wording import command
from pricing.money import usd_text

NAMED = 20
"""How many bills of each kind are named; there may be one for each request of three months."""

MORE = "; --json lists them all"

COLUMNS = ("outcome", "job", "run", "custom_id", "request")

AssumeSpent = Annotated[
    str | None, Parameter(help="Book the hold of this unknown job (number or custom_id) as spent")
]
Resubmit = Annotated[
    str | None, Parameter(help="Release the hold of this unknown job, so that it can be bought again")
]
Adopt = Annotated[
    tuple[str, str] | None,
    Parameter(
        negative=(),
        help="JOB REQUEST_ID: assign this request of fal's to this unknown job (number or custom_id)",
    ),
]
Reason = Annotated[str, Parameter(help="The reason for a decision; kept in the ledger with your user name")]
Days = Annotated[int, option("RECONCILE_DAYS", f"Days of bills to compare, 1-{MAX_DAYS}")]


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
    made = sum(decision is not None for decision in (assume_spent, resubmit, adopt))
    if made > 1:
        raise UsageError("--adopt, --assume-spent and --resubmit exclude each other; give one at a time")
    if reason and not made:
        raise UsageError("--reason goes with --adopt, --assume-spent or --resubmit; nothing was decided")
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
        show_findings(findings, sandbox=sandbox)
        if bills:
            show_bills(bills, sandbox=sandbox)
    return exit_code(findings, bills)


def exit_code(findings: Findings, bills: Bills | None) -> int:
    """Return 7 while anything is undecided, 4 where a file was not fetched or a bill not booked, else 0."""
    if findings.undecided:
        return EXIT_UNKNOWN
    return EXIT_FAILED_JOBS if findings.by("rendered") or (bills and bills.refused) else 0


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


def show_findings(findings: Findings, *, sandbox: bool) -> None:
    """Print one line per submission with its reason below, and what to do next."""
    if not findings.each:
        result("no open or unknown submissions")
    else:
        show_table(COLUMNS, map(_cells, findings.each), below=[_below(each) for each in findings.each])
        show_line(findings.in_words())
    if findings.again_ms is not None:
        when = _local(findings.again_ms)
        again = command("reconcile", sandbox=sandbox)
        show_line(
            f"Run `{again}` again soon to find late requests; from {when} on it can also decide "
            "about those that never arrived."
        )
    for run_id in findings.busy:
        show_line(f"Run {run_id} is in use by another process and was skipped.")
    for run_id in sorted({each.run_id for each in findings.by("absent")}):
        show_line(f"`{command('resume', run_id, sandbox=sandbox)}` buys the jobs that never arrived.")


def show_bills(bills: Bills, *, sandbox: bool) -> None:
    """Print bills that differ from the ledger, and what only one side has."""
    if bills.not_read:
        show_line(f"bills were not compared: {bills.not_read}")
        return
    for line in _bill_lines(bills, sandbox=sandbox):
        show_line(line)
    show_line(
        f"bills: {bills.agreed} agree, {len(bills.corrected)} corrected, {len(bills.refused)} not booked, "
        f"{len(bills.strangers)} not in this ledger, {len(bills.unbilled)} not billed"
    )


def _bill_lines(bills: Bills, *, sandbox: bool) -> Iterator[str]:
    yield from _first_named(
        "corrected",
        [
            f"{each.purchase.label} ({each.purchase.request_id}): booked "
            f"${usd_text(each.purchase.cost_nano or 0)}, billed ${usd_text(each.cost_nano)}"
            for each in bills.corrected
        ],
    )
    for each in bills.corrected:
        if each.overrun_nano:
            over = usd_text(each.overrun_nano)
            say(
                f"{each.purchase.label} cost ${over} more than its hold: its accounts are frozen. "
                f"Check the bill, then run `{command('budget', 'unfreeze', sandbox=sandbox)}`"
            )
    for refused in bills.refused[:NAMED]:
        say(refused.in_words())
    if len(bills.refused) > NAMED:
        yield f"billed, but not booked: and {len(bills.refused) - NAMED:,} more{MORE}"
    yield from _first_named(
        "billed, but not in this ledger",
        [f"{each.request_id} ({each.endpoint}) ${usd_text(each.cost_nano)}" for each in bills.strangers],
    )
    yield from _first_named(
        "booked, but not billed so far",
        [f"{each.label} ({each.request_id}) ${usd_text(each.cost_nano or 0)}" for each in bills.unbilled],
    )


def _first_named(what: str, lines: Sequence[str]) -> Iterator[str]:
    return first_of(what, lines, len(lines), most=NAMED, where=MORE)


def _cells(each: Finding) -> tuple[str, ...]:
    return each.outcome, str(each.job_id), each.run_id, each.custom_id, ", ".join(each.request_ids)


def _below(each: Finding) -> str:
    until = (
        "" if each.again_ms is None else f"; if it does not appear, check again from {_local(each.again_ms)}"
    )
    found = "found in fal's records; " if each.was_found and each.outcome != "found" else ""
    return f"{found}{each.why}{until}"


def _local(moment_ms: int) -> str:
    local = datetime.fromtimestamp(moment_ms / 1000, UTC).astimezone()
    return f"{local:%Y-%m-%d %H:%M} ({iso(moment_ms)})"
