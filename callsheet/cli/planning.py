"""What a plan looks like on the terminal, before anything is bought."""

from __future__ import annotations

from typing import TYPE_CHECKING

from callsheet.cli.console import result, say
from manifests.plan import Plan, Total
from pricing.budgets import Cap
from pricing.money import usd_rounded_up

if TYPE_CHECKING:  # the engine brings a database library, which a plan alone can do without
    from callsheet.engine.opening import Selection

WARNINGS_SHOWN = 10


def show_plan(plan: Plan, room: dict[Cap, int], selection: Selection | None = None) -> None:
    """Print totals by model and client, the room under every cap, and the warnings."""
    total = plan.total
    result(f"{plan.campaign}: {total.jobs} job{'s' if total.jobs != 1 else ''}, price book {plan.price_book}")
    _show_group("model", plan.by_model())
    if len(plan.by_resolution()) > 1:
        _show_group("resolution", plan.by_resolution())
    if set(plan.by_client()) != {""}:
        _show_group("client", plan.by_client())
    result(f"  {'total':<28}{_amounts(total)}")
    for cap, left_nano in room.items():
        name = f"{cap.scope.replace('_', ' ')} {cap.key}".strip()
        limit, left = usd_rounded_up(cap.limit_nano), usd_rounded_up(left_nano)
        result(f"cap {cap.window} of {name}: {limit}, {left} left")
    if selection is not None:
        _show_selection(selection)
    show_warnings(plan)


def _show_selection(selection: Selection) -> None:
    made, changed = len(selection.made), selection.changes.changed
    again = len([position for position in selection.buy if position in changed])
    told = f"   ~ {again} of them changed" if again else ""
    result(f"+ {len(selection.buy)} to buy{told}   = {made} already made, not bought again")
    if selection.left:
        more = usd_rounded_up(selection.left_maximum_nano)
        result(f"- {len(selection.left)} left out, which would need up to {more} more")


def show_warnings(plan: Plan) -> None:
    """Print the first warnings on standard error."""
    for warning in plan.warnings[:WARNINGS_SHOWN]:
        say(f"warning: {warning}")
    if len(plan.warnings) > WARNINGS_SHOWN:
        say(f"warning: and {len(plan.warnings) - WARNINGS_SHOWN} more")


def _show_group(title: str, groups: dict[str, Total]) -> None:
    result(f"  {title:<28}{'jobs':>6}{'expected':>14}{'at most':>14}")
    for name, total in groups.items():
        result(f"  {name or '(none)':<28}{_amounts(total)}")


def _amounts(total: Total) -> str:
    return f"{total.jobs:>6}{usd_rounded_up(total.expected_nano):>14}{usd_rounded_up(total.maximum_nano):>14}"
