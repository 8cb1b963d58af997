"""`callsheet finish`."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Annotated

from cyclopts import Parameter

from callsheet.cli.commands.runs import refuse_busy
from callsheet.cli.options import (
    AcceptPrices,
    Fit,
    Json,
    Sandbox,
    Yes,
    budget_nano_of,
    keep_option,
    option,
    run_settings,
)
from callsheet.cli.output import ask, document, note, show_line
from callsheet.cli.session import run_to_its_end
from callsheet.cli.views.plan_view import cap_text, cost_text, name_left
from callsheet.engine.drafts import FinishPlan, order_finishes
from callsheet.engine.open_run import room_for
from callsheet.engine.request import settings_for
from callsheet.engine.run import continued, find_run
from callsheet.errors import UsageError
from callsheet.ledger import Ledger
from callsheet.report.rows import minute_utc
from callsheet.wording import number_of
from manifests.selection import read_kept
from pricing.budgets import Cap
from pricing.money import usd_rounded_up

NAMED = 20

RunWithDrafts = Annotated[str, Parameter(help="The id of a run that made drafts")]
Keep = Annotated[list[str], keep_option("The drafts to finish")]
RunBudget = Annotated[
    str | None,
    option(
        "BUDGET_USD", "Spend at most this much on the run, its drafts included", "--budget-usd", "--max-cost"
    ),
]


def finish(
    run_id: RunWithDrafts,
    *,
    keep: Keep,
    budget_usd: RunBudget = None,
    fit: Fit = False,
    accept_prices: AcceptPrices = False,
    sandbox: Sandbox = False,
    yes: Yes = False,
    json: Json = False,
) -> int:
    """Buy the full-size version of the drafts that you keep.

    It is the second purchase of the draft's job, under the same caps. The
    draft's file and bill stay. A draft can be finished for seven days.

    Example: callsheet finish spring-20261121-090000-a1b2 --keep selection.csv
    """
    budget_nano = budget_nano_of(budget_usd)
    run = find_run(run_settings(sandbox=sandbox), run_id)
    kept = read_kept(keep, option="--keep", drafts=True)
    refuse_busy(run_settings(sandbox=sandbox), run.run_id)
    request = continued(run, accept_prices=accept_prices).model_copy(update={"fit": fit})
    settings = settings_for(request)

    def review(ledger: Ledger, plan: FinishPlan) -> None:
        _review(ledger, plan, yes=yes, as_json=json)

    ordered = order_finishes(settings, run, kept, budget_nano=budget_nano, fit=fit, review=review)
    plan = asyncio.run(ordered)
    if not plan.finishes and run.closed_ms is not None:
        note(why_nothing(plan))
        if json:
            document({"run_id": run.run_id, "dir": run.out, "finishing": 0, "finished": list(plan.done)})
        return 0

    return run_to_its_end(request, settings, as_json=json)


def why_nothing(plan: FinishPlan) -> str:
    """Say why nothing is finished: all is finished already, or nothing fits what is left under the caps."""
    if not plan.left:
        return "nothing to finish"
    least = usd_rounded_up(min(each.price.maximum_nano for each in plan.left))
    return (
        f"nothing is finished: of {len(plan.left)} kept drafts none fits what is left under the caps, and "
        f"the cheapest needs up to {least}. Raise the cap, then run this command again"
    )


def _review(ledger: Ledger, plan: FinishPlan, *, yes: bool, as_json: bool) -> None:
    """Show what is about to be bought and ask for it. Raises UsageError without a yes."""
    if not as_json:
        _show_finishes(plan, room_for(ledger, plan))
    if plan.done:
        note(f"{len(plan.done)} finished, or being finished, already: {', '.join(plan.done[:NAMED])}")
    name_left(((each.draft.row.label, each.price.maximum_nano) for each in plan.left), len(plan.left))
    if not plan.finishes or yes:
        return
    most = usd_rounded_up(plan.maximum_nano)
    if not ask(f"Finish {number_of(len(plan.finishes), 'draft')} for at most {most}?"):
        raise UsageError("not confirmed, nothing was sent; add --yes to finish without confirmation")


def _show_finishes(plan: FinishPlan, room: Mapping[Cap, int]) -> None:
    """Print what finishing the kept drafts costs, the first deadline, and the headroom of every cap."""
    show_line(
        f"{plan.run.run_id}: finish {number_of(len(plan.finishes), 'draft')}, "
        f"{cost_text(plan.expected_nano, plan.maximum_nano)}"
    )
    if plan.finishes:
        show_line(f"the first can be finished until {minute_utc(plan.until_ms)}")
    for cap, left_nano in room.items():
        show_line(cap_text(cap, left_nano))
