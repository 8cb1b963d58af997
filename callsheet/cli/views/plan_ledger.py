"""What the ledger and fal say about a plan. Imported late: a database and an HTTP library are slow."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from statistics import median
from typing import Any

from callsheet.cli.views.plan_view import PlanView
from callsheet.engine.image_changes import etags_for
from callsheet.engine.in_flight import UnfinishedRun, left_to, rows_in_flight, unfinished_beside
from callsheet.engine.open_run import OF_A_RUN, changes_of, frozen_accounts, room_for, standing_under
from callsheet.engine.paid_results import not_downloaded
from callsheet.engine.request import refuse_mixed_ledger
from callsheet.engine.rollback_guard import ledger_warnings
from callsheet.errors import CallsheetError
from callsheet.ledger import Ledger, finishing, history, queries, reviews
from callsheet.provider.platform import FalPlatform
from callsheet.settings import Settings
from callsheet.wording import command
from manifests.diff import Changes, what_differs
from manifests.job import decode_job
from manifests.plan import LedgerCaps, Plan, Size
from pricing.budgets import Cap, Room, counts_in
from pricing.catalog import load_catalog
from pricing.keep_rates import keep_rates
from pricing.money import usd_rounded_up, usd_text
from pricing.render_times import RenderKind

MOST_SIZES = 200
"""Up to this many sizes are looked up in the ledger; the rest keep the published render time."""

COMPARED = 10_000
"""Up to this many changed jobs are compared field by field."""


OTHER_IMAGE = "another image at the same address (its ETag differs)"


def compared(plan: Plan, settings: Settings, *, sandbox: bool) -> PlanView:
    """Compare a plan with the ledger. Raises UsageError for one of the other kind (`refuse_mixed_ledger`)."""
    with Ledger.open(settings.ledger) as ledger:
        refuse_mixed_ledger(ledger, sandbox=sandbox)
        made = changes_of(ledger, plan, etags_for(settings, sandbox=sandbox))
        changes = made.beside(rows_in_flight(ledger, plan, made))
        unfinished = unfinished_beside(ledger, plan.campaign, changes.in_flight)
        now = room_for(ledger, plan)
        room = room_beside(now, unfinished)
        is_kept = room != now
        return PlanView(
            room=room,
            changes=changes,
            not_downloaded=not_downloaded(ledger, plan, changes),
            differs=_differences(ledger, plan, changes),
            learned_s=_learned(ledger, plan),
            kept=ledger.do(finishing.finished_share, plan.by_model().keys()),
            rates=keep_rates(ledger.do(reviews.judged_clips, plan.by_model().keys()), "model"),
            waiting_since_ms=ledger.do(queries.waiting_since, plan.campaign),
            frozen=[str(account.ref) for account in frozen_accounts(ledger, plan)],
            warnings=ledger_warnings(ledger, plan.out, settings, sandbox=sandbox),
            release=command("budget", "unfreeze", sandbox=ledger.is_sandbox),
            shown_with=LedgerCaps(ledger.id, tuple(standing_under(ledger, plan))),
            unfinished=[
                (unfinished_line(each, is_kept=is_kept), unfinished_document(each)) for each in unfinished
            ],
        )


def room_beside(room: Room, unfinished: Sequence[UnfinishedRun]) -> dict[Cap, int]:
    """Return what is left of each cap once the runs that go on first have bought the rest of their jobs.

    The caps of the new run itself are not theirs.
    """
    needs = [spend for each in unfinished if each.goes_on_first for spend in each.pending]
    return {
        cap: left_nano
        if cap.scope in OF_A_RUN
        else max(0, left_nano - sum(each.maximum_nano for each in needs if counts_in(each, cap)))
        for cap, left_nano in room.items()
    }


def unfinished_line(each: UnfinishedRun, *, is_kept: bool) -> str:
    """Say what an unfinished run has of a plan, what becomes of it, and which command goes on with it.

    `is_kept` says that what it still needs was taken off what is left of a cap.
    """
    status, resume = (command(verb, each.run_id, sandbox=each.sandbox) for verb in ("status", "resume"))
    run = command("run", sandbox=each.sandbox)
    if each.state == "running":
        return (
            f"run {each.run_id} has {each.jobs} of these in flight, and another process is working on it: "
            f"`{run}` refuses this list until it has ended; `{status}` shows how far it is"
        )
    if not each.goes_on_first:
        return left_to(each.run_id, each.jobs, sandbox=each.sandbox)
    most = usd_rounded_up(each.pending_nano)
    needs = (
        f". {each.pending_jobs} of its jobs are not sent yet and need up to {most}"
        if each.pending_jobs
        else ""
    )
    kept = ", which is not among what is left above" if each.pending_jobs and is_kept else ""
    has = f", has {each.jobs} of these in flight" if each.jobs else ""
    held = usd_rounded_up(each.held_nano)
    return (
        f"run {each.run_id} was not finished{has} and holds {held}: "
        f"`{run}` goes on with it first, `{resume}` does at once{needs}{kept}"
    )


def unfinished_document(each: UnfinishedRun) -> dict[str, Any]:
    """Return the same for scripts."""
    return {
        "run_id": each.run_id,
        "state": each.state,
        "goes_on_first": each.goes_on_first,
        "jobs": each.jobs,
        "held_usd": usd_text(each.held_nano),
        "not_sent": each.pending_jobs,
        "not_sent_maximum_usd": usd_text(each.pending_nano),
        "resume": command("resume", each.run_id, sandbox=each.sandbox),
    }


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
