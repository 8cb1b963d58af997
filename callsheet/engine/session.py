"""Finding or opening the run that a request names: for the library, the command line and the flows alike."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from callsheet.engine.collect_runs import collect_campaign
from callsheet.engine.context import RunContext, current_run, open_account
from callsheet.engine.made_files import Refetched, refetch_gone
from callsheet.engine.open_run import Selection, open_run, require_a_cap, select
from callsheet.engine.publish import folder_for, lasting
from callsheet.engine.request import RunRequest, settings_for
from callsheet.engine.run import open_context
from callsheet.engine.stopping import StopSignal
from callsheet.errors import UsageError
from callsheet.files import has_ledger
from callsheet.guard import check_packages_are_ours
from callsheet.ledger import Ledger, Run, queries
from callsheet.settings import Settings
from manifests.plan import Plan, PlanOptions
from manifests.planner import campaign_name, make_plan

Review = Callable[[Ledger, Selection, Refetched], None]
"""Called with what is about to be bought and what was fetched again. If it raises, nothing is opened."""


async def open_plan(
    planned: Plan, request: RunRequest, settings: Settings, *, review: Review | None = None
) -> str:
    """Open a run for a plan and return its id. Nothing is bought yet.

    What the campaign has paid for and not fetched is fetched first, so that it is not bought again. Raises
    OverBudget where the plan does not fit, UsageError without any cap or where a run of the campaign already
    has some of it in flight.
    """
    check_packages_are_ours()
    out = request.out or planned.out or settings.out
    folder = folder_for(out, settings)
    async with open_account(settings) as account:
        if not request.sandbox:
            require_a_cap(account.ledger, planned)
        if not request.again:
            await collect_campaign(account, planned.campaign)
        selection = select(account.ledger, planned, fit=request.fit, again=request.again)
        refetched = await refetch_gone(account, selection.made.values())
        if review is not None:
            review(account.ledger, selection, refetched)
        kept = request.model_copy(update={"out": out}).kept
        return open_run(account.ledger, planned, selection, out=folder, options=kept)


@asynccontextmanager
async def opened(request: RunRequest) -> AsyncIterator[RunContext]:
    """Open the run that a request names, or a new one for its source; as a flow does.

    Where the caller carries out a run already (`current_run`), that one is used.
    """
    check_packages_are_ours()
    if (ctx := current_run.get()) is not None:
        yield ctx
        return
    settings = settings_for(request)
    run_id = request.run_id or await _open_scheduled(request, settings)
    async with open_context(request, run_id, settings, StopSignal()) as ctx:
        token = current_run.set(ctx)
        try:
            yield ctx
        finally:
            current_run.reset(token)


def unfinished_runs(request: RunRequest) -> list[RunRequest]:
    """Return the requests that go on with unfinished runs of a request's campaign, oldest first.

    A scheduled run takes them up before it buys anything new. Runs that were stopped on purpose (by a person,
    a canary, another price or a bill above its hold) are left out: going on with those is a person's word.
    """
    if current_run.get() is not None or request.run_id is not None or request.source is None:
        return []
    settings = settings_for(request)
    if not has_ledger(settings):
        return []
    name = campaign_name(request.source)
    with Ledger.open(settings.ledger) as ledger:
        found = ledger.do(queries.unfinished, name)
    return [
        RunRequest.of(each).model_copy(update={"run_id": each.run_id})
        for each in found
        if each.stopping_ms is None
    ]


def find_run(settings: Settings, run_id: str | None, *, latest_of_all: bool = False) -> Run:
    """Return a run by its id, or the latest unfinished one (with `latest_of_all`: the latest one).

    Raises UsageError where there is none.
    """
    with Ledger.open(settings.ledger) as ledger:
        return run_in(ledger, run_id, latest_of_all=latest_of_all)


def run_in(ledger: Ledger, run_id: str | None, *, latest_of_all: bool = False) -> Run:
    """Return a run of an open ledger, as `find_run` does. Raises UsageError where there is none."""
    if run_id is not None:
        return ledger.do(queries.run, run_id)
    if latest_of_all:
        found = next(iter(ledger.do(queries.runs, limit=1)), None)
    else:
        found = ledger.do(queries.latest_unfinished)
    if found is None:
        what = "run" if latest_of_all else "unfinished run"
        raise UsageError(
            f"there is no {what} in the ledger {ledger.label}. Sandbox runs have a ledger of their own: "
            "add --sandbox"
        )
    return found


def continued(run: Run, *, accept_prices: bool = False) -> RunRequest:
    """Return the request that goes on with a run. Whoever asks for it has approved it."""
    return RunRequest.of(run).model_copy(
        update={"run_id": run.run_id, "approve_above_usd": None, "accept_prices": accept_prices}
    )


async def _open_scheduled(request: RunRequest, settings: Settings) -> str:
    """Plan what a request names and open a run for it, as a schedule does."""
    options = PlanOptions(
        budget_usd=request.budget_usd,
        concurrency=request.concurrency,
        out=request.out,
        allow_private_hosts=settings.allow_private_hosts,
        manifest_max_mb=settings.manifest_max_mb,
    )
    planned = make_plan(request.source or "", overrides=options)
    out = lasting(planned.out or settings.out, request.source or "", settings)
    return await open_plan(planned, request.model_copy(update={"out": out}), settings)
