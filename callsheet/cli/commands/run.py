"""`callsheet run`."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import asdict

from callsheet.cli.options import NOTHING_ASKED, Asked, Json, Out, Source, Yes, budget_nano_of
from callsheet.cli.output import ask, document, result, say, show_line
from callsheet.cli.session import run_to_its_end
from callsheet.cli.views.plan_advice import advice_lines
from callsheet.cli.views.plan_view import name_left, show_left, show_plan, show_warnings
from callsheet.engine.finalize import empty_summary
from callsheet.engine.in_flight import left_to, rows_in_flight
from callsheet.engine.open_run import (
    Selection,
    changed_caps,
    changes_of,
    frozen_accounts,
    room_for,
)
from callsheet.engine.request import RunRequest, settings_for
from callsheet.engine.run import open_plan, unfinished_runs
from callsheet.errors import OverBudget, UsageError
from callsheet.ledger import Ledger
from callsheet.settings import Settings, settings_from
from callsheet.wording import number_of
from manifests.diff import Changes
from manifests.plan import Plan
from manifests.planner import make_plan
from pricing.money import usd_rounded_up, usd_text


def run(
    source: Source,
    *,
    asked: Asked = NOTHING_ASKED,
    out: Out = None,
    yes: Yes = False,
    json: Json = False,
) -> int:
    """Show the plan, ask for confirmation, render, and download.

    Example: callsheet run shots.csv --budget-usd 25
    Try it first: callsheet run shots.csv --budget-usd 2 -n 3
    """
    budget_nano_of(asked.budget_usd)
    request = RunRequest(source=str(source), out=out, **asdict(asked))
    options = request.plan_options(settings_from(os.environ))
    return run_plan(make_plan(source, overrides=options), request, yes=yes, as_json=json)


def run_plan(plan: Plan, request: RunRequest, *, yes: bool, as_json: bool) -> int:
    """Show the plan, ask, open a run and carry it out."""
    request = request.at_plans_concurrency(plan.concurrency)
    if not plan.jobs and not unfinished_runs(request):
        return _nothing_to_do(plan, request, as_json=as_json)
    settings = settings_for(request)

    def review(ledger: Ledger, selection: Selection) -> None:
        _review(plan, ledger, selection, request, yes=yes, as_json=as_json)

    async def open_run() -> str:
        nonlocal plan
        try:
            run_id = await open_plan(plan, request, settings, review=review)
        except OverBudget:
            _advise(plan, request, settings)
            raise
        del plan  # the ledger has it now, and ten thousand jobs are 40 MB
        return run_id

    return run_to_its_end(request, settings, as_json=as_json, open_run=open_run)


def _review(
    plan: Plan, ledger: Ledger, selection: Selection, request: RunRequest, *, yes: bool, as_json: bool
) -> None:
    """Show what is about to be bought and ask for it. Raises UsageError without a yes."""
    if not as_json:
        show_plan(plan, selection.room)
        _show_selection(selection, sandbox=request.sandbox)
        show_warnings(plan)
    for old, new in changed_caps(ledger, plan):
        say(f"cap of {old.label}: {usd_text(old.limit_nano)} USD becomes {usd_text(new.limit_nano)}")
    left = (planned for _, planned in plan.picked(selection.left))
    name_left(((each.job.label, each.quote.maximum_nano) for each in left), len(selection.left))
    if selection.buy and not (yes or ask(question(plan, selection, accept_prices=request.accept_prices))):
        raise UsageError("not confirmed, nothing was sent; add --yes to run without confirmation")


def _show_selection(selection: Selection, *, sandbox: bool) -> None:
    made, changed = len(selection.changes.made), selection.changes.changed
    again = len([position for position in selection.buy if position in changed])
    note = f"   ~ {again} of them changed" if again else ""
    show_line(f"+ {len(selection.buy)} to buy{note}   = {made} already made, not bought again")
    if selection.lost:
        say(f"{number_of(len(selection.lost), 'video')} to buy again: paid for before, and gone at fal")
    if selection.waiting:
        say(f"{number_of(len(selection.waiting), 'video')} not bought again: paid for and not downloaded yet")
    for run_id, count in Counter(selection.elsewhere.values()).items():
        say(left_to(run_id, count, sandbox=sandbox))
    if selection.left:
        show_left(len(selection.left), selection.left_maximum_nano)


def _advise(plan: Plan, request: RunRequest, settings: Settings) -> None:
    """Say what would fit, where the plan does not."""
    with Ledger.open(settings.ledger) as ledger:
        if frozen_accounts(ledger, plan):
            return  # nothing fits until a person releases them
        changes = Changes()
        if not request.again:
            made = changes_of(ledger, plan)
            changes = made.beside(rows_in_flight(ledger, plan, made))
        for line in advice_lines(plan, changes, room_for(ledger, plan)):
            say(line)


def _nothing_to_do(plan: Plan, request: RunRequest, *, as_json: bool) -> int:
    """Say that the manifest has no rows and no dead run of the campaign left any, which is a success."""
    if as_json:
        document(empty_summary(plan, sandbox=request.sandbox))
    else:
        result(f"{plan.campaign}: no jobs, nothing to do")
    return 0


def question(plan: Plan, selection: Selection, *, accept_prices: bool) -> str:
    """Return the question that is answered before anything is bought: how many, and for how much at most."""
    most = plan.part(frozenset(selection.buy)).total.maximum_nano
    asked = f"Buy {number_of(len(selection.buy), 'video')} for at most {usd_rounded_up(most)}"
    if accept_prices:
        asked += " by the price book (fal's list counts instead, and may be higher)"
    retakes = sum(cap.limit_nano for cap in plan.caps if cap.scope == "retakes")
    if retakes:
        asked += f", and retakes for at most {usd_rounded_up(retakes)}"
    return f"{asked}?"
