"""`callsheet run`."""

from __future__ import annotations

import os

from callsheet.cli.options import (
    AcceptPrices,
    Again,
    Budget,
    Canary,
    Concurrency,
    Fit,
    Json,
    Out,
    Sandbox,
    Source,
    Speed,
    Yes,
)
from callsheet.cli.output import ask, say
from callsheet.cli.running import own_server_for, run_flow
from callsheet.cli.views.advice import advice_lines
from callsheet.cli.views.plan import show_plan
from callsheet.engine.made_files import gone_files
from callsheet.engine.opening import (
    Selection,
    changed_caps,
    changes_of,
    open_run,
    require_a_cap,
    room_for,
    select,
)
from callsheet.engine.publishing import folder_for
from callsheet.engine.request import RunRequest
from callsheet.engine.surroundings import settings_for
from callsheet.errors import OverBudget, UsageError
from callsheet.ledger import Ledger
from callsheet.settings import Settings, settings_from
from manifests.changes import Changes
from manifests.plan import Plan, PlanOptions
from manifests.planning import make_plan
from pricing.money import parse_usd, usd_rounded_up, usd_text

MOST_CANARIES = 1000


def run(
    source: Source,
    *,
    budget_usd: Budget = None,
    concurrency: Concurrency = None,
    out: Out = None,
    sandbox: Sandbox = False,
    speed: Speed = 1.0,
    fit: Fit = False,
    again: Again = False,
    canary: Canary = None,
    accept_prices: AcceptPrices = False,
    yes: Yes = False,
    json: Json = False,
) -> int:
    """Plan, ask, render, collect.

    Example: callsheet run shots.csv --budget-usd 25
    """
    if budget_usd is not None:
        _check_amount(budget_usd)
    if canary is not None and not 1 <= canary <= MOST_CANARIES:
        raise UsageError(f"--canary is {canary}; it may be 1 to {MOST_CANARIES} price cells")
    request = RunRequest(
        source=source,
        budget_usd=budget_usd,
        concurrency=concurrency,
        out=out,
        fit=fit,
        sandbox=sandbox,
        speed=speed,
        again=again,
        canary=canary,
        accept_prices=accept_prices,
    )
    overrides = PlanOptions(
        budget_usd=budget_usd,
        concurrency=concurrency,
        out=out,
        allow_private_hosts=settings_from(os.environ).allow_private_hosts,
    )
    # The plan has no name here: whoever carries it out can let it go.
    return run_plan(make_plan(source, overrides=overrides), request, yes=yes, as_json=json)


def run_plan(plan: Plan, request: RunRequest, *, yes: bool, as_json: bool) -> int:
    """Open a run for a plan and carry it out."""
    if (
        request.concurrency is None
        and plan.concurrency is not None
        and "CALLSHEET_CONCURRENCY" not in os.environ
    ):
        request = request.model_copy(update={"concurrency": plan.concurrency})
    settings = settings_for(request)
    server = own_server_for(settings, request)
    try:
        run_id = _opened(plan, request, settings, yes=yes, as_json=as_json)
    except BaseException:
        if server is not None:
            server.stop()
        raise
    del plan  # thousands of jobs that are in the ledger now; a run takes hours
    return run_flow(request.model_copy(update={"run_id": run_id}), settings, server, as_json=as_json)


def _opened(plan: Plan, request: RunRequest, settings: Settings, *, yes: bool, as_json: bool) -> str:
    with Ledger.open(settings.ledger) as ledger:
        if not request.sandbox:
            require_a_cap(ledger, plan)
        selection = _selected(ledger, plan, request)
        if not as_json:
            show_plan(plan, room_for(ledger, plan), selection)
        for old, new in changed_caps(ledger, plan):
            say(f"cap of {old.label}: {usd_text(old.limit_nano)} USD becomes {usd_text(new.limit_nano)}")
        for gone in gone_files(ledger, selection.made.values()):
            say(gone)
        _name_what_is_left(plan, selection)
        if not (yes or _agreed(plan, selection)):
            raise UsageError("not confirmed, so nothing was sent; add --yes to run without being asked")
        out = plan.out or settings.out
        options = request.model_copy(update={"out": out}).kept
        run_id = open_run(ledger, plan, selection, out=folder_for(out, settings), options=options)
    say(f"run {run_id}")
    return run_id


def _selected(ledger: Ledger, plan: Plan, request: RunRequest) -> Selection:
    """Choose what is bought. Where it does not fit, what would is said before the refusal."""
    try:
        return select(ledger, plan, fit=request.fit, again=request.again)
    except OverBudget:
        changes = Changes() if request.again else changes_of(ledger, plan)
        for line in advice_lines(plan, changes, room_for(ledger, plan)):
            say(line)
        raise


def _agreed(plan: Plan, selection: Selection) -> bool:
    most = sum(plan.jobs[index].quote.maximum_nano for index in selection.buy)
    return ask(f"Buy {len(selection.buy)} videos for at most {usd_rounded_up(most)}?")


def _name_what_is_left(plan: Plan, selection: Selection) -> None:
    for index in selection.left[:20]:
        planned = plan.jobs[index]
        say(f"left out: {planned.job.custom_id} (up to {usd_rounded_up(planned.quote.maximum_nano)})")
    if len(selection.left) > 20:
        say(f"left out: and {len(selection.left) - 20} more")


def _check_amount(text: str) -> None:
    try:
        parse_usd(text)
    except ValueError as error:
        raise UsageError(f"--budget-usd: {error}") from error
