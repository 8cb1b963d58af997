"""What is told: one message for each thing that happens, short, with counts and money. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from callsheet.ledger.accounts import Account
from callsheet.notify.to_do import to_do
from callsheet.wording import command, number_of
from manifests.job import label
from pricing.money import usd_rounded_up, usd_text

LEVELS = (50, 80, 90, 100)
"""Percentages of a cap that are told, each once for a cap of that height."""

MOST_CAPS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One thing that happened.

    `event` is its name, such as `budget.80`. `key` is what makes it the same message: it is told once per
    key. `facts` are for programs; amounts are decimal strings in USD. `to_people` is False for what Prefect's
    automations may want and nobody needs to read.
    """

    event: str
    key: str
    title: str
    text: str
    facts: Mapping[str, Any] = field(default_factory=dict)
    to_people: bool = True


def counted(statuses: Mapping[str, int]) -> str:
    """Say how many jobs are in each state: `11 succeeded, 1 already made`."""
    words = {"skipped_budget": "skipped"}
    told = (f"{n} {words.get(name, name.replace('_', ' '))}" for name, n in statuses.items() if n)
    return ", ".join(told) or "no jobs"


def finished(summary: Mapping[str, Any], caps: Sequence[Account]) -> Message:
    """Tell how a run ended: counts, money against caps, what needs a person, where the report is.

    `caps` are the accounts with a limit that the run counts in. A run that goes on later and ends in another
    way is told again.
    """
    counts = counted(summary["statuses"])
    code = summary["exit_code"]
    outcome = "finished" if code == 0 else "needs you"
    rehearsal = " (sandbox)" if summary["sandbox"] else ""
    report = f"{summary.get('published') or summary['dir']}/report.html"
    stopped_by = summary.get("stopped_by")
    lines = [
        f"Cost: ${summary['actual_usd']}, expected ${summary['expected_usd']}.",
        *(f"{used(each)}." for each in caps[:MOST_CAPS]),
        *([f"To do: it stopped: {stopped_by}"[:500]] if stopped_by else []),
        *(f"To do: {line}" for line in (to_do(summary) if code else ())),
        f"Report: {report}",
    ]
    return Message(
        event="run.finished",
        key=f"run.finished {summary['run_id']} {code} {counts} {summary['actual_usd']}",
        title=f"{summary['campaign']}{rehearsal} {outcome}: {counts}",
        text="\n".join(lines),
        facts={
            "run": summary["run_id"],
            "campaign": summary["campaign"],
            "sandbox": summary["sandbox"],
            "exit_code": code,
            "statuses": {name: count for name, count in summary["statuses"].items() if count},
            "expected_usd": summary["expected_usd"],
            "actual_usd": summary["actual_usd"],
            "report": report,
        },
    )


def budget(
    account: Account, level: int, *, campaign: str, run_id: str, is_highest: bool, why: str = ""
) -> Message:
    """Tell that a share of a cap is spent or reserved. `level` is in percent."""
    limit_nano = account.limit_nano or 0
    return Message(
        event=f"budget.{level}",
        key=f"budget.{level} {account.ref.scope} {account.ref.key} {account.ref.window} {limit_nano}",
        title=f"{campaign}: {level} % of the cap of {account.ref}",
        text="\n".join([f"{used(account)}, spent or reserved.", *([why] if why else []), f"Run: {run_id}"]),
        facts={
            "run": run_id,
            "campaign": campaign,
            "account": str(account.ref),
            "taken_usd": usd_text(account.taken_nano),
            "cap_usd": usd_text(limit_nano),
        },
        to_people=is_highest,
    )


def frozen(account: Account, *, campaign: str, run_id: str, sandbox: bool = False) -> Message:
    """Tell that nothing more is bought from an account because of a bill above its hold."""
    names, release = (command("budget", verb, sandbox=sandbox) for verb in ("list", "unfreeze"))
    return Message(
        event="account.frozen",
        key=f"account.frozen {account.ref.scope} {account.ref.key} {account.ref.window} {account.over_nano}",
        title=f"{campaign}: {account.ref} is frozen",
        text="A bill came out above what was held for it. Nothing more is bought until a person has looked:\n"
        f"`{names}` names the bill, `{release}` goes on.\nRun: {run_id}",
        facts={
            "run": run_id,
            "campaign": campaign,
            "account": str(account.ref),
            "over_usd": usd_text(account.over_nano),
        },
    )


def unknown(custom_id: str, attempt: int, *, campaign: str, run_id: str, sandbox: bool = False) -> Message:
    """Tell that it is not known whether fal accepted a submission. The end of the run tells people."""
    return Message(
        event="submission.unknown",
        key=f"submission.unknown {run_id} {custom_id} {attempt}",
        title=f"{campaign}: {custom_id} is unknown",
        text=f"`{command('reconcile', sandbox=sandbox)}` settles it.\nRun: {run_id}",
        facts={"run": run_id, "campaign": campaign, "custom_id": custom_id, "attempt": attempt},
        to_people=False,
    )


def unclaimed(custom_id: str, row: int, said: str, *, key: str, campaign: str, run_id: str) -> Message:
    """Tell of a request at fal that no job claims: its attempt was given up, and fal may have billed it."""
    return Message(
        event="submission.unclaimed",
        key=key,
        title=f"{campaign}: fal has a request for {label(custom_id, row)} that was given up",
        text=f"{said}\nThe ledger has no bill of it: compare it with fal's dashboard.\nRun: {run_id}",
        facts={"run": run_id, "campaign": campaign, "custom_id": custom_id},
    )


def approval(*, campaign: str, run_id: str, jobs: int, most_nano: int, within_s: int, url: str) -> Message:
    """Tell that a run waits for a person's approval, and where it is given."""
    most = usd_rounded_up(most_nano)
    return Message(
        event="approval.wanted",
        key=f"approval.wanted {run_id} {jobs} {most_nano}",
        title=f"{campaign}: approve {number_of(jobs, 'video')} for at most {most}",
        text=f"Answer within {within_s} s in Prefect: {url or 'the flow run is paused there'}\nRun: {run_id}",
        facts={"run": run_id, "campaign": campaign, "jobs": jobs, "maximum_usd": usd_text(most_nano)},
    )


def refused(campaign: str, why: str, *, at_ms: int) -> Message:
    """Tell that a scheduled run did not start or broke off at that moment (Unix ms)."""
    return Message(
        event="run.refused",
        key=f"run.refused {campaign} {at_ms}",
        title=f"{campaign} did not run",
        text=why[:2000],
        facts={"campaign": campaign, "error": why[:2000]},
    )


def trial(*, at_ms: int) -> Message:
    """Return the message of `callsheet notify --test`, sent at that moment (Unix ms)."""
    text = "This is a test of the notifications."
    return Message(event="test", key=f"test {at_ms}", title="Callsheet", text=text)


def used(account: Account) -> str:
    """Say how much of a cap is taken: `$38.20 of $40.00 (campaign spring in 2026-11-29)`."""
    taken, limit = (usd_rounded_up(nano, 2) for nano in (account.taken_nano, account.limit_nano or 0))
    return f"{taken} of {limit} ({account.ref})"


def crossed(account: Account) -> list[int]:
    """Return the levels that what is taken of a cap has reached, in percent, ascending."""
    if not account.limit_nano:
        return []
    return [level for level in LEVELS if account.taken_nano * 100 >= account.limit_nano * level]
