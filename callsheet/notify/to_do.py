"""What of a run needs a person, and the command for it: the end of a run and its message say the same."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from callsheet.ledger.states import SENT_TO_FAL, State
from callsheet.wording import command

NOT_SENT = frozenset({State.PENDING, State.HELD})
NOT_BOUGHT = NOT_SENT | {State.SKIPPED_BUDGET, State.ALREADY_MADE}


def to_do(summary: Mapping[str, Any]) -> list[str]:
    """Return a line for each kind of job that is not finished, from the summary of a run."""
    run, sandbox, statuses = summary["run_id"], summary["sandbox"], Counter(summary["statuses"])
    retry = _retry(summary)
    lines = _of_failures(summary, statuses["failed"], retry)
    if cancelled := statuses["cancelled"]:
        lines.append(f"{cancelled} cancelled; `{retry}` buys them")
    if unknown := statuses["unknown"]:
        reconcile = command("reconcile", sandbox=sandbox)
        lines.append(f"{unknown} unknown, their money is held; `{reconcile}` finds out whether fal has them")
    for there in summary.get("elsewhere", {}).values():  # their own runs go on with these
        statuses.subtract(there)
    statuses = +statuses
    resume = command("resume", run, sandbox=sandbox)
    if at_fal := sum(statuses[state] for state in SENT_TO_FAL):
        lines.append(f"{at_fal} at fal, which renders and charges for them; `{resume}` collects them")
    if rendered := statuses["rendered"]:
        lines.append(f"{rendered} rendered and paid for; `{resume}` downloads the files")
    if waiting := sum(statuses[state] for state in NOT_SENT):
        nothing = "nothing was bought; " if not statuses.keys() - NOT_BOUGHT else ""
        if summary.get("stop_kind") == "prices":
            resume = command("resume", run, "--accept-prices", sandbox=sandbox)
        lines.append(f"{nothing}{waiting} not sent; `{resume}` continues with them")
    if skipped := statuses["skipped_budget"]:
        lines.append(f"{skipped} {_why_skipped(summary)}, then `{retry}` buys them")
    return lines


def _of_failures(summary: Mapping[str, Any], failed: int, retry: str) -> list[str]:
    """Say what to do about failures; errors.csv leaves out those whose paid video fal may still have."""
    lines = []
    fetch = command("reconcile", sandbox=summary["sandbox"])
    for run, count in summary.get("fetchable", {}).items():
        buy = command("retry", run, "--all", "--again", sandbox=summary["sandbox"])
        lines.append(
            f"{count} failed, but paid for, so not in errors.csv; `{fetch}` downloads what fal still has for "
            f"free, `{buy}` buys again"
        )
        failed -= count
    if failed:
        only_all = summary.get("only_all_retries", False)
        again = _retry(summary, "--all") if only_all else retry
        why = " buys them as they are, which will probably fail again" * only_all
        errors = f"{summary['dir']}/errors.csv"
        lines.append(f"{failed} failed; fix the rows of {errors} and run that file, or `{again}`{why}")
    return lines


def _retry(summary: Mapping[str, Any], *options: str) -> str:
    """Return the command that retries a run; what was bought with --again is retried with it."""
    again = ["--again"] * summary.get("again", False)
    return command("retry", summary["run_id"], *options, *again, sandbox=summary["sandbox"])


def _why_skipped(summary: Mapping[str, Any]) -> str:
    """Say why money left jobs out and what is to be done before they are retried."""
    sandbox, kind = summary["sandbox"], summary.get("stop_kind")
    caps = command("budget", "list", sandbox=sandbox)
    if kind == "freeze":
        release = command("budget", "unfreeze", sandbox=sandbox)
        return (
            f"not sent, because accounts are frozen; check the bill (`{caps}` names it), release them with "
            f"`{release}`"
        )
    if kind == "run_cap":  # `budget list` leaves out the caps of runs
        raised = command("budget", "set", f"run:{summary['run_id']}", "AMOUNT", sandbox=sandbox)
        return f"over budget, not sent; raise the cap with `{raised}`"
    return f"over budget, not sent; raise the cap or wait until it has room (`{caps}`)"
