"""Drafts on the terminal: what finishing them costs, and until when they can be finished."""

from __future__ import annotations

from collections.abc import Mapping

from callsheet.cli.output import show_line
from callsheet.cli.views.plan_view import cap_name
from callsheet.engine.drafts import FinishPlan
from callsheet.report.rows import minute_utc
from pricing.budgets import Cap
from pricing.money import usd_rounded_up


def show_finishes(plan: FinishPlan, room: Mapping[Cap, int]) -> None:
    """Print what finishing the kept drafts costs, the first deadline, and the headroom of every cap."""
    count = len(plan.finishes)
    show_line(
        f"{plan.run.run_id}: finish {count} draft{'s' if count != 1 else ''}, "
        f"{usd_rounded_up(plan.expected_nano)} expected, at most {usd_rounded_up(plan.maximum_nano)}"
    )
    if plan.finishes:
        show_line(f"the first can be finished until {minute_utc(plan.until_ms)}")
    for cap, left_nano in room.items():
        limit, left = usd_rounded_up(cap.limit_nano), usd_rounded_up(left_nano)
        show_line(f"{cap_name(cap)}: {limit}, {left} left")
