"""A plan beside what was made, on the terminal: `+` new, `~` changed, `=` already made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from callsheet.cli.console import result
from callsheet.cli.terminal import show_folded, terminal_width
from manifests.changes import Changes, Sum
from manifests.plan import Plan
from pricing.money import usd_rounded_up, usd_text

LINES_SHOWN = 50


def show_changes(plan: Plan, changes: Changes, differs: Mapping[int, Sequence[str]]) -> None:
    """Print the sums of each kind and the first lines; nothing where nothing was made before."""
    if not (changes.made or changes.changed):
        return
    sums = changes.sums(plan)
    result(f"+ {sums['+'].jobs} new{_amounts(sums['+'])}")
    result(f"~ {sums['~'].jobs} changed{_amounts(sums['~'])}")
    paid = usd_text(sums["="].paid_nano)
    result(f"= {sums['='].jobs} already made for ${paid}, not bought again")
    places = _places(plan, changes)
    for position in places[:LINES_SHOWN]:
        show_folded(f"  {_line(plan, changes, differs, position)}", terminal_width(), indent=4)
    if plan.total.jobs > LINES_SHOWN:
        result(f"  and {plan.total.jobs - LINES_SHOWN:,} more jobs")


def _places(plan: Plan, changes: Changes) -> list[int]:
    """Return the positions to show: what changed, what is made, then what is new; the first few of each."""
    known = [*sorted(changes.changed), *sorted(changes.made)][:LINES_SHOWN]
    taken = {*changes.changed, *changes.made}
    for position in range(plan.total.jobs):
        if len(known) >= LINES_SHOWN:
            break
        if position not in taken:
            known.append(position)
    return known


def _line(plan: Plan, changes: Changes, differs: Mapping[int, Sequence[str]], position: int) -> str:
    planned = plan.jobs[position]
    sign, name = changes.sign(position), planned.job.custom_id
    if sign == "=":
        return f"= {name:<28}{'$0':>10}  was ${usd_text(changes.made[position].paid_nano)}"
    amount = usd_rounded_up(planned.quote.maximum_nano)
    told = f"  {'; '.join(differs.get(position, ()))}" if sign == "~" else ""
    return f"{sign} {name:<28}{amount:>10}{told}"


def _amounts(each: Sum) -> str:
    if not each.jobs:
        return ""
    return f": {usd_rounded_up(each.expected_nano)} expected, at most {usd_rounded_up(each.maximum_nano)}"
