"""Advice on the terminal and in JSON: what would fit, what costs most, how long it takes, what is left."""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from typing import Any

from callsheet.cli.console import result
from callsheet.cli.terminal import show_folded, show_line, terminal_width
from manifests.changes import Changes, to_pay
from manifests.plan import Plan, PlannedJob
from pricing.advice import Advice, Order, advise
from pricing.budgets import Room, Spend, choose, shortfalls
from pricing.catalog import load_catalog
from pricing.duration import in_words
from pricing.money import usd_rounded_up, usd_text

MOST_JOBS = 20_000
"""Above this many jobs nothing is advised: it would take longer than the plan."""

IN_MEMORY = 2_000
"""Above this many jobs a plan lies on disk, and looking for single jobs takes longer than planning them."""

EXPENSIVE = 5
NAMED = 20


def advice_document(plan: Plan, changes: Changes, room: Room) -> list[dict[str, Any]]:
    """Describe what would fit, with exact savings; empty where all fits, and above 20,000 jobs."""
    return [
        {
            "change": advice.change,
            "jobs": len(advice.positions),
            "saving_expected_usd": usd_text(advice.saving_expected_nano),
            "saving_maximum_usd": usd_text(advice.saving_maximum_nano),
            "custom_ids": [_name(plan, at) for at in _in_plan(plan, changes, advice.positions)[:NAMED]],
        }
        for advice in _advised(plan, changes, room)
    ]


def advice_lines(plan: Plan, changes: Changes, room: Room) -> list[str]:
    """Say what would fit."""
    if not shortfalls(to_pay(plan, changes), room):
        return []
    if plan.total.jobs > MOST_JOBS:
        return [f"no advice on more than {MOST_JOBS:,} jobs; `--fit` takes the highest priorities that fit"]
    lines = ["what would fit (lowest priorities first):"]
    lines += [f"  {_line(plan, changes, advice)}" for advice in _advised(plan, changes, room)]
    choice = choose(_spends(plan, changes), room)
    lines.append(
        f"  --fit: takes {len(choice.taken)} jobs, leaves out {len(choice.left)} which would need up to "
        f"{usd_rounded_up(choice.left_maximum_nano)}"
    )
    return lines


def show_expensive(plan: Plan) -> None:
    """Print the jobs that cost most; of large plans, the kinds of jobs."""
    if plan.total.jobs < 2:
        return
    result("most expensive:")
    if plan.total.jobs > IN_MEMORY:
        sizes = sorted(plan.summary.sizes.items(), key=lambda item: -item[1].maximum_nano // item[1].jobs)
        for size, total in sizes[:EXPENSIVE]:
            each = usd_rounded_up(total.maximum_nano // total.jobs)
            kind = f"{total.jobs:,} jobs: {size.endpoint_id} {size.resolution}"
            show_folded(f"  {each:>10} each, {kind}", terminal_width(), indent=4)
        return
    for planned in most_expensive(plan):
        job, price = planned.job, planned.quote
        length = f"{job.num_frames} frames" if job.num_frames else f"{job.duration_s} s"
        most = usd_rounded_up(price.maximum_nano)
        line = f"  {job.custom_id:<28}{most:>10}  {job.endpoint.model} {job.resolution} {length}"
        show_folded(line, terminal_width(), indent=4)


def most_expensive(plan: Plan) -> list[PlannedJob]:
    """Return the jobs that cost most, the earlier first where they cost the same."""
    return heapq.nlargest(EXPENSIVE, plan.jobs, key=lambda planned: planned.quote.maximum_nano)


def show_time(takes_s: float, concurrency: int, *, learned: bool) -> None:
    """Print how long it takes."""
    basis = "by renders of this ledger" if learned else "by fal's published 41 s for 5 s of 1080p"
    show_line(f"takes about {in_words(takes_s)} at {concurrency} at a time, {basis}")


def _advised(plan: Plan, changes: Changes, room: Room) -> list[Advice]:
    if plan.total.jobs > MOST_JOBS or not shortfalls(to_pay(plan, changes), room):
        return []
    return advise(load_catalog(), _orders(plan, changes), room)


def _orders(plan: Plan, changes: Changes) -> list[Order]:
    spends = plan.spends()
    return [
        Order(planned.job.shot, planned.quote, spends[at], end_image=planned.job.end_image is not None)
        for at, planned in enumerate(plan.jobs)
        if at not in changes.made
    ]


def _spends(plan: Plan, changes: Changes) -> list[Spend]:
    return [spend for at, spend in enumerate(plan.spends()) if at not in changes.made]


def _in_plan(plan: Plan, changes: Changes, positions: tuple[int, ...]) -> list[int]:
    """Return positions in the plan of positions among the jobs that cost money."""
    wanted = [at for at in range(plan.total.jobs) if at not in changes.made]
    return [wanted[position] for position in positions]


def _line(plan: Plan, changes: Changes, advice: Advice) -> str:
    places = _in_plan(plan, changes, advice.positions)
    priorities = sorted({plan.jobs[at].job.priority for at in places})
    reach = f" (priority up to {priorities[-1]})" if len(priorities) > 1 else ""
    most, expected = usd_text(advice.saving_maximum_nano), usd_text(advice.saving_expected_nano)
    return f"{advice.change}: {len(places)} jobs{reach}, saves ${most} of the maximum, ${expected} expected"


def _name(plan: Plan, at: int) -> str:
    return plan.jobs[at].job.custom_id


def more_document(plan: Plan, takes_s: float, *, learned: bool, credit_nano: int | None) -> Mapping[str, Any]:
    """Describe what costs most, how long it takes, and the account's balance."""
    return {
        "most_expensive": [
            {"custom_id": each.job.custom_id, "maximum_usd": usd_text(each.quote.maximum_nano)}
            for each in (most_expensive(plan) if plan.total.jobs <= IN_MEMORY else ())
        ],
        "takes_s": round(takes_s, 1),
        "takes_from": "ledger" if learned else "published",
        "credit_usd": None if credit_nano is None else usd_text(credit_nano),
    }
