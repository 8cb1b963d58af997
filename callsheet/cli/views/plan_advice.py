"""What would fit a budget, what costs most and how long it takes, on the terminal and in JSON."""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from callsheet.cli.output import result, show_line
from callsheet.wording import number_of
from manifests.diff import Changes, to_pay
from manifests.plan import Plan, PlannedJob, alike
from pricing.advice import Advice, Order, advise
from pricing.budgets import Room, choose, shortfalls
from pricing.catalog import load_catalog
from pricing.money import usd_rounded_up, usd_text
from pricing.quotes import length_text
from pricing.render_times import in_words

IN_MEMORY = 2_000
"""Plans above this many jobs are on disk, and finding single jobs takes longer than planning them."""

EXPENSIVE = 5
NAMED = 20


def advice_document(plan: Plan, changes: Changes, room: Room) -> list[dict[str, Any]]:
    """Describe the changes that would make the plan fit, with exact savings; empty if it fits."""
    if not shortfalls(to_pay(plan, changes), room):
        return []
    asked = _Asked.of(plan, changes)
    return [
        {
            "change": advice.change,
            "jobs": len(advice.positions),
            "saving_expected_usd": usd_text(advice.saving_expected_nano),
            "saving_maximum_usd": usd_text(advice.saving_maximum_nano),
            "custom_ids": [
                planned.job.custom_id
                for _, planned in plan.picked(asked.positions[at] for at in advice.positions[:NAMED])
            ],
        }
        for advice in asked.advice(room)
    ]


def advice_lines(plan: Plan, changes: Changes, room: Room) -> list[str]:
    """Describe the changes that would make the plan fit, one a line; empty if it fits."""
    if not shortfalls(to_pay(plan, changes), room):
        return []
    asked = _Asked.of(plan, changes)
    lines = ["what would fit (lowest priorities first):"]
    lines += [f"  {_line(advice)}" for advice in asked.advice(room)]
    choice = choose((asked.orders[kind].spend for kind in asked.which), room)
    taken, left = len(choice.taken), len(choice.left)
    lines.append(
        f"  --fit: takes {number_of(taken, 'job')} and skips {left}, which need{'s' * (left == 1)} "
        f"up to {usd_rounded_up(choice.left_maximum_nano)} more"
    )
    return lines


def show_expensive(plan: Plan, changes: Changes) -> None:
    """Print the jobs to buy that will cost most; for large plans, the kinds of jobs."""
    costless = changes.costless
    if plan.total.jobs - len(costless) < 2:
        return
    result("most expensive:")
    if plan.total.jobs > IN_MEMORY:
        not_bought = plan.part(costless).sizes
        sizes = sorted(plan.summary.sizes.items(), key=lambda item: -item[1].maximum_nano // item[1].jobs)
        left = [
            (size, total, total.jobs - (not_bought[size].jobs if size in not_bought else 0))
            for size, total in sizes
        ]
        for size, total, jobs in [each for each in left if each[2]][:EXPENSIVE]:
            each = usd_rounded_up(total.maximum_nano // total.jobs)
            count = number_of(jobs, "job")
            show_line(f"  {each:>10} each, {count}: {size.endpoint_id} {size.resolution}", indent=4)
        return
    for planned in most_expensive(plan, changes):
        job, price = planned.job, planned.quote
        length = length_text(job.shot)
        most = usd_rounded_up(price.maximum_nano)
        line = f"  {job.custom_id:<28}{most:>10}  {job.endpoint.model} {job.shot.resolution} {length}"
        show_line(line, indent=4)


def most_expensive(plan: Plan, changes: Changes) -> list[PlannedJob]:
    """Return the jobs to buy that cost most; of equal ones, the earlier first."""
    costless = changes.costless
    left = (planned for at, planned in enumerate(plan.jobs) if at not in costless)
    return heapq.nlargest(EXPENSIVE, left, key=lambda planned: planned.quote.maximum_nano)


def show_time(takes_s: float, concurrency: int, *, learned: bool) -> None:
    """Print how long the plan takes to render."""
    basis = (
        "measured on renders in this ledger"
        if learned
        else "from fal's published 41 s for a 5 s clip at 1080p"
    )
    show_line(f"takes about {in_words(takes_s)} with {concurrency} renders at a time, {basis}")


@dataclass(frozen=True, slots=True)
class _Asked:
    """The jobs that cost money: their positions in the plan, and the order that each of them is."""

    positions: Sequence[int]
    orders: Sequence[Order]
    which: Sequence[int]

    @classmethod
    def of(cls, plan: Plan, changes: Changes) -> _Asked:
        costless = changes.costless
        examples, which = alike(plan, costless)
        orders = [
            Order(each.job.shot, each.quote, plan.spend(each), end_image=each.job.end_image is not None)
            for each in examples
        ]
        return cls([at for at in range(plan.total.jobs) if at not in costless], orders, which)

    def advice(self, room: Room) -> list[Advice]:
        return advise(load_catalog(), self.orders, self.which, room)


def _line(advice: Advice) -> str:
    priorities = f" (priority up to {advice.priorities[-1]})" if len(advice.priorities) > 1 else ""
    most, expected = usd_text(advice.saving_maximum_nano), usd_text(advice.saving_expected_nano)
    jobs = number_of(len(advice.positions), "job")
    return f"{advice.change}: {jobs}{priorities}, saves ${most} of the maximum, ${expected} expected"


def more_document(
    plan: Plan, changes: Changes, takes_s: float, *, learned: bool, credit_nano: int | None
) -> Mapping[str, Any]:
    """Describe what costs most, how long the plan takes, and the account's balance."""
    return {
        "most_expensive": [
            {"custom_id": each.job.custom_id, "maximum_usd": usd_text(each.quote.maximum_nano)}
            for each in (most_expensive(plan, changes) if plan.total.jobs <= IN_MEMORY else ())
        ],
        "takes_s": round(takes_s, 1),
        "takes_from": "ledger" if learned else "published",
        "credit_usd": None if credit_nano is None else usd_text(credit_nano),
    }
