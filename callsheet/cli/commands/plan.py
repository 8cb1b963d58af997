"""`callsheet plan` and `callsheet validate`: what a manifest is and costs, before anything is sent."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

from callsheet.cli.options import (
    ALL_ROWS,
    Budget,
    Fit,
    HeaderRow,
    Json,
    Rows,
    Sandbox,
    SkipHidden,
    Source,
    option,
)
from callsheet.cli.output import document, note, result, show_line
from callsheet.cli.views.plan_advice import (
    advice_document,
    advice_lines,
    more_document,
    show_expensive,
    show_time,
)
from callsheet.cli.views.plan_view import (
    PlanView,
    cap_name,
    draft_costs,
    drafts_document,
    finishes_document,
    finishes_of,
    frozen_document,
    name_left,
    show_changes,
    show_drafts,
    show_frozen,
    show_kept_drafts,
    show_left,
    show_not_downloaded,
    show_plan,
    show_unfinished,
    show_warnings,
)
from callsheet.cli.views.problems import ErrorsFile, explain_mistakes
from callsheet.errors import ManifestError, OverBudget
from callsheet.files import has_ledger, has_marks
from callsheet.settings import settings_from
from callsheet.wording import number_of
from manifests.diff import to_pay
from manifests.part import fitting
from manifests.plan import Plan, PlannedJob, PlanOptions
from manifests.plan_document import left_document, plan_document, problems_document, refusal_document
from manifests.plan_file import is_signed, refuse_to_replace, write_plan
from manifests.planner import make_plan
from manifests.row_filter import RowFilter
from pricing.budgets import Shortfall, full_room, shortfalls
from pricing.keep_rates import rate_document, rate_line
from pricing.money import usd_rounded_up, usd_text

PlanFile = Annotated[Path | None, option("PLAN_OUT", "Write a plan file that can be approved and run")]
EveryRow = Annotated[bool, option("ROWS", "Include every row in the JSON document, also above 10,000 jobs")]
Check = Annotated[bool, option("PLAN_CHECK", "Exit with 3 if the plan does not fit a cap, or is frozen")]


def plan(
    source: Source,
    *,
    take: Rows = ALL_ROWS,
    budget_usd: Budget = None,
    fit: Fit = False,
    out: PlanFile = None,
    rows: EveryRow = False,
    check: Check = False,
    errors: ErrorsFile = None,
    sandbox: Sandbox = False,
    json: Json = False,
) -> int:
    """Show what a manifest costs and whether it fits the budget. Nothing is sent.

    Compared with what the campaign has paid for: + new, ~ changed, = already
    made, > in flight in an unfinished run. Only + and ~ cost money. With --fit
    the plan, and the file of --out, is the part that fits.

    Example: callsheet plan shots.csv --budget-usd 25 --out plan.json
    """
    source = str(source)
    if out is not None:
        refuse_to_replace(out)
    settings = settings_from(os.environ)
    options = PlanOptions(
        budget_usd=budget_usd,
        header_row=take.header_row,
        skip_hidden=take.skip_hidden,
        rows=RowFilter.of(first=take.first, where=take.where, sample=take.sample),
    )
    try:
        made = make_plan(source, overrides=options.under(settings))
    except ManifestError as error:
        if json:
            document(refusal_document(error))
        return explain_mistakes(error, source, errors)
    concurrency = made.concurrency or settings.concurrency
    seen = _seen(made, sandbox=sandbox)
    made = replace(made, warnings=(*seen.warnings, *made.warnings))
    is_frozen = seen.lets_nothing_in(made)
    made, seen, left = _fitted(made, seen) if fit else (made, seen, [])
    left_out = left_document(left) if fit else {}
    short = shortfalls(to_pay(made, seen.changes), seen.room)
    code = OverBudget.exit_code if check and (short or is_frozen) else 0
    takes_s, learned = seen.takes_s(made, concurrency), bool(seen.learned_s)
    costs = draft_costs(made, seen.kept)
    finishes = finishes_of(source)
    if out is not None:
        _write(replace(made, shown_with=seen.shown_with), out, left_out)
    if json:
        told = plan_document(
            made, room=seen.room, rows=rows or None, changes=seen.changes, differs=seen.differs
        )
        more = more_document(made, seen.changes, takes_s, learned=learned, credit_nano=seen.credit_nano)
        document(
            {
                **told,
                **frozen_document(seen),
                "unfinished": [each for _, each in seen.unfinished],
                "not_downloaded": len(seen.not_downloaded),
                "advice": advice_document(made, seen.changes, seen.room),
                **more,
                **left_out,
                **drafts_document(costs),
                **finishes_document(finishes),
                "keep_rates": {rate.name: rate_document(rate) for rate in seen.rates},
            }
        )
        return code
    show_plan(made, seen.room)
    show_frozen(seen)
    show_warnings(made)
    show_changes(made, seen.changes, seen.differs)
    show_unfinished(seen)
    show_not_downloaded(seen, sandbox=sandbox)
    show_drafts(costs, sandbox=sandbox)
    show_kept_drafts(finishes, source, sandbox=sandbox)
    if not is_frozen:
        _show_fit(made, seen, short, left)
    for rate in seen.rates:
        show_line(rate_line(rate))
    if len(seen.changes.costless) < made.total.jobs:
        show_expensive(made, seen.changes)
        show_time(takes_s, concurrency, learned=learned)
    if seen.credit_nano is not None:
        result(f"credit at fal: ${usd_text(seen.credit_nano)}")
    return code


def validate(
    source: Source,
    *,
    header_row: HeaderRow = None,
    skip_hidden: SkipHidden = False,
    errors: ErrorsFile = None,
    json: Json = False,
) -> int:
    """Check every row and list all errors. Nothing is sent or spent.

    Example: callsheet validate shots.csv
    """
    options = PlanOptions(header_row=header_row, skip_hidden=skip_hidden)
    try:
        made = make_plan(source, overrides=options.under(settings_from(os.environ)))
    except ManifestError as error:
        if json:
            document({"jobs": 0, "errors": problems_document(error.problems), "warnings": []})
        return explain_mistakes(error, str(source), errors)
    if json:
        document({"jobs": made.total.jobs, "errors": [], "warnings": [str(each) for each in made.warnings]})
        return 0
    show_warnings(made)
    result(f"{number_of(made.total.jobs, 'job')}, no errors")
    return 0


def _seen(plan: Plan, *, sandbox: bool) -> PlanView:
    """Compare a plan with the ledger, if there is one; none is created."""
    settings = settings_from(os.environ, sandbox=sandbox)
    view = PlanView(dict(full_room(plan.caps)))
    if has_ledger(settings):
        from callsheet.cli.views.plan_ledger import compared

        view = compared(plan, settings, sandbox=sandbox)
    elif has_marks(settings, plan.out):
        from callsheet.engine.rollback_guard import ledger_warnings

        view = replace(view, warnings=ledger_warnings(None, plan.out, settings, sandbox=sandbox))
    if settings.admin_key is None or sandbox:
        return view
    from callsheet.cli.views.plan_ledger import credit_nano

    return replace(view, credit_nano=credit_nano(settings))


def _fitted(plan: Plan, seen: PlanView) -> tuple[Plan, PlanView, list[PlannedJob]]:
    """Return the part of a plan that fits, what is known about it, and the jobs that are left out."""
    positions = seen.left_out(plan)
    left = [planned for _, planned in plan.picked(positions)]
    return (fitting(plan, positions), seen.without(positions), left) if left else (plan, seen, left)


def _write(plan: Plan, out: Path, left_out: Mapping[str, Any]) -> None:
    """Write the plan file and say so."""
    write_plan(plan, out, more=left_out)
    note(f"wrote {out}")
    if is_signed(plan):
        note(f"{out} keeps no signature; if the manifest needs one, run the signed address itself")


def _show_fit(made: Plan, seen: PlanView, short: Sequence[Shortfall], left: Sequence[PlannedJob]) -> None:
    for each in short:
        show_line(
            f"does not fit the {cap_name(each.cap)}: needs up to "
            f"{usd_rounded_up(each.needed_nano)}, {usd_rounded_up(each.left_nano)} left"
        )
    if seen.room and not short:
        result("fits the budget")
    if left:
        show_left(len(left), sum(planned.quote.maximum_nano for planned in left))
        name_left(((each.job.label, each.quote.maximum_nano) for each in left), len(left))
    for line in advice_lines(made, seen.changes, seen.room):
        show_line(line)
