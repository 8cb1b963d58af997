"""One run from its opening to its summary: the steps, without Prefect.

`flows.run_campaign` takes the same steps and renders each job in a Prefect task.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import ExitStack, asynccontextmanager
from dataclasses import replace
from typing import Any

from callsheet import failpoints
from callsheet.engine.announce import keep_announcing
from callsheet.engine.canary import render_canaries
from callsheet.engine.collect_runs import PaidBefore, collect_campaign
from callsheet.engine.context import RunContext, as_current_run, context_of, open_account
from callsheet.engine.finalize import finalize, rest_if_left
from callsheet.engine.image_changes import etags_for
from callsheet.engine.in_flight import goes_on_first
from callsheet.engine.job import restore_breaker
from callsheet.engine.open_run import Selection, open_run, refuse_caps_set_since, require_a_cap, select
from callsheet.engine.outage import through_outages
from callsheet.engine.paid_results import reopen_unfetched
from callsheet.engine.price_check import check_run_prices
from callsheet.engine.reconcile_loop import reconcile_loop, settle_others, settle_rest
from callsheet.engine.request import RunRequest, refuse_mixed_ledger, refuse_other_kinds, settings_for
from callsheet.engine.rollback_guard import continue_from_mark, rising_mark
from callsheet.engine.run_folder import RUNS_FOLDER, folder_for, folder_here, lasting, publish_opening
from callsheet.engine.scheduler import RenderJob, render_here, render_waiting
from callsheet.engine.stopping import StopSignal, beside
from callsheet.errors import Busy, FolderElsewhere, Interrupted, RunStopping, UsageError
from callsheet.files import has_ledger, sweep_parts
from callsheet.guard import check_packages_are_ours
from callsheet.ledger import Ledger, Range, Run, State, parts, queries, recovery, runs
from callsheet.ledger.locks import WHOLE
from callsheet.reconciliation.account import claimed
from callsheet.settings import Settings, at_home, settings_from
from manifests.plan import Plan
from manifests.planner import make_plan, written_campaign

logger = logging.getLogger(__name__)

CLAIM_TRIES = 10
CLAIM_PAUSE_S = 0.3
"""How long a run is waited for that another process owns: three seconds in all."""


@asynccontextmanager
async def open_context(
    request: RunRequest,
    run_id: str,
    settings: Settings,
    stop: StopSignal,
    tell: Callable[[str], None] = lambda _text: None,
    *,
    within: Range | None = None,
    is_asked: bool = True,
) -> AsyncIterator[RunContext]:
    """Open a run, or a part of it, for work: owned by this process alone, and put right after earlier ones.

    Opening a whole run lets it buy again; a part of a run that was stopped or closed buys nothing. So does a
    whole run where nobody asked for it (`is_asked` is False) and it was stopped or has ended meanwhile: Busy
    is raised. Raises Busy also where a living process owns it, LedgerUnsafe where the ledger has forgotten
    purchases, UsageError where the run's folder cannot be reached from this machine.
    """
    async with open_account(settings) as account:
        # What this machine cannot work on is refused before anything is written.
        is_shared = within is not None or not is_asked
        folder = folder_here(await account.do(queries.run, run_id), settings, is_shared=is_shared)
        part = within.name if within else WHOLE
        async with claimed_soon(account.ledger, run_id, part):
            run = await account.do(queries.run, run_id)
            if not (is_asked or within or run.is_going_on):
                raise Busy(f"run {run_id} was stopped or has ended; only a person goes on with it")
            await account.do(parts.begin, run_id, part)
            await account.do.call(continue_from_mark, folder.parent, run_id)
            ctx = context_of(account, run, request, stop, tell, within=within, folder=folder)
            await _recover(ctx, is_asked=is_asked)
            ctx = await check_run_prices(ctx, accept=request.accept_prices)
            if within is None:
                await publish_opening(ctx)
            async with rising_mark(ctx), reconcile_loop(ctx), beside(keep_announcing(ctx)):
                yield ctx


async def carry_out(ctx: RunContext, render: RenderJob = render_here) -> dict[str, Any]:
    """Render canaries, render the rest, finish. Returns the summary."""
    if ctx.state.summary is None:
        await render_canaries(ctx, render)
        await render_waiting(ctx, render)
        await finish(ctx)
    assert ctx.state.summary is not None
    return ctx.state.summary


async def finish(ctx: RunContext) -> dict[str, Any]:
    """Look once more for what is unknown, and write everything that the run leaves. Returns the summary."""

    async def finished() -> dict[str, Any]:
        await settle_rest(ctx)
        summary = await finalize(ctx)
        await rest_if_left(ctx)
        return summary

    return await through_outages(ctx, finished)


@asynccontextmanager
async def claimed_soon(ledger: Ledger, run_id: str, part: str = WHOLE) -> AsyncIterator[None]:
    """Own a run, or a part of it. Another process that only collects what a dead one left is waited for.

    Raises Busy where a living process still owns it after three seconds.
    """
    with ExitStack() as owned:
        for left in range(CLAIM_TRIES - 1, -1, -1):
            try:
                owned.enter_context(ledger.claim(run_id, part=part))
            except Busy:
                if not left:
                    raise
                await asyncio.sleep(CLAIM_PAUSE_S)
            else:
                break
        yield


async def _recover(ctx: RunContext, *, is_asked: bool) -> None:
    """Put in order what dead processes left: unknown requests, unused holds, files that were not fetched.

    What other dead runs hold is settled as well: their slots and their money are missing here. What this run
    has at fal is not asked about, because it is polled next.
    """
    run_id = ctx.run.run_id
    if ctx.within is None:  # its parts are not stopped any more either
        await ctx.do(runs.reopen_run if is_asked else parts.forget_stops, run_id)
    elif not ctx.run.is_going_on:
        ctx.stop.drain(RunStopping(f"run {run_id} was stopped or has ended"))
    left = await ctx.do(recovery.recover, run_id, within=ctx.within)
    if left.unknown or left.released:
        text = "run %s: a dead process left %d submissions without an outcome and %d unused holds"
        logger.info(text, run_id, left.unknown, left.released, extra={"run": run_id})
    await restore_breaker(ctx)
    await settle_others(ctx)
    failpoints.passing("after_reconcile")
    failed = await ctx.jobs(State.FAILED)
    await reopen_unfetched(ctx.account, failed)
    await asyncio.to_thread(sweep_parts, ctx.folder)


Review = Callable[[Ledger, Selection], None]
"""Called with what is about to be bought. If it raises, nothing is opened."""


async def open_plan(
    planned: Plan, request: RunRequest, settings: Settings, *, review: Review | None = None
) -> str:
    """Open a run for a plan and return its id. Nothing is bought yet.

    What the campaign has paid for and not fetched is fetched first, so that it is not bought again. What an
    unfinished run that nobody works on has in flight is left out. Raises OverBudget where the plan does not
    fit, UsageError without any cap, where a run that is going on has some of it in flight and where the
    ledger is one of the other kind (`refuse_mixed_ledger`), PlanChanged where a cap was set since a plan file
    was written that it would replace.
    """
    check_packages_are_ours()
    out = at_home(RUNS_FOLDER, request.out or planned.out or settings.out)
    folder = folder_for(out, settings, sandbox=request.sandbox)
    etags = etags_for(settings, sandbox=request.sandbox)
    async with open_account(settings) as account:
        refuse_mixed_ledger(account.ledger, sandbox=request.sandbox)
        if not request.sandbox:
            require_a_cap(account.ledger, planned)
        refuse_caps_set_since(account.ledger, planned)
        paid = PaidBefore()
        idle: frozenset[str] = frozenset()
        if not request.again:
            paid = await collect_campaign(account, planned.campaign)
            idle = frozenset(run.run_id for run in idle_runs(account.ledger, planned.campaign))
        selection = select(
            account.ledger,
            planned,
            fit=request.fit,
            again=request.again,
            waiting=paid.waiting,
            idle=idle,
            etags=etags,
        )
        selection = replace(selection, lost=_bought_again(planned, selection, paid.lost))
        if review is not None:
            review(account.ledger, selection)
        if selection.lost:
            text = "campaign %s: bought again, because fal no longer has the videos that were paid for: %d"
            logger.warning(text, planned.campaign, len(selection.lost), extra={"campaign": planned.campaign})
        # A person may have thought about it for a while.
        refuse_mixed_ledger(account.ledger, sandbox=request.sandbox)
        refuse_caps_set_since(account.ledger, planned)
        kept = request.model_copy(update={"out": out}).kept
        return open_run(account.ledger, planned, selection, out=folder, options=kept, etags=etags)


def _bought_again(plan: Plan, selection: Selection, lost: frozenset[str]) -> tuple[int, ...]:
    """Return the positions of what is bought although it was paid for, because fal no longer has it."""
    if not lost:
        return ()
    prints = [fingerprint for fingerprint, _ in plan.identities()]
    return tuple(position for position in selection.buy if prints[position] in lost)


@asynccontextmanager
async def opened(request: RunRequest, *, is_asked: bool = True) -> AsyncIterator[RunContext]:
    """Open the run that a request names, or a new one for its source, as a flow does. See `open_context`."""
    check_packages_are_ours()
    if request.run_id is None:
        request = await _open_scheduled(request)
    assert request.run_id is not None
    settings = settings_for(request)
    async with open_context(request, request.run_id, settings, StopSignal(), is_asked=is_asked) as ctx:
        with as_current_run(ctx):
            yield ctx


Summary = dict[str, Any]


async def carry_out_campaign(
    request: RunRequest,
    carry: Callable[[RunRequest], Awaitable[Summary]],
    tell: Callable[[str], None] = logger.info,
    *,
    campaign: str | None = None,
) -> Summary:
    """Take up the unfinished runs of a request's campaign, then carry out the request. Returns its summary.

    `carry` carries out one request, and opens a run where the request names none. `campaign` is the
    campaign's name where the source does not say it, as with rows in memory. Only `request` itself was asked
    for: the others a person may stop or cancel at any moment (`is_asked` of `open_context`). If the request's
    own run ends with exit code 0, the code is the first other one of those that were taken up;
    `taken_up` has each with its code. Where one of them is interrupted, or cancelled in Prefect, nothing more
    is done and its summary is returned.
    """
    taken_up: dict[str, int] = {}
    begun: set[str | None] = set()
    # Each is looked for anew: while one was rendered, a person may have stopped the next one.
    while left := [each for each in unfinished_runs(request, campaign) if each.run_id not in begun]:
        earlier = left[0]
        begun.add(earlier.run_id)
        tell(f"run {earlier.run_id} of this campaign was not finished: it goes on first")
        try:
            summary = await carry(earlier)
        except Busy:  # another process has taken it up meanwhile
            continue
        except FolderElsewhere as away:  # its rows are left to it, as those of a run that was stopped
            tell(f"it cannot go on here: {away}")
            continue
        if summary["exit_code"] == Interrupted.exit_code:
            return summary
        taken_up[summary["run_id"]] = summary["exit_code"]
    summary = await carry(request)
    code = summary["exit_code"] or next(filter(None, taken_up.values()), 0)
    return {**summary, "taken_up": taken_up, "exit_code": code}


def unfinished_runs(request: RunRequest, campaign: str | None = None) -> list[RunRequest]:
    """Return the requests that go on with unfinished runs of a request's campaign, oldest first.

    Runs that a living process works on are left out, and so are runs that were stopped on purpose (by a
    person, a canary, the circuit breaker, another price or a bill above its hold), and those that wait for
    an approval where the request asks for none: going on with those is a person's decision. Raises UsageError
    as `refuse_mixed_ledger` does: a rehearsal on the sandbox must not go on with a run against fal.
    """
    if request.run_id is not None or request.source is None:
        return []
    settings = settings_from(os.environ, sandbox=request.sandbox)
    if not has_ledger(settings):
        return []
    with Ledger.open(settings.ledger) as ledger:
        refuse_mixed_ledger(ledger, sandbox=request.sandbox)
        found = idle_runs(ledger, campaign or written_campaign(request.source).name)
    may_ask = request.approve_above_usd is not None
    return [
        RunRequest.of(each).model_copy(update={"speed": request.speed})
        for each in found
        if goes_on_first(each, may_ask=may_ask)
    ]


def idle_runs(ledger: Ledger, campaign: str) -> list[Run]:
    """Return the unfinished runs of a campaign that no living process works on, oldest first."""
    found = ledger.do(queries.unfinished, campaign)
    with claimed(ledger, [run.run_id for run in found]) as mine:
        return [run for run in found if run.run_id in mine]


def find_run(settings: Settings, run_id: str | None, *, latest_of_all: bool = False) -> Run:
    """Return a run by its id, or the latest unfinished one (with `latest_of_all`: the latest one).

    Raises UsageError where there is none.
    """
    refuse_other_kinds(str, run_id=run_id)
    with Ledger.open(settings.ledger) as ledger:
        return ledger.find_run(run_id, latest_of_all=latest_of_all)


def continued(run: Run, *, accept_prices: bool = False) -> RunRequest:
    """Return the request that goes on with a run. Asking for it is the approval."""
    return RunRequest.of(run).model_copy(update={"approve_above_usd": None, "accept_prices": accept_prices})


async def _open_scheduled(request: RunRequest) -> RunRequest:
    """Plan what a request names and open a run for it, as a schedule does. Returns the request of that run.

    A plan file brings its own concurrency. Raises UsageError for a request without a source.
    """
    if not request.source:
        raise UsageError(
            "the request names nothing to run. Give it a `source` (a manifest, a campaign file or a plan "
            "file), or the `run_id` of a run to go on with"
        )
    settings = settings_for(request)
    planned = make_plan(request.source, overrides=request.plan_options(settings))
    out = lasting(at_home(RUNS_FOLDER, planned.out or settings.out), request.source, settings)
    request = request.at_plans_concurrency(planned.concurrency).model_copy(update={"out": out})
    return request.model_copy(update={"run_id": await open_plan(planned, request, settings)})
