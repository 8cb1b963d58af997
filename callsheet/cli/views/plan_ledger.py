"""What the ledger and fal say about a plan. Imported late: a database and an HTTP library are slow."""

from __future__ import annotations

import asyncio
from statistics import median

from callsheet.cli.views.plan_view import PlanView
from callsheet.engine.image_changes import etags_for
from callsheet.engine.open_run import changes_of, frozen_accounts, room_for
from callsheet.errors import CallsheetError
from callsheet.ledger import Ledger, finishing, history, queries, reviews
from callsheet.provider.platform import FalPlatform
from callsheet.settings import Settings, command
from manifests.diff import Changes, what_differs
from manifests.job import decode_job
from manifests.plan import Plan, Size
from pricing.catalog import load_catalog
from pricing.keep_rates import keep_rates
from pricing.render_times import RenderKind

MOST_SIZES = 200
"""Up to this many sizes are looked up in the ledger; the rest keep the published render time."""

COMPARED = 10_000
"""Up to this many changed jobs are compared field by field."""


OTHER_IMAGE = "another image at the same address (its ETag differs)"


def compared(plan: Plan, settings: Settings, *, sandbox: bool) -> PlanView:
    """Compare a plan with the ledger."""
    with Ledger.open(settings.ledger) as ledger:
        changes = changes_of(ledger, plan, etags_for(settings, sandbox=sandbox))
        return PlanView(
            room=room_for(ledger, plan),
            changes=changes,
            differs=_differences(ledger, plan, changes),
            learned_s=_learned(ledger, plan),
            kept=ledger.do(finishing.finished_share, plan.by_model().keys()),
            rates=keep_rates(ledger.do(reviews.judged_clips, plan.by_model().keys()), "model"),
            waiting_since_ms=ledger.do(queries.waiting_since, plan.campaign),
            frozen=[str(account.ref) for account in frozen_accounts(ledger, plan)],
            release=command("budget", "unfreeze", sandbox=ledger.is_sandbox),
        )


def _differences(ledger: Ledger, plan: Plan, changes: Changes) -> dict[int, list[str]]:
    """Return, by position, how each changed job differs from the last one of its name."""
    catalog = load_catalog()
    first = dict(list(changes.changed.items())[:COMPARED])
    before = ledger.do(queries.payloads, {each.job_id for each in first.values()})
    return {
        position: [OTHER_IMAGE]
        if position in changes.pictures
        else what_differs(decode_job(before[first[position].job_id], catalog), planned.job)
        for position, planned in plan.picked(first)
    }


def _learned(ledger: Ledger, plan: Plan) -> dict[Size, float]:
    found = {}
    for size in list(plan.summary.sizes)[:MOST_SIZES]:
        kind = RenderKind(size.endpoint_id, size.pixels, size.frames)
        seen = ledger.do(history.render_times, kind.text)
        if seen:
            found[size] = median(seen) / 1000
    return found


def credit_nano(settings: Settings) -> int | None:
    """Return the account's balance; None where it cannot be read, because a plan does not depend on it."""

    async def read() -> int:
        async with FalPlatform(settings) as platform:
            return await platform.credits_nano()

    try:
        return asyncio.run(read())
    except CallsheetError:
        return None
