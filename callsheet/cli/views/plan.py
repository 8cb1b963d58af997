"""A plan compared with this machine's ledger: prices, headroom, changes, duration and credit."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import median
from typing import TYPE_CHECKING

from callsheet.cli.output import result, say, show_line, terminal_width
from callsheet.errors import CallsheetError
from callsheet.files import has_ledger
from callsheet.ledger import history, queries
from callsheet.settings import Settings, settings_from
from manifests.diff import Changes, Sum, what_differs
from manifests.job import decode_job
from manifests.plan import Plan, Size, Total
from pricing.budgets import Cap, full_room
from pricing.catalog import load_catalog
from pricing.money import usd_rounded_up, usd_text
from pricing.render_times import campaign_s, published_render_s

if TYPE_CHECKING:  # planning alone does not import the database library
    from callsheet.engine.open_run import Selection
    from callsheet.ledger import Ledger

WARNINGS_SHOWN = 10
CHANGES_SHOWN = 50

MOST_SIZES = 200
"""Up to this many sizes are looked up in the ledger; the rest keep the published render time."""

COMPARED = 10_000
"""Up to this many changed jobs are compared field by field."""

_NAME = 28
"""Columns for a name in the tables of totals; the figures beside it take 36 more."""


@dataclass(frozen=True, slots=True)
class PlanView:
    """What the ledger knows about a plan.

    `room` is the headroom under each cap in nano-dollars. `differs` says, by position, what makes a changed
    job another one. `learned_s` is the median render time of a size in seconds. `credit_nano` is the
    account's balance in nano-dollars, None where it was not read.
    """

    room: Mapping[Cap, int]
    changes: Changes = field(default_factory=Changes)
    differs: Mapping[int, Sequence[str]] = field(default_factory=dict)
    learned_s: Mapping[Size, float] = field(default_factory=dict)
    credit_nano: int | None = None

    def takes_s(self, plan: Plan, concurrency: int) -> float:
        """Return the seconds it takes to render what is not made yet."""
        left = {size: total.jobs for size, total in plan.summary.sizes.items()}
        if self.changes.made:
            for size, total in plan.part(self.changes.made).sizes.items():
                left[size] -= total.jobs
        return campaign_s(
            (
                (jobs, self.learned_s.get(size, published_render_s(size.pixels, size.frames)))
                for size, jobs in left.items()
            ),
            concurrency=concurrency,
        )


def view_plan(plan: Plan, *, sandbox: bool = False) -> PlanView:
    """Compare a plan with the ledger, if there is one; none is created."""
    settings = settings_from(os.environ)
    if sandbox:
        from callsheet.engine.request import sandbox_ledger  # noqa: PLC0415 -- the engine is slow to import

        settings = replace(sandbox_ledger(settings), admin_key=None)
    found = _from_ledger(plan, settings) or PlanView(dict(full_room(plan.caps)))
    return replace(found, credit_nano=_credit_nano(settings)) if settings.admin_key else found


def _from_ledger(plan: Plan, settings: Settings) -> PlanView | None:
    if not has_ledger(settings):
        return None
    from callsheet.engine.open_run import changes_of, room_for  # noqa: PLC0415 -- a database library is 0.2 s
    from callsheet.ledger import Ledger  # noqa: PLC0415

    with Ledger.open(settings.ledger) as ledger:
        changes = changes_of(ledger, plan)
        return PlanView(
            room=room_for(ledger, plan),
            changes=changes,
            differs=differences(ledger, plan, changes),
            learned_s=_learned(ledger, plan),
        )


def differences(ledger: Ledger, plan: Plan, changes: Changes) -> dict[int, list[str]]:
    """Return, by position, how each changed job differs from the last one of its name."""
    catalog = load_catalog()
    first = dict(list(changes.changed.items())[:COMPARED])
    before = ledger.do(queries.payloads, {each.job_id for each in first.values()})
    return {
        position: what_differs(decode_job(before[first[position].job_id], catalog), planned.job)
        for position, planned in plan.picked(first)
    }


def _learned(ledger: Ledger, plan: Plan) -> dict[Size, float]:
    found = {}
    for size in list(plan.summary.sizes)[:MOST_SIZES]:
        seen = ledger.do(history.render_times, f"{size.endpoint_id}|{size.pixels}|{size.frames}")
        if seen:
            found[size] = median(each.rendered_ms for each in seen) / 1000
    return found


def _credit_nano(settings: Settings) -> int | None:
    """Return the balance; None where it cannot be read, because a plan does not depend on it."""
    from callsheet.provider.platform import FalPlatform  # noqa: PLC0415 -- an HTTP library is 0.2 s

    async def read() -> int:
        async with FalPlatform(settings) as platform:
            return await platform.credits_nano()

    try:
        return asyncio.run(read())
    except CallsheetError:
        return None


def show_plan(plan: Plan, room: Mapping[Cap, int], selection: Selection | None = None) -> None:
    """Print the totals by model, resolution and client, the headroom of every cap, and the warnings."""
    total = plan.total
    show_line(
        f"{plan.campaign}: {total.jobs} job{'s' if total.jobs != 1 else ''}, price book {plan.price_book}"
    )
    if total.jobs:
        _show_totals(plan)
    for cap, left_nano in room.items():
        limit, left = usd_rounded_up(cap.limit_nano), usd_rounded_up(left_nano)
        show_line(f"{cap_name(cap)}: {limit}, {left} left")
    if selection is not None:
        _show_selection(selection)
    show_warnings(plan)


def _show_totals(plan: Plan) -> None:
    _show_group("model", plan.by_model())
    if len(plan.by_resolution()) > 1:
        _show_group("resolution", plan.by_resolution())
    if set(plan.by_client()) - {""}:
        _show_group("client", plan.by_client())
    _show_total("total", plan.total)


def cap_name(cap: Cap) -> str:
    """Name a cap, e.g. `total cap of campaign spring`."""
    return f"{cap.window} cap of {cap.scope.replace('_', ' ')} {cap.name or cap.key}".strip()


def _show_selection(selection: Selection) -> None:
    made, changed = len(selection.changes.made), selection.changes.changed
    again = len([position for position in selection.buy if position in changed])
    note = f"   ~ {again} of them changed" if again else ""
    show_line(f"+ {len(selection.buy)} to buy{note}   = {made} already made, not bought again")
    if selection.left:
        more = usd_rounded_up(selection.left_maximum_nano)
        show_line(f"- {len(selection.left)} skipped: over budget, need up to {more} more")


def show_warnings(plan: Plan) -> None:
    """Print the first warnings on standard error."""
    for warning in plan.warnings[:WARNINGS_SHOWN]:
        say(f"warning: {warning}")
    if len(plan.warnings) > WARNINGS_SHOWN:
        say(f"warning: and {len(plan.warnings) - WARNINGS_SHOWN} more")


def _show_group(title: str, groups: Mapping[str, Total]) -> None:
    narrow = _is_narrow()
    if not narrow:
        result(f"  {title:<{_NAME}}{'jobs':>6}{'expected':>14}{'at most':>14}")
    for name, total in groups.items():
        _show_total(f"{title if narrow else ''} {name or '(none)'}".strip(), total)


def _show_total(name: str, total: Total) -> None:
    expected, most = usd_rounded_up(total.expected_nano), usd_rounded_up(total.maximum_nano)
    if _is_narrow():
        show_line(f"  {name}: {total.jobs} jobs, {expected} expected, {most} at most", indent=4)
    else:
        result(f"  {name:<{_NAME}}{total.jobs:>6}{expected:>14}{most:>14}")


def _is_narrow() -> bool:
    width = terminal_width()
    return width is not None and width < _NAME + 36


def show_changes(plan: Plan, changes: Changes, differs: Mapping[int, Sequence[str]]) -> None:
    """Print what is new, changed and already made; nothing where nothing was made before."""
    if not (changes.made or changes.changed):
        return
    sums = changes.sums(plan)
    result(f"+ {sums['+'].jobs} new{_amounts(sums['+'])}")
    result(f"~ {sums['~'].jobs} changed{_amounts(sums['~'])}")
    paid = usd_text(sums["="].paid_nano)
    result(f"= {sums['='].jobs} already made for ${paid}, not bought again")
    for position in _shown(plan, changes):
        show_line(f"  {_change_line(plan, changes, differs, position)}", indent=4)
    if plan.total.jobs > CHANGES_SHOWN:
        result(f"  and {plan.total.jobs - CHANGES_SHOWN:,} more jobs")


def _shown(plan: Plan, changes: Changes) -> list[int]:
    """Return the positions to print: the first changed, made and new ones, in this order."""
    known = [*sorted(changes.changed), *sorted(changes.made)][:CHANGES_SHOWN]
    taken = {*changes.changed, *changes.made}
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
    amount = usd_rounded_up(planned.quote.maximum_nano)
    what = f"  {'; '.join(differs.get(position, ()))}" if sign == "~" else ""
    return f"{sign} {name:<28}{amount:>10}{what}"


def _amounts(each: Sum) -> str:
    if not each.jobs:
        return ""
    return f": {usd_rounded_up(each.expected_nano)} expected, at most {usd_rounded_up(each.maximum_nano)}"
