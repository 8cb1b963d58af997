"""What money stops while a run goes on: a cap, and a bill above what was held for it."""

from __future__ import annotations

from decimal import Decimal

from callsheet.engine.context import RunContext
from callsheet.errors import BudgetError, Overbilled
from callsheet.ledger import Booking, JobRow, State, queries, transitions
from pricing.money import usd_text


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
            f"{row.custom_id} ({where}) was billed {usd_text(booking.cost_nano)} USD, "
            f"{times(booking.cost_nano, hold_nano)} times the {usd_text(hold_nano)} USD held for it, the "
            "most it could cost. It is booked in full, and every account it counts in is frozen: "
            "nothing more is bought. Compare it with fal's own bill, then `callsheet budget unfreeze`",
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


async def skip_the_rest(ctx: RunContext) -> None:
    """Where money stopped the run: leave out what was not bought, each job with the reason."""
    reason = ctx.stop.reason
    if not isinstance(reason, BudgetError):
        return
    waiting = await ctx.do(queries.jobs, ctx.run.run_id, states={State.PENDING})
    why = f"not bought: {reason}"
    await ctx.do(transitions.skip, [row.job_id for row in waiting], why=why[:500])
