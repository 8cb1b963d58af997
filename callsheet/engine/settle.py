"""From a finished render to its cost: take the result, settle.

None of this holds a slot, and all of it is free: it may be repeated as often as needed.
"""

from __future__ import annotations

import asyncio
import json
from decimal import Decimal

from callsheet import failpoints
from callsheet.engine.context import RunContext
from callsheet.engine.paid_results import kept_result, recovered_result
from callsheet.errors import AccountError, Overbilled, RenderFailed, Unavailable
from callsheet.ledger import Booking, JobRow, Settlement, queries, recovery, settlement
from callsheet.provider.client import REFUSALS
from callsheet.provider.messages import Rendered
from callsheet.reconciliation.account import submission_of
from callsheet.ticket import Ticket
from callsheet.wording import command
from manifests.job import Job
from pricing.bills import Charge, charge, delivered_nano
from pricing.catalog import Catalog
from pricing.money import usd_text
from pricing.pins import catalog_at

RESULT_TRIES = 8
"""How often a result is asked for: 9 of 18 paid clips were lost elsewhere to one 504 from the result
(https://github.com/openstory-so/openstory/pull/1505). About two minutes in all."""

SURE = 3
"""How often a failure must be said until it is believed."""

WITHOUT_BILL = ("expected", "bill_implausible")
"""Bases of a cost that no figure of fal's confirms: the hold is booked until the file is there."""

IMPLAUSIBLE = (
    "fal billed less than the smallest such video can cost. That is not believed: such rows say "
    "bill_implausible and cost what the delivered video costs, or their hold where there is none. "
    "`{reconcile}` with FAL_ADMIN_KEY books fal's own billing events"
)


async def settle(ctx: RunContext, job: Job, row: JobRow, ticket: Ticket) -> Rendered | None:
    """Take the result and book its real cost. Returns None where the render turns out to have failed."""
    try:
        rendered = await fetch_result(ctx, ticket)
    except RenderFailed as failure:
        await book_failure(ctx, job, row, failure)
        return None
    failpoints.passing("before_settle")
    found = _settlement(ctx, job, row, rendered)
    booking = await ctx.do(settlement.settle, row.job_id, found, attempt=row.attempt)
    failpoints.passing("after_settle")
    stop_if_overbilled(ctx, row, booking)
    return rendered


async def known_result(ctx: RunContext, job: Job, row: JobRow, ticket: Ticket) -> Rendered:
    """Return the result of a job whose cost is booked: the ledger's own copy, else fal's.

    Where the ledger has none, the hold was written off as spent: the real cost is booked now.
    Raises RenderFailed, UntrustedHost or Unavailable where there is none to be had.
    """
    if (kept := kept_result(row)) is not None:
        return kept
    rendered = await fetch_result(ctx, ticket)
    if submission_of(row).result_json is None:
        found = _settlement(ctx, job, row, rendered)
        booking = await ctx.do(recovery.settle_found, row.job_id, found, attempt=row.attempt)
        stop_if_overbilled(ctx, row, booking)
    return rendered


def _settlement(ctx: RunContext, job: Job, row: JobRow, rendered: Rendered) -> Settlement:
    charged = real_cost(ctx, job, row, rendered.billable_units)
    return Settlement(
        cost_nano=charged.nano,
        cost_basis=charged.basis,
        result_json=json.dumps(rendered.raw),
        billable_units=rendered.billable_units,
        seed_used=rendered.seed,
    )


async def fetch_result(ctx: RunContext, ticket: Ticket, *, tries: int | None = None) -> Rendered:
    """Ask for the result until it is there, and elsewhere when it has expired or stays away.

    Raises RenderFailed, Unavailable when it stays away, and AccountError when the key is refused repeatedly.
    A failure is believed when it is said `SURE` times: one mistaken answer must not write off a clip that is
    there and paid for.
    """
    failures, refusals, tries = 0, 0, tries or RESULT_TRIES
    for attempt in range(1, tries + 1):
        wait_s = min(30.0, 0.5 * 2 ** (attempt - 1))
        try:
            return await ctx.queue.result(ticket)
        except RenderFailed:
            failures += 1
            if failures == SURE:
                raise
            wait_s = 0.5 * failures
        except AccountError:
            refusals += 1
            if refusals == REFUSALS or attempt == tries:
                raise
        except Unavailable as error:
            if error.gone or attempt == tries:
                return await recovered_result(ctx, ticket, error)
            wait_s = error.retry_after_s or wait_s
        await asyncio.sleep(wait_s)
    raise Unavailable("fal's queue says now that the render failed and now that it cannot be read")


def _catalog(ctx: RunContext, row: JobRow) -> Catalog:
    """Return the rates at which this job was bought."""
    if row.submission is None or len(ctx.pins) < 2:
        return ctx.catalog
    return catalog_at(ctx.catalog, ctx.pins, row.submission.admitted_ms)


def real_cost(ctx: RunContext, job: Job, row: JobRow, billable_units: str | None) -> Charge:
    """Return what a job cost by fal's reply: its hold where the reply brings no bill that is believed."""
    found = charge(_catalog(ctx, row), job.shot, billable_units)
    if found.basis == "billable_units":
        return found
    if found.basis == "bill_implausible":
        reconcile = command("reconcile", sandbox=ctx.request.sandbox)
        ctx.state.notice(IMPLAUSIBLE.format(reconcile=reconcile))
    hold_nano = row.submission.hold_nano if row.submission else row.maximum_nano
    return Charge(hold_nano, found.basis)


async def book_delivered(ctx: RunContext, job: Job, row: JobRow, size: tuple[int, int]) -> None:
    """Book what the delivered video costs where no bill of fal's was believed; `size` is in pixels.

    Never more than the hold, which is what is booked so far. Repeating it changes nothing.
    """
    submission = (await ctx.do(queries.job, row.job_id)).submission
    if submission is None or submission.ticket is None or submission.cost_basis not in WITHOUT_BILL:
        return
    delivered = delivered_nano(_catalog(ctx, row), job.shot, width_px=size[0], height_px=size[1])
    await ctx.do(
        settlement.correct,
        submission.ticket.request_id,
        cost_nano=min(delivered, submission.hold_nano),
        cost_basis=submission.cost_basis,
    )


async def book_failure(ctx: RunContext, job: Job, row: JobRow, failure: RenderFailed) -> None:
    """Record a failed render and what it cost: nothing, the units it names, or its hold."""
    cost: Charge | None = None
    if failure.charged == "yes":
        cost = real_cost(ctx, job, row, failure.billable_units)
    booking = await ctx.do(
        settlement.fail_render,
        row.job_id,
        error_type=failure.error_type,
        error=str(failure),
        charged=failure.charged,
        cost_nano=cost.nano if cost else None,
        cost_basis=cost.basis if cost else None,
        billable_units=failure.billable_units,
        attempt=row.attempt,
    )
    stop_if_overbilled(ctx, row, booking)


def stop_if_overbilled(ctx: RunContext, row: JobRow, booking: Booking) -> None:
    """Let the run drain where a bill came out above its hold: the next one could be any amount.

    fal once billed 40,500 USD for 80 seconds (github.com/fal-ai/fal/issues/1175). The ledger has booked the
    bill in full and has frozen every account that it counts in.
    """
    if booking.overrun_nano <= 0 or booking.replayed:
        return
    hold_nano = row.submission.hold_nano if row.submission else row.maximum_nano
    where = f"request {row.ticket.request_id}" if row.ticket else f"run {row.run_id}"
    ctx.stop.drain(
        Overbilled(
            f"{row.label}, {where}, was billed {usd_text(booking.cost_nano)} USD, "
            f"{times(booking.cost_nano, hold_nano)} times the {usd_text(hold_nano)} USD held for it, the "
            "most it could cost. It is booked in full, and every account it counts in is frozen: "
            "nothing more is bought. Compare it with fal's own bill, then "
            f"`{command('budget', 'unfreeze', sandbox=ctx.account.ledger.is_sandbox)}`",
            scope=f"run {row.run_id}",
            limit_nano=hold_nano,
            taken_nano=booking.cost_nano,
            needed_nano=0,
        )
    )


def times(cost_nano: int, hold_nano: int) -> str:
    """Say how many times the hold a cost is: `1.02`, `4166`."""
    ratio = Decimal(cost_nano) / Decimal(max(hold_nano, 1))
    return f"{ratio:.2f}" if ratio < 100 else f"{ratio:.0f}"
