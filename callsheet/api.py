"""Callsheet as a library: plan, run, resume, retry, finish, reconcile and deliver.

The command line and the Prefect flows use these functions, so there is one way of opening a run. No function
asks a question, and none takes the signals of the process.
"""

from __future__ import annotations

import asyncio
import functools
import os
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, Protocol, TypeAlias, TypeVar, runtime_checkable

from callsheet.delivery.delivery import deliver_async
from callsheet.engine.collect_runs import settle_and_collect
from callsheet.engine.context import open_account
from callsheet.engine.drafts import order_finishes
from callsheet.engine.open_run import room_for
from callsheet.engine.request import (
    RunRequest,
    amount_text,
    refuse_mixed_ledger,
    refuse_other_kinds,
    request_of,
    settings_for,
)
from callsheet.engine.retry import prepare_retry
from callsheet.engine.rollback_guard import ledger_warnings
from callsheet.engine.run import carry_out, carry_out_campaign, continued, find_run, open_context, open_plan
from callsheet.engine.scheduler import RenderJob, render_here
from callsheet.engine.stopping import StopSignal
from callsheet.errors import ManifestError, Problem, UsageError
from callsheet.files import TemporaryFolder, has_ledger
from callsheet.guard import check_packages_are_ours
from callsheet.ledger import Ledger
from callsheet.reconciliation.findings import Findings
from callsheet.report.summary import RunSummary
from callsheet.settings import Settings, refuse_unclear, settings_from
from manifests.plan import Plan as ManifestPlan
from manifests.planner import make_plan
from manifests.readers import written_rows
from manifests.row_filter import RowFilter
from manifests.selection import read_kept
from pricing.budgets import full_room, shortfalls
from pricing.money import parse_usd

if TYPE_CHECKING:
    import pandas as pd

P = ParamSpec("P")
T = TypeVar("T")


@runtime_checkable
class ArrowTable(Protocol):
    """A table in memory that can be read as Arrow: of pandas, pyarrow, Polars and others."""

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        """Return its rows; the method of the Arrow PyCapsule interface."""


Source: TypeAlias = str | Path | ArrowTable | Iterable[Mapping[str, Any]]
"""A path or address of a manifest, a campaign file or a plan file; or rows in memory."""

NANO = Decimal(1_000_000_000)


@dataclass(frozen=True)
class Plan:
    """What a manifest would buy, with its price in US dollars. Nothing is spent.

    `errors` holds every problem of every row; where there are any, there is no price. `fits` says whether the
    maximum fits under every cap now: under those of the sandbox's ledger where `sandbox` is True. `rows`
    says which rows were asked for; `folder` holds those that were given in memory.
    """

    source: str = field(repr=False)  # an address may be signed
    campaign: str
    jobs: int
    expected_usd: Decimal
    maximum_usd: Decimal
    fits: bool
    errors: tuple[Problem, ...] = ()
    warnings: tuple[Problem, ...] = ()
    sandbox: bool = False
    planned: ManifestPlan | None = field(default=None, repr=False, compare=False)
    rows: RowFilter = field(default=RowFilter(), repr=False, compare=False)
    folder: TemporaryFolder | None = field(default=None, repr=False, compare=False)

    def to_pandas(self) -> pd.DataFrame:
        """Return one row per job: custom_id, model, size, length and price in USD."""
        import pandas as pd  # noqa: PLC0415 -- half a second that no command needs

        columns = ("custom_id", "endpoint", "prompt", "client", "width", "height", "fps", "duration_s")
        rows = [
            {
                "custom_id": each.job.custom_id,
                "endpoint": each.job.endpoint.id,
                "prompt": each.job.prompt,
                "client": each.job.client,
                "width": each.quote.width_px,
                "height": each.quote.height_px,
                "fps": each.quote.fps,
                "duration_s": each.quote.duration_s,
                "expected_usd": each.quote.expected_nano / NANO,
                "maximum_usd": each.quote.maximum_nano / NANO,
            }
            for each in (self.planned.jobs if self.planned else ())
        ]
        return pd.DataFrame(rows, columns=[*columns, "expected_usd", "maximum_usd"])


def plan(
    source: Source,
    *,
    first: int | None = None,
    where: Mapping[str, Any] | None = None,
    sample: int | None = None,
    budget_usd: str | Decimal | float | None = None,
    concurrency: int | None = None,
    out: str | Path | None = None,
    campaign: str | None = None,
    sandbox: bool = False,
) -> Plan:
    """Check every row of `source` and price it. Nothing is spent.

    `where` leaves the rows that have these values, or one of a list, in these columns, `first` (1 or more)
    the first so many of them, `sample` (1 or more) a sample of those, the same each time. `budget_usd` is the
    most that the run may cost, in US dollars, above 0 and at most 1,000,000: "39.50", a Decimal or a number.
    `concurrency` (1 to 1000, by default 10) is how many renders go at the same time. `out` is the folder, or
    the address in an object store, that run folders are made in (by default "runs"). `campaign` (1 to 100
    characters) names rows given in memory, and no file; they are called "campaign" without it, and paths of
    pictures in them begin in the working directory. Problems of rows are in the plan's `errors`. Raises
    UsageError where the source or an option cannot be used at all, PlanChanged for a plan file that no longer
    holds, LedgerError where the ledger cannot be read.
    """
    check_packages_are_ours()
    refuse_other_kinds(str, campaign=campaign)
    settings = settings_from(os.environ, sandbox=sandbox)
    request = request_of(
        first=first,
        where=where,
        sample=sample,
        budget_usd=amount_text(budget_usd),
        concurrency=concurrency,
        out=out,
        sandbox=sandbox,
    )
    options = request.plan_options(settings)
    path, folder = source, None
    if not isinstance(path, str | Path):
        name = "campaign" if campaign is None else campaign
        options = replace(options, pictures_from=Path.cwd(), campaign=name)
        folder = TemporaryFolder()
        path = written_rows(path, name, folder.path)
    elif campaign is not None:
        raise UsageError("campaign names rows in memory; the campaign of a file is named in a campaign file")
    try:
        made = make_plan(path, overrides=options)
    except ManifestError as error:
        errors = tuple(error.problems)
        priced = Plan(str(path), "", 0, Decimal(0), Decimal(0), fits=False, errors=errors, sandbox=sandbox)
    except UsageError as error:
        if folder is None:
            raise
        raise UsageError(str(error).replace(str(path), "rows")) from None
    else:
        fits, warnings = _seen(made, settings, sandbox=sandbox)
        priced = Plan(
            source=str(path),
            campaign=made.campaign,
            jobs=made.total.jobs,
            expected_usd=made.total.expected_nano / NANO,
            maximum_usd=made.total.maximum_nano / NANO,
            fits=fits,
            warnings=(*warnings, *made.warnings),
            sandbox=sandbox,
            planned=made,
            rows=options.rows,
        )
    return priced if folder is None else _of_memory(priced, folder)


def _of_memory(made: Plan, folder: TemporaryFolder) -> Plan:
    """Return the plan of rows in memory, whose problems are theirs. The folder they are in goes with it."""
    ours = (made.source, Path(made.source).name)

    def named(problems: Sequence[Problem]) -> tuple[Problem, ...]:
        return tuple(replace(each, file="rows") if each.file in ours else each for each in problems)

    return replace(made, errors=named(made.errors), warnings=named(made.warnings), folder=folder)


async def run_async(
    source: Plan | Source,
    *,
    first: int | None = None,
    where: Mapping[str, Any] | None = None,
    sample: int | None = None,
    budget_usd: str | Decimal | float | None = None,
    concurrency: int | None = None,
    out: str | Path | None = None,
    campaign: str | None = None,
    fit: bool = False,
    again: bool = False,
    canary: int | None = None,
    accept_prices: bool = False,
    sandbox: bool = False,
    speed: float = 1.0,
    render: RenderJob = render_here,
) -> RunSummary:
    """Buy what a plan, or a source that is planned first, describes, and fetch it.

    Unfinished runs of the same campaign are taken up first. A plan has its rows, its budget and its campaign
    (see `plan`): those options are for a source without one. A plan of the sandbox is for the sandbox alone.
    `fit` takes what fits the budget, highest priority first. `again` buys videos that you already have.
    `canary` (1 to 1000) first renders one job of each price group, at most so many. `accept_prices` goes on
    where fal's prices differ from the plan. `speed` (above 0, at most 10,000) is how much faster the sandbox
    renders. `render` renders one job, by default in this process; an error that it raises stops the buying.
    Raises ManifestError for rows with problems, OverBudget where the maximum does not fit and `fit` is off,
    UsageError without any cap and where another run has some of it in flight, AccountError without a key,
    LedgerError where the ledger refuses. What happens later, and to single jobs, is in the summary.
    """
    chosen: dict[str, Any] = {"first": first, "where": where or None, "sample": sample}
    chosen |= {"budget_usd": budget_usd, "campaign": campaign}
    if not isinstance(source, Plan):
        source = await plan_async(source, concurrency=concurrency, out=out, sandbox=sandbox, **chosen)
    elif named := [name for name, value in chosen.items() if value is not None]:
        raise UsageError(f"a plan has these already; say them to callsheet.plan: {', '.join(named)}")
    if source.planned is None:
        raise ManifestError(list(source.errors))
    if source.sandbox and not sandbox:
        raise UsageError("this plan is for the sandbox: run it with sandbox=True, or plan again without")
    planned = source.planned
    request = request_of(
        source=source.source,
        first=source.rows.first,
        where=source.rows.asked,
        sample=source.rows.sample,
        budget_usd=planned.options.budget_usd,
        concurrency=concurrency,
        out=out,
        fit=fit,
        again=again,
        canary=canary,
        accept_prices=accept_prices,
        sandbox=sandbox,
        speed=speed,
    ).at_plans_concurrency(planned.concurrency)

    async def carry(each: RunRequest) -> dict[str, Any]:
        settings = settings_for(each)
        run_id = each.run_id or await open_plan(planned, each, settings)
        async with open_context(each, run_id, settings, StopSignal(), is_asked=each is request) as ctx:
            return await carry_out(ctx, render)

    return RunSummary.of(await carry_out_campaign(request, carry, campaign=planned.campaign))


async def resume_async(
    run_id: str | None = None,
    *,
    accept_prices: bool = False,
    sandbox: bool = False,
    render: RenderJob = render_here,
) -> RunSummary:
    """Go on with a run that was interrupted (by default the latest unfinished one). Buys nothing twice.

    Options as in `run`. Raises UsageError where there is none, LedgerError (Busy) where a living process owns
    it, AccountError without a key.
    """
    found = find_run(settings_from(os.environ, sandbox=sandbox), run_id)
    request = continued(found, accept_prices=accept_prices)
    return await _carried_out(request, found.run_id, render)


async def retry_async(
    run_id: str | None = None,
    *,
    all_failures: bool = False,
    again: bool = False,
    accept_prices: bool = False,
    sandbox: bool = False,
    render: RenderJob = render_here,
) -> RunSummary:
    """Try failed, cancelled and skipped jobs of a run again (by default of the latest one).

    `all_failures` also retries failures that will probably fail again; `again` also buys what another run
    has made or paid for and, with `all_failures`, what could be fetched. Raises UsageError where there is no
    such run, LedgerError (Busy) where a living process owns it, AccountError without a key.
    """
    refuse_unclear(all_failures=all_failures, again=again)
    found = find_run(settings_from(os.environ, sandbox=sandbox), run_id, latest_of_all=True)
    request = continued(found, accept_prices=accept_prices)
    await prepare_retry(settings_for(request), found, all_failures=all_failures, again=again)
    return await _carried_out(request, found.run_id, render)


async def finish_async(
    run_id: str,
    *,
    keep: str | Path | Iterable[str | Path],
    budget_usd: str | Decimal | float | None = None,
    fit: bool = False,
    accept_prices: bool = False,
    sandbox: bool = False,
    render: RenderJob = render_here,
) -> RunSummary:
    """Buy the full-size version of the drafts of a run that are kept, as their jobs' second purchase.

    `keep` names an id or a file with the column custom_id, or several. `budget_usd`, in US dollars as in
    `plan`, becomes the run's cap, its drafts included; `fit` takes what fits it. Raises ManifestError for
    drafts that cannot be finished, OverBudget where they do not fit, UsageError where there is no such run,
    LedgerError (Busy) where a living process owns it, AccountError without a key.
    """
    refuse_unclear(fit=fit)
    found = find_run(settings_from(os.environ, sandbox=sandbox), run_id)
    request = continued(found, accept_prices=accept_prices).model_copy(update={"fit": fit})
    kept = read_kept(keep, option="keep", drafts=True)
    budget_nano = parse_usd(budget) if (budget := amount_text(budget_usd)) is not None else None
    await order_finishes(settings_for(request), found, kept, budget_nano=budget_nano, fit=fit)
    return await _carried_out(request, found.run_id, render)


async def reconcile_async(*, sandbox: bool = False) -> Findings:
    """Settle every open or unknown submission against fal's records, and fetch what is paid for.

    Buys nothing. Raises AccountError without a key, LedgerError where the ledger cannot be opened.
    """
    check_packages_are_ours()
    async with open_account(settings_for(RunRequest(sandbox=sandbox))) as account:
        return await settle_and_collect(account)


def _planned_here(source: Plan | Source, **options: Any) -> Coroutine[Any, Any, RunSummary]:
    """Plan in the caller's thread, where Ctrl-C ends it at once. Returns what runs the plan."""
    if not isinstance(source, Plan):
        shared = {name: options[name] for name in options.keys() & {"concurrency", "out", "sandbox"}}
        own = options.keys() & {"first", "where", "sample", "budget_usd", "campaign"}
        source = plan(source, **shared, **{name: options.pop(name) for name in own})
    return run_async(source, **options)


def _blocking(
    verb: Callable[P, Coroutine[Any, Any, T]], start: Callable[..., Coroutine[Any, Any, T]] | None = None
) -> Callable[P, T]:
    """Return a function that waits for what a coroutine function, or `start` in its place, does."""

    @functools.wraps(verb)
    def wait(*args: P.args, **kwargs: P.kwargs) -> T:
        with suppress(RuntimeError):  # outside of the run, so that it is no part of the run's tracebacks
            asyncio.get_running_loop()
            raise UsageError(
                f"an event loop is running here, as in a notebook: use `await callsheet.{verb.__name__}(...)`"
            )
        return asyncio.run((start or verb)(*args, **kwargs))

    wait.__name__ = wait.__qualname__ = verb.__name__.removesuffix("_async")
    return wait


def _awaitable(work: Callable[P, T]) -> Callable[P, Coroutine[Any, Any, T]]:
    """Return a coroutine function that does blocking work in a thread."""

    @functools.wraps(work)
    async def awaited(*args: P.args, **kwargs: P.kwargs) -> T:
        return await asyncio.to_thread(work, *args, **kwargs)

    awaited.__name__ = awaited.__qualname__ = f"{work.__name__}_async"
    return awaited


plan_async = _awaitable(plan)
run = _blocking(run_async, _planned_here)
resume = _blocking(resume_async)
retry = _blocking(retry_async)
finish = _blocking(finish_async)
reconcile = _blocking(reconcile_async)
deliver = _blocking(deliver_async)


async def _carried_out(request: RunRequest, run_id: str, render: RenderJob) -> RunSummary:
    async with open_context(request, run_id, settings_for(request), StopSignal()) as ctx:
        return RunSummary.of(await carry_out(ctx, render))


def _seen(plan: ManifestPlan, settings: Settings, *, sandbox: bool) -> tuple[bool, tuple[Problem, ...]]:
    """Say whether a plan fits under every cap now, and warn of a ledger that a run would refuse."""
    if not has_ledger(settings):
        warnings = ledger_warnings(None, plan.out, settings, sandbox=sandbox)
        return not shortfalls(plan.demands(), dict(full_room(plan.caps))), warnings
    with Ledger.open(settings.ledger) as ledger:
        refuse_mixed_ledger(ledger, sandbox=sandbox)
        warnings = ledger_warnings(ledger, plan.out, settings, sandbox=sandbox)
        return not shortfalls(plan.demands(), room_for(ledger, plan)), warnings
