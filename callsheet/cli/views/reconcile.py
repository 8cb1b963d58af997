"""What `reconcile` found, on the terminal."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from callsheet.cli.output import result, say, show_line, show_table
from callsheet.provider.platform_messages import iso
from callsheet.reconcile.billing import Bills
from callsheet.reconcile.findings import Finding, Findings
from pricing.money import usd_text

COLUMNS = ("outcome", "job", "run", "custom_id", "request")


def show_findings(findings: Findings) -> None:
    """Print one line per submission with its reason below, and what to do next."""
    if not findings.each:
        result("no open or unknown submissions")
    else:
        show_table(COLUMNS, map(_cells, findings.each), below=[_below(each) for each in findings.each])
        show_line(findings.in_words())
    if findings.again_ms is not None:
        when = _local(findings.again_ms)
        show_line(
            f"Run `callsheet reconcile` again soon to find late requests; from {when} on it can also decide "
            "about those that never arrived."
        )
    for run_id in findings.busy:
        show_line(f"Run {run_id} is in use by another process and was skipped.")
    for run_id in sorted({each.run_id for each in findings.by("absent")}):
        show_line(f"`callsheet resume {run_id}` buys the jobs that never arrived.")


def show_bills(bills: Bills) -> None:
    """Print bills that differ from the ledger, and what only one side has."""
    if bills.not_read:
        show_line(f"bills were not compared: {bills.not_read}")
        return
    for line in _bill_lines(bills):
        show_line(line)
    show_line(
        f"bills: {bills.agreed} agree, {len(bills.corrected)} corrected, {len(bills.strangers)} not in this "
        f"ledger, {len(bills.unbilled)} not billed"
    )


def _bill_lines(bills: Bills) -> Iterator[str]:
    for each in bills.corrected:
        booked, billed = usd_text(each.purchase.cost_nano or 0), usd_text(each.cost_nano)
        whose = f"{each.purchase.custom_id} ({each.purchase.request_id})"
        yield f"corrected: {whose}: booked ${booked}, billed ${billed}"
        if each.overrun_nano:
            over = usd_text(each.overrun_nano)
            say(
                f"{each.purchase.custom_id} cost ${over} more than its hold: its accounts are frozen. "
                "Check the bill, then run `callsheet budget unfreeze`"
            )
    for stranger in bills.strangers:
        cost = usd_text(stranger.cost_nano)
        yield f"billed, but not in this ledger: {stranger.request_id} ({stranger.endpoint}) ${cost}"
    for purchase in bills.unbilled:
        booked = usd_text(purchase.cost_nano or 0)
        yield f"booked, but not billed so far: {purchase.custom_id} ({purchase.request_id}) ${booked}"


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
