"""What a plan looks like on the terminal, before anything is bought."""

from __future__ import annotations

from typing import TYPE_CHECKING

from callsheet.cli.console import result, say
from callsheet.cli.terminal import show_folded, show_line, terminal_width
from manifests.plan import Plan, Total
from pricing.budgets import Cap
from pricing.money import usd_rounded_up

if TYPE_CHECKING:  # the engine brings a database library, which a plan alone can do without
    from callsheet.engine.opening import Selection

WARNINGS_SHOWN = 10
_NAME = 28
"""Columns of the terminal for a name; what stands behind it takes 36 more."""


def show_plan(plan: Plan, room: dict[Cap, int], selection: Selection | None = None) -> None:
    """Print totals by model and client, the room under every cap, and the warnings."""
    total = plan.total
    show_line(
        f"{plan.campaign}: {total.jobs} job{'s' if total.jobs != 1 else ''}, price book {plan.price_book}"
    )
    _show_group("model", plan.by_model())
    if len(plan.by_resolution()) > 1:
        _show_group("resolution", plan.by_resolution())
    if set(plan.by_client()) != {""}:
        _show_group("client", plan.by_client())
    _show_total("total", total)
    for cap, left_nano in room.items():
        name = f"{cap.scope.replace('_', ' ')} {cap.name or cap.key}".strip()
        limit, left = usd_rounded_up(cap.limit_nano), usd_rounded_up(left_nano)
        show_line(f"cap {cap.window} of {name}: {limit}, {left} left")
    if selection is not None:
        _show_selection(selection)
    show_warnings(plan)


def _show_selection(selection: Selection) -> None:
    made, changed = len(selection.made), selection.changes.changed
    again = len([position for position in selection.buy if position in changed])
    told = f"   ~ {again} of them changed" if again else ""
    show_line(f"+ {len(selection.buy)} to buy{told}   = {made} already made, not bought again")
    if selection.left:
        more = usd_rounded_up(selection.left_maximum_nano)
        show_line(f"- {len(selection.left)} left out, which would need up to {more} more")


def show_warnings(plan: Plan) -> None:
    """Print the first warnings on standard error."""
    for warning in plan.warnings[:WARNINGS_SHOWN]:
        say(f"warning: {warning}")
    if len(plan.warnings) > WARNINGS_SHOWN:
        say(f"warning: and {len(plan.warnings) - WARNINGS_SHOWN} more")


def _show_group(title: str, groups: dict[str, Total]) -> None:
    if _is_narrow():
        for name, total in groups.items():
            _show_narrow(f"{title} {name or '(none)'}", total)
        return
    result(f"  {title:<{_NAME}}{'jobs':>6}{'expected':>14}{'at most':>14}")
    for name, total in groups.items():
        _show_total(name or "(none)", total)


def _show_total(name: str, total: Total) -> None:
    if _is_narrow():
        _show_narrow(name, total)
        return
    expected, most = usd_rounded_up(total.expected_nano), usd_rounded_up(total.maximum_nano)
    result(f"  {name:<{_NAME}}{total.jobs:>6}{expected:>14}{most:>14}")


def _show_narrow(name: str, total: Total) -> None:
    expected, most = usd_rounded_up(total.expected_nano), usd_rounded_up(total.maximum_nano)
    line = f"  {name}: {total.jobs} jobs, {expected} expected, {most} at most"
    show_folded(line, terminal_width(), indent=4)


def _is_narrow() -> bool:
    width = terminal_width()
    return width is not None and width < _NAME + 36
