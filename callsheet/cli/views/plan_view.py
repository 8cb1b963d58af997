"""A plan on the terminal: prices, headroom of every cap, what is new, changed or already made."""

from __future__ import annotations

import shlex
from bisect import bisect_left
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from callsheet.cli.output import first_of, result, say, show_line, terminal_width
from callsheet.errors import Problem
from callsheet.wording import command, number_of
from manifests.diff import Changes, Sum
from manifests.plan import LedgerCaps, Plan, Size, Total, drafts_in
from manifests.retakes import kept_drafts
from pricing.budgets import Cap, choose, scope_label
from pricing.catalog import load_catalog
from pricing.keep_rates import KeepRate
from pricing.money import NANO_PER_USD, PLACES_SHOWN, ceil_div, usd_rounded_up, usd_text
from pricing.quotes import ASSUMED_SHARE, DraftCost, draft_cost, finish_cost
from pricing.render_times import campaign_s, published_render_s

WARNINGS_SHOWN = 10
CHANGES_SHOWN = 50
LEFT_NAMED = 20

SHOWN_NANO = NANO_PER_USD // 10**PLACES_SHOWN
"""What amounts are rounded up to, in nano-dollars."""

_NAME = 28
"""Columns for a name in the tables of totals; the figures beside it take 36 more."""


@dataclass(frozen=True, slots=True)
class PlanView:
    """What the ledger knows about a plan.

    `room` is the headroom under each cap in nano-dollars. `differs` says, by position, what makes a changed
    job another one. `learned_s` is the median render time of a size in seconds. `kept` is how many drafts
    were finished so far, and of how many. `rates` are the keep rates of the plan's models. `credit_nano` is
    the account's balance in nano-dollars, None where it was not read. `frozen` names the frozen accounts that
    jobs of the plan count in, and `release` is the command that lets them in again. `unfinished` describes
    the unfinished runs of the campaign, each with its line; `room` is without what those need that go on
    first. `not_downloaded` are positions of jobs that were paid for and whose video fal may still have.
    `shown_with` are the ledger's caps that the plan's own would replace. `warnings` are about the
    ledger itself.
    """

    room: Mapping[Cap, int]
    changes: Changes = field(default_factory=Changes)
    differs: Mapping[int, Sequence[str]] = field(default_factory=dict)
    learned_s: Mapping[Size, float] = field(default_factory=dict)
    kept: tuple[int, int] = (0, 0)
    rates: Sequence[KeepRate] = ()
    credit_nano: int | None = None
    waiting_since_ms: Mapping[str, int] = field(default_factory=dict)
    frozen: Sequence[str] = ()
    release: str = ""
    unfinished: Sequence[tuple[str, Mapping[str, Any]]] = ()
    not_downloaded: frozenset[int] = frozenset()
    shown_with: LedgerCaps | None = None
    warnings: tuple[Problem, ...] = ()

    def left_out(self, plan: Plan) -> tuple[int, ...]:
        """Return the positions of the jobs that `run --fit` would leave out."""
        spends, prints = plan.spends(), [fingerprint for fingerprint, _ in plan.identities()]
        costless = self.changes.costless
        wanted = [at for at in range(len(spends)) if at not in costless]
        turns = (replace(spends[at], waiting_since_ms=self.waiting_since_ms.get(prints[at])) for at in wanted)
        return tuple(wanted[number] for number in choose(turns, self.room).left)

    def lets_nothing_in(self, plan: Plan) -> bool:
        """Whether there is something to buy, and frozen accounts do not let it in."""
        return bool(self.frozen) and len(self.changes.costless) < plan.total.jobs

    def without(self, left: Collection[int]) -> PlanView:
        """Return the same for the plan without these positions."""
        jobs = [*self.changes.costless, *self.changes.changed, *self.differs, *self.not_downloaded]
        gone, before = frozenset(left), sorted(left)
        place = {at: at - bisect_left(before, at) for at in jobs if at not in gone}
        changes = Changes(
            made={place[at]: job for at, job in self.changes.made.items()},
            changed={place[at]: job for at, job in self.changes.changed.items() if at in place},
            pictures=frozenset(place[at] for at in self.changes.pictures if at in place),
            in_flight={place[at]: run_id for at, run_id in self.changes.in_flight.items()},
        )
        differs = {place[at]: told for at, told in self.differs.items() if at in place}
        paid = frozenset(place[at] for at in self.not_downloaded if at in place)
        return replace(self, changes=changes, differs=differs, not_downloaded=paid)

    def takes_s(self, plan: Plan, concurrency: int) -> float:
        """Return the seconds it takes to render what is to be bought."""
        left = {size: total.jobs for size, total in plan.summary.sizes.items()}
        if costless := self.changes.costless:
            for size, total in plan.part(costless).sizes.items():
                left[size] -= total.jobs
        return campaign_s(
            (
                (jobs, self.learned_s.get(size, published_render_s(size.pixels, size.frames)))
                for size, jobs in left.items()
            ),
            concurrency=concurrency,
        )


def show_plan(plan: Plan, room: Mapping[Cap, int]) -> None:
    """Print the totals by model, resolution and client, and the headroom of every cap."""
    total = plan.total
    show_line(f"{plan.campaign}: {number_of(total.jobs, 'job')}, price book {plan.price_book}")
    if total.jobs:
        _show_totals(plan)
    for cap, left_nano in room.items():
        show_line(_retakes_text(plan, cap) if cap.scope == "retakes" else cap_text(cap, left_nano))
    if total.jobs and not any(cap.scope != "retakes" for cap in room):
        show_line("no cap: set one with --budget-usd, or with [budget] in a campaign file")


def cap_text(cap: Cap, left_nano: int) -> str:
    """Say what a cap is and what is left under it, in nano-dollars."""
    return f"{cap_name(cap)}: {usd_rounded_up(cap.limit_nano)}, {usd_rounded_up(left_nano)} left"


def show_frozen(seen: PlanView) -> None:
    """Print which accounts are frozen and what releases them; nothing where none is."""
    if seen.frozen:
        show_line(
            f"frozen: {', '.join(seen.frozen)}. A bill came out above what was held for it, and nothing is "
            f"bought from these accounts. Check the bill, then release them with `{seen.release}`"
        )


def show_unfinished(seen: PlanView) -> None:
    """Print what the unfinished runs of the campaign mean for the plan, a line each."""
    for line, _ in seen.unfinished:
        show_line(line)


def show_not_downloaded(seen: PlanView, *, sandbox: bool) -> None:
    """Print how many jobs of the plan were paid for and not downloaded; nothing where there are none."""
    if count := len(seen.not_downloaded):
        show_line(
            f"paid for and not downloaded: {count:,} of these. `{command('run', sandbox=sandbox)}` downloads "
            "for free what fal still has, and buys again only what is gone there"
        )


def frozen_document(seen: PlanView) -> dict[str, Any]:
    """Return the same for scripts; null where none is frozen."""
    found = {"accounts": list(seen.frozen), "release": seen.release}
    return {"frozen": found if seen.frozen else None}


def _retakes_text(plan: Plan, cap: Cap) -> str:
    """Say what may be bought besides: `retakes: up to 2 per clip that is black or frozen, at most $10.00`."""
    assert plan.retakes is not None
    kinds = " or ".join(plan.retakes.on)
    most = usd_rounded_up(cap.limit_nano)
    return f"retakes: up to {plan.retakes.most} per clip that is flagged {kinds}, at most {most} in all"


def _show_totals(plan: Plan) -> None:
    groups = {"model": plan.by_model()}
    if len(plan.by_resolution()) > 1:
        groups["resolution"] = plan.by_resolution()
    if set(plan.by_client()) - {""}:
        groups["client"] = plan.by_client()
    for title, totals in groups.items():
        _show_group(title, totals)
    _show_total("total", plan.total)
    if not all(_add_up(totals.values(), plan.total) for totals in groups.values()):
        show_line("  each amount is rounded up, so lines may add up to a little more than the total")


def _add_up(lines: Iterable[Total], total: Total) -> bool:
    """Whether the amounts of these lines add up as `usd_rounded_up` shows them."""
    steps = [_steps(each) for each in lines]
    return tuple(map(sum, zip(*steps, strict=True))) == _steps(total)


def _steps(total: Total) -> tuple[int, int]:
    return ceil_div(total.expected_nano, SHOWN_NANO), ceil_div(total.maximum_nano, SHOWN_NANO)


def cap_name(cap: Cap) -> str:
    """Name a cap, e.g. `total cap of campaign spring`."""
    return f"{cap.window} cap of {scope_label(cap.scope, cap.name or cap.key)}"


def show_warnings(plan: Plan) -> None:
    """Print the first warnings on standard error."""
    for line in first_of("warning", plan.warnings, len(plan.warnings), most=WARNINGS_SHOWN):
        say(line)


def show_left(count: int, maximum_nano: int) -> None:
    """Print how many jobs are left out, and what all of them cost at most."""
    show_line(f"- {count} skipped: over budget, up to {usd_rounded_up(maximum_nano)} for all of them")


def name_left(jobs: Iterable[tuple[str, int]], count: int) -> None:
    """Name the first of the jobs that are left out, and how many more there are, on standard error.

    Each is its name with its row, and its maximum in nano-dollars.
    """
    lines = (f"{label}, up to {usd_rounded_up(maximum_nano)}" for label, maximum_nano in jobs)
    for line in first_of("skipped", lines, count, most=LEFT_NAMED):
        say(line)


def _show_group(title: str, groups: Mapping[str, Total]) -> None:
    narrow = _is_narrow()
    if not narrow:
        result(f"  {title:<{_NAME}}{'jobs':>6}{'expected':>14}{'at most':>14}")
    for name, total in groups.items():
        _show_total(f"{title if narrow else ''} {name or '(none)'}".strip(), total)


def _show_total(name: str, total: Total) -> None:
    expected, most = usd_rounded_up(total.expected_nano), usd_rounded_up(total.maximum_nano)
    if _is_narrow():
        jobs = number_of(total.jobs, "job")
        show_line(f"  {name}: {jobs}, {expected} expected, {most} at most", indent=4)
    else:
        result(f"  {name:<{_NAME}}{total.jobs:>6}{expected:>14}{most:>14}")


def _is_narrow() -> bool:
    width = terminal_width()
    return width is not None and width < _NAME + 36


def draft_costs(plan: Plan, kept: tuple[int, int]) -> list[tuple[str, DraftCost]]:
    """Return what the drafts of a plan cost, and finishing all of them, and the share usually kept; in words.

    Empty for a plan without drafts.
    """
    catalog = load_catalog()
    if not any(catalog.endpoints[size.endpoint_id].draft for size in plan.summary.sizes):
        return []
    drafts = drafts_in(plan)
    if not drafts:
        return []
    whole = finish_cost(catalog, drafts)
    share = kept if kept[0] else ASSUMED_SHARE
    percent = f"{100 * share[0] / share[1]:.0f} %"
    why = f"as so far, {kept[0]} of {kept[1]}" if kept[0] else "assumed, as none was finished so far"
    return [
        ("drafts", draft_cost(catalog, drafts)),
        ("finishing all of them", whole),
        (f"finishing {percent} ({why})", whole.of_share(share)),
    ]


def show_drafts(costs: Sequence[tuple[str, DraftCost]], *, sandbox: bool) -> None:
    """Print these costs, and how long drafts can be finished."""
    for name, cost in costs:
        show_line(f"{name}: {cost.drafts}, {cost_text(cost.expected_nano, cost.maximum_nano)}")
    if costs:
        finish = command("finish", "RUN", "--keep", "FILE", sandbox=sandbox)
        show_line(f"a draft can be finished for 7 days: `{finish}`")


def finishes_of(source: str) -> tuple[str, DraftCost]:
    """Return the run that a selection.csv is about and what finishing its kept drafts costs.

    "" without any.
    """
    path = Path(source)
    run_id, prices = kept_drafts(path, load_catalog()) if path.is_file() else ("", [])
    cost = DraftCost(
        len(prices),
        sum(price.expected_nano for price in prices),
        sum(price.maximum_nano for price in prices),
    )
    return (run_id if prices else ""), cost


def show_kept_drafts(finishes: tuple[str, DraftCost], source: str, *, sandbox: bool) -> None:
    """Print what finishing the kept drafts of a selection costs, and the command that buys it."""
    run_id, cost = finishes
    if not run_id:
        return
    finish = command("finish", run_id, "--keep", shlex.quote(source), sandbox=sandbox)
    costs = cost_text(cost.expected_nano, cost.maximum_nano)
    show_line(f"finishing the kept drafts: {cost.drafts}, {costs}: `{finish}`")


def finishes_document(finishes: tuple[str, DraftCost]) -> dict[str, Any]:
    """Return the same for scripts; nothing without kept drafts."""
    run_id, cost = finishes
    if not run_id:
        return {}
    return {"finish_kept": {"run_id": run_id, **_cost_document(cost)}}


def drafts_document(costs: Sequence[tuple[str, DraftCost]]) -> dict[str, Any]:
    """Return the same for scripts; nothing for a plan without drafts."""
    if not costs:
        return {}
    names = ("drafts", "finish_all", "finish_usual_share")
    told = [{**_cost_document(cost), "about": about} for about, cost in costs]
    return {"drafts": dict(zip(names, told, strict=True))}


def _cost_document(cost: DraftCost) -> dict[str, Any]:
    expected, most = usd_text(cost.expected_nano), usd_text(cost.maximum_nano)
    return {"jobs": cost.drafts, "expected_usd": expected, "maximum_usd": most}


def cost_text(expected_nano: int, maximum_nano: int) -> str:
    """Say what something costs: `$1.2884 expected, at most $1.3038`."""
    return f"{usd_rounded_up(expected_nano)} expected, at most {usd_rounded_up(maximum_nano)}"


def show_changes(plan: Plan, changes: Changes, differs: Mapping[int, Sequence[str]]) -> None:
    """Print what is new, changed, made and in flight; nothing where all of it is new."""
    if not (changes.costless or changes.changed):
        return
    sums = changes.sums(plan)
    result(f"+ {sums['+'].jobs} new{_amounts(sums['+'])}")
    result(f"~ {sums['~'].jobs} changed{_amounts(sums['~'])}")
    paid = usd_text(sums["="].paid_nano)
    result(f"= {sums['='].jobs} already made for ${paid}, not bought again")
    if changes.in_flight:
        result(f"> {sums['>'].jobs} in flight in an unfinished run, not bought again")
    for position in _shown(plan, changes):
        show_line(f"  {_change_line(plan, changes, differs, position)}", indent=4)
    if (more := plan.total.jobs - CHANGES_SHOWN) > 0:
        result(f"  and {number_of(more, 'more job')}")


def _shown(plan: Plan, changes: Changes) -> list[int]:
    """Return the positions to print: the first changed, made, in flight and new ones, in this order."""
    known = [*sorted(changes.changed), *sorted(changes.made), *sorted(changes.in_flight)][:CHANGES_SHOWN]
    taken = {*changes.changed, *changes.costless}
    for position in range(plan.total.jobs):
        if len(known) >= CHANGES_SHOWN:
            break
        if position not in taken:
            known.append(position)
    return known


def _change_line(plan: Plan, changes: Changes, differs: Mapping[int, Sequence[str]], position: int) -> str:
    planned = plan.jobs[position]
    sign, name = changes.sign(position), planned.job.custom_id
    if sign == "=":
        return f"= {name:<28}{'$0':>10}  was ${usd_text(changes.made[position].paid_nano)}"
    if sign == ">":
        return f"> {name:<28}{'$0':>10}  in run {changes.in_flight[position]}"
    amount = usd_rounded_up(planned.quote.maximum_nano)
    what = f"  {'; '.join(differs.get(position, ()))}" if sign == "~" else ""
    return f"{sign} {name:<28}{amount:>10}{what}"


def _amounts(each: Sum) -> str:
    return f": {cost_text(each.expected_nano, each.maximum_nano)}" if each.jobs else ""
