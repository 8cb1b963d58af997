"""The plan as JSON documents for scripts: the keys of the command line's contract, and more.

Amounts are exact decimal strings of dollars.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from callsheet.errors import ManifestError, Problem
from manifests.diff import Changes, to_pay
from manifests.look import look_document
from manifests.plan import Plan, PlannedJob, Total
from manifests.readers.remote import without_secrets
from pricing.budgets import Cap, Room, full_room, shortfalls
from pricing.money import usd_text

ROWS_SHOWN = 10_000
"""Above this many jobs the rows are left out unless they are asked for."""


def plan_document(
    plan: Plan,
    *,
    room: Room | None = None,
    rows: bool | None = None,
    changes: Changes | None = None,
    differs: Mapping[int, Sequence[str]] | None = None,
) -> dict[str, Any]:
    """Describe a plan. `room` is what is left of its caps (by default all of them are untouched).

    `rows` None leaves them out above 10,000 jobs. `changes` is the plan beside what was made before, where
    that was looked up, and `differs` says by position in what; whether it fits is a question about what
    costs money.
    """
    room = full_room(plan.caps) if room is None else room
    short = {each.cap: each.needed_nano for each in shortfalls(to_pay(plan, changes or Changes()), room)}
    document: dict[str, Any] = {
        "plan_hash": plan.hash,
        "campaign": plan.campaign,
        "source": without_secrets(plan.source) if isinstance(plan.source, str) else plan.source.as_posix(),
        "price_book": plan.price_book,
        "jobs": plan.total.jobs,
        "expected_usd": usd_text(plan.total.expected_nano),
        "maximum_usd": usd_text(plan.total.maximum_nano),
        "fits": not short,
        "by_model": totals_document(plan.by_model()),
        "by_client": totals_document(plan.by_client()),
        "by_resolution": totals_document(plan.by_resolution()),
        "caps": [
            cap_document(cap) | {"left_usd": usd_text(left), "fits": cap not in short}
            for cap, left in room.items()
        ],
    }
    if look := look_document(plan.look):
        document["look"] = look
    if plan.retakes is not None:
        document["retakes"] = {"max": plan.retakes.most, "on": list(plan.retakes.on)}
    if changes is not None:
        document["changes"] = changes_document(plan, changes)
    if rows or (rows is None and plan.total.jobs <= ROWS_SHOWN):
        told = differs or {}
        document["rows"] = [
            row_document(planned) | change_document(changes, position, planned, told.get(position, ()))
            for position, planned in enumerate(plan.jobs)
        ]
    return document | {"errors": [], "warnings": problems_document(plan.warnings)}


def changes_document(plan: Plan, changes: Changes) -> dict[str, Any]:
    """Describe how much is new (`+`), changed (`~`), made (`=`) and in flight (`>`), each with its money."""
    return {
        sign: {
            "jobs": each.jobs,
            "expected_usd": usd_text(each.expected_nano),
            "maximum_usd": usd_text(each.maximum_nano),
            "paid_usd": usd_text(each.paid_nano),
        }
        for sign, each in changes.sums(plan).items()
    }


def change_document(
    changes: Changes | None, position: int, planned: PlannedJob, differs: Sequence[str]
) -> dict[str, Any]:
    """Describe how one job stands beside what was made, and what it still costs at most."""
    if changes is None:
        return {}
    made = changes.made.get(position) or changes.changed.get(position)
    return {
        "change": changes.sign(position),
        "to_pay_usd": usd_text(0 if changes.sign(position) in ("=", ">") else planned.quote.maximum_nano),
        "paid_usd": usd_text(made.paid_nano if made else 0),
        "differs": list(differs),
    }


def refusal_document(error: ManifestError) -> dict[str, Any]:
    """Describe a manifest that cannot be planned, with the keys of a plan."""
    return {
        "plan_hash": "",
        "jobs": 0,
        "expected_usd": usd_text(0),
        "maximum_usd": usd_text(0),
        "fits": False,
        "rows": [],
        "errors": problems_document(error.problems),
        "warnings": [],
    }


def left_document(left: Sequence[PlannedJob]) -> dict[str, Any]:
    """Describe the jobs that a plan leaves out because they do not fit, by name up to 10,000."""
    maximum_nano = sum(planned.quote.maximum_nano for planned in left)
    return {
        "left_out": {
            "jobs": len(left),
            "maximum_usd": usd_text(maximum_nano),
            "custom_ids": [planned.job.custom_id for planned in left[:ROWS_SHOWN]],
        }
    }


def row_document(planned: PlannedJob) -> dict[str, Any]:
    """Describe one job and its price."""
    job, quote = planned.job, planned.quote
    return {
        "custom_id": job.custom_id,
        "row": job.row,
        "take": job.take,
        "endpoint": job.endpoint.id,
        "model": job.endpoint.model,
        "resolution": job.resolution,
        "aspect_ratio": job.aspect_ratio,
        "width": quote.width_px,
        "height": quote.height_px,
        "fps": quote.fps,
        "frames": quote.frames,
        "duration_s": quote.duration_s,
        "tokens": quote.tokens,
        "expected_usd": usd_text(quote.expected_nano),
        "maximum_usd": usd_text(quote.maximum_nano),
        "priority": job.priority,
        "client": job.client,
        "output_name": job.output_name,
    }


def totals_document(totals: Mapping[str, Total]) -> dict[str, Any]:
    """Describe totals by name."""
    return {
        name: {
            "jobs": total.jobs,
            "expected_usd": usd_text(total.expected_nano),
            "maximum_usd": usd_text(total.maximum_nano),
        }
        for name, total in totals.items()
    }


def cap_document(cap: Cap) -> dict[str, Any]:
    """Describe one cap."""
    return {"scope": cap.scope, "key": cap.key, "window": cap.window, "limit_usd": usd_text(cap.limit_nano)}


def problems_document(problems: Sequence[Problem]) -> list[dict[str, Any]]:
    """Describe mistakes or warnings."""
    return list(map(asdict, problems))
