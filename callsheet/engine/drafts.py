"""Drafts of a run: which can be finished, until when, at what price; and ordering those that are kept.

A finish is the second purchase of the draft's job. It is bought like any other: the same caps, one open
submission, a hold before the POST. The draft's file and bill stay.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from callsheet.engine.context import open_account
from callsheet.engine.open_run import refuse_frozen, refuse_unless_it_fits, require_a_cap, room_for
from callsheet.engine.request import RunRequest
from callsheet.engine.retry import RETRIED
from callsheet.errors import ManifestError, Problem, UsageError
from callsheet.ledger import JobRow, Ledger, NewFinish, Run, State, admission, finishing, queries
from callsheet.provider.platform_messages import iso
from callsheet.reconciliation.account import AccountSession
from callsheet.settings import Settings
from callsheet.wording import command, number_of
from manifests.job import Job, decode_job, encode_job
from manifests.names import NAME_MAX_CHARS, folded
from manifests.selection import Kept, meant_id
from pricing.budgets import Cap, Spend, choose
from pricing.catalog import Catalog
from pricing.money import usd_rounded_up
from pricing.pins import at_pin, read_pins
from pricing.quotes import Quote, finish_shot, quote
from pricing.render_times import RenderKind


@dataclass(frozen=True, slots=True)
class Draft:
    """A draft that was made and is not being finished, and until when it can be (Unix milliseconds).

    `draft_id` is "" where fal gave none.
    """

    row: JobRow
    job: Job
    draft_id: str
    until_ms: int


@dataclass(frozen=True, slots=True)
class Finish:
    """The order that finishes a draft, its price, and the name of its file beside the draft's."""

    draft: Draft
    job: Job
    price: Quote
    output_name: str


@dataclass(frozen=True, slots=True)
class FinishPlan:
    """What finishing the kept drafts of a run buys. Nothing is sent or spent.

    `finishes` are bought, `left` do not fit (with `fit`), `done` are kept drafts that are being finished, or
    are finished, already. `caps` is the run's own cap, as it then is.
    """

    run: Run
    finishes: tuple[Finish, ...]
    caps: tuple[Cap, ...]
    left: tuple[Finish, ...] = ()
    done: tuple[str, ...] = ()

    @property
    def campaign(self) -> str:
        """The campaign that the money counts in."""
        return self.run.campaign

    def demands(self) -> Sequence[Spend]:
        """Return what each of them needs of the caps."""
        return [_spend(self.run, each) for each in self.finishes]

    @property
    def expected_nano(self) -> int:
        """What they are expected to cost, in nano-dollars."""
        return sum(each.price.expected_nano for each in self.finishes)

    @property
    def maximum_nano(self) -> int:
        """What they cost at most, in nano-dollars."""
        return sum(each.price.maximum_nano for each in self.finishes)

    @property
    def until_ms(self) -> int:
        """Until when the first of them can be finished, in Unix milliseconds; 0 without any."""
        return min((each.draft.until_ms for each in self.finishes), default=0)


Review = Callable[[Ledger, FinishPlan], None]
"""Called with what is about to be bought. If it raises, nothing is ordered."""


def draft_of(row: JobRow, catalog: Catalog) -> Draft | None:
    """Return the draft that a job has made and that is not being finished; None where it has none."""
    if not row.draft or row.is_finish or row.state is not State.SUCCEEDED or row.submission is None:
        return None
    job = decode_job(row.payload, catalog)
    return Draft(row, job, row.submission.draft_id, row.submission.finish_until_ms)


async def order_finishes(
    settings: Settings,
    run: Run,
    keep: Sequence[Kept],
    *,
    budget_nano: int | None = None,
    fit: bool = False,
    review: Review | None = None,
) -> FinishPlan:
    """Plan the finishes of the kept drafts, and write them into the ledger as the jobs' second purchase.

    Nothing is sent yet. Raises ManifestError, naming each, for kept rows that cannot be finished, OverBudget
    where all of them do not fit and `fit` is off, UsageError without any cap and where the run has other jobs
    to buy, and Busy where a living process owns the run.
    """
    sandbox = RunRequest.of(run).sandbox
    async with open_account(settings) as account:
        plan = await account.do.call(_planned, run, keep, account, budget_nano, fit=fit, sandbox=sandbox)
        if not sandbox:
            require_a_cap(account.ledger, plan)
        if review is not None:
            review(account.ledger, plan)
        if plan.finishes:
            with account.ledger.claim(run.run_id):
                orders = [_order(each) for each in plan.finishes]
                await account.do(finishing.finish, run.run_id, orders, run_cap_nano=budget_nano)
        return plan


def _planned(
    ledger: Ledger,
    run: Run,
    keep: Sequence[Kept],
    account: AccountSession,
    budget_nano: int | None,
    *,
    fit: bool,
    sandbox: bool,
) -> FinishPlan:
    """Choose the kept drafts, price them at the run's prices and see what fits."""
    catalog = at_pin(account.catalog, read_pins(run.prices, account.catalog)[-1])
    rows = ledger.do(queries.jobs, run.run_id)
    _refuse_unsent(run, rows, sandbox=sandbox)
    drafts, done = _kept_drafts(rows, keep, catalog, now_ms=account.now_ms(), sandbox=sandbox)
    taken = {folded(row.output_name) for row in rows}
    finishes = tuple(_finish(draft, catalog, taken) for draft in drafts)
    caps = _run_caps(ledger, run, budget_nano)
    plan = FinishPlan(run, finishes, caps, done=done)
    if finishes:
        refuse_frozen(ledger, plan)
    room = room_for(ledger, plan)
    spends = plan.demands()
    if not fit:
        refuse_unless_it_fits(spends, room)
        return plan
    choice = choose(spends, room)
    return replace(
        plan,
        finishes=tuple(finishes[at] for at in choice.taken),
        left=tuple(finishes[at] for at in choice.left),
    )


def _refuse_unsent(run: Run, rows: Iterable[JobRow], *, sandbox: bool) -> None:
    """Raise UsageError where the run has other jobs to buy: who finishes drafts has not asked for them."""
    left = [row for row in rows if row.state in (State.PENDING, State.HELD) and not row.is_finish]
    if left:
        resume, cancel = (command(verb, run.run_id, sandbox=sandbox) for verb in ("resume", "cancel"))
        most = usd_rounded_up(sum(row.maximum_nano for row in left))
        raise UsageError(
            f"run {run.run_id} has {number_of(len(left), 'job')} that it has not bought so far, for at most "
            f"{most}; nothing was sent. Buy them with `{resume}`, or give them up with `{cancel}` first"
        )


def _kept_drafts(
    rows: Iterable[JobRow], keep: Sequence[Kept], catalog: Catalog, *, now_ms: int, sandbox: bool
) -> tuple[list[Draft], tuple[str, ...]]:
    """Return the kept drafts in the plan's order, and the names of those that are finished already.

    Raises ManifestError where any kept row cannot be finished.
    """
    named = {row.custom_id: row for row in rows}
    found: dict[tuple[int, int], Draft] = {}
    done: dict[str, None] = {}
    problems = []
    for each in keep:
        row = named.get(meant_id(each.custom_id, named))
        draft = draft_of(row, catalog) if row else None
        if row is not None and row.is_finish and row.state not in RETRIED:
            done[row.custom_id] = None
        elif why := _why_not(draft, now_ms) if draft else _why_none(row, sandbox=sandbox):
            problems.append(Problem(each.file, each.row, "custom_id", each.custom_id, why))
        elif draft is not None:
            found[draft.row.position, draft.row.retake] = draft
    if problems:
        raise ManifestError(problems)
    return [found[place] for place in sorted(found)], tuple(done)


def _why_none(row: JobRow | None, *, sandbox: bool) -> str:
    """Say why a row has no draft that could be finished."""
    if row is None:
        return "the run has no such job; a row that an earlier run made is finished in that run"
    if row.is_finish:
        retry = command("retry", row.run_id, sandbox=sandbox)
        return f"its finish is {row.state}; `{retry}` tries it again, if it can succeed"
    if not row.draft:
        return "this is no draft; set draft = true and run it as one"
    return f"its draft is {row.state}; only a draft that was made can be finished"


def _why_not(draft: Draft, now_ms: int) -> str:
    """Say why a draft that was made cannot be finished any more; "" where it can."""
    if not draft.draft_id:
        return "fal's result names no draft_id, so it cannot be finished"
    if now_ms >= draft.until_ms:
        return f"the draft could be finished until {iso(draft.until_ms)}; run it again as a new draft"
    return ""


def _finish(draft: Draft, catalog: Catalog, taken: set[str]) -> Finish:
    """Return the order that finishes a draft, with a file name of its own beside the draft's."""
    shot = finish_shot(catalog, draft.job.shot)
    job = replace(draft.job, endpoint=shot.endpoint, draft_id=draft.draft_id, finish_until_ms=draft.until_ms)
    name = _free_name(draft.row.output_name, shot.resolution, taken)
    return Finish(draft, job, quote(catalog, job.shot), name)


def _free_name(name: str, resolution: str, taken: set[str]) -> str:
    """Return `shot-1-1080p` for `shot-1`, with a number where another file of the run has that name."""
    number = 1
    while True:
        suffix = f"-{resolution}" + (f"-{number}" if number > 1 else "")
        made = name[: NAME_MAX_CHARS - len(suffix)] + suffix
        if folded(made) not in taken:
            taken.add(folded(made))
            return made
        number += 1


def _order(each: Finish) -> NewFinish:
    return NewFinish(
        job_id=each.draft.row.job_id,
        endpoint=each.job.endpoint.id,
        payload=encode_job(each.job),
        output_name=each.output_name,
        render_kind=RenderKind.of(each.job.endpoint.id, each.price).text,
        expected_nano=each.price.expected_nano,
        maximum_nano=each.price.maximum_nano,
    )


def _spend(run: Run, each: Finish) -> Spend:
    row = each.draft.row
    return Spend(run.campaign, row.client, row.model, row.priority, each.price.maximum_nano)


def _run_caps(ledger: Ledger, run: Run, budget_nano: int | None) -> tuple[Cap, ...]:
    """Return the run's own cap: the budget that is given now, else the one that it was opened with."""
    if budget_nano is not None:
        return (Cap("run", run.run_id, "total", budget_nano),)
    return tuple(cap for cap in ledger.do(admission.caps) if (cap.scope, cap.key) == ("run", run.run_id))
