"""Cancelling: nothing more is bought, what waits at fal is taken back, what renders is collected."""

from __future__ import annotations

from callsheet.engine.context import RunContext
from callsheet.errors import CallsheetError, IllegalTransition, Interrupted
from callsheet.ledger import AT_FAL, Ledger, State, parts, queries, runs, settlement
from callsheet.ledger.locks import WHOLE
from callsheet.provider.client import FalQueue
from callsheet.wording import number_of


def cancel_pending(ledger: Ledger, run_id: str, why: str) -> int:
    """Let a run admit nothing more, in any process, and cancel its pending jobs. Returns how many.

    Nothing is recorded of a run that has ended.
    """
    if ledger.do(queries.run, run_id).closed_ms is not None:
        return 0
    ledger.do(runs.request_stop, run_id)
    ledger.do(parts.note_stop, run_id, WHOLE, why[:500])
    cancelled = 0
    for row in ledger.do(queries.jobs, run_id, states={State.PENDING}):
        try:
            ledger.do(settlement.cancel, row.job_id, why=why[:500], attempt=row.attempt)
        except IllegalTransition:  # the run that still goes on has moved it meanwhile
            continue
        cancelled += 1
    return cancelled


async def cancel_at_fal(queue: FalQueue, ledger: Ledger, run_id: str) -> list[dict[str, str]]:
    """Ask fal to drop every request of a run that it has not rendered. Returns what it answered, per job.

    The ledger is not changed: polling reads how each ended, and a render that goes on is collected.
    """
    answers = []
    for row in ledger.do(queries.jobs, run_id, states=AT_FAL):
        if row.ticket is None:
            continue
        request_id = row.ticket.request_id
        try:
            answer = (await queue.cancel(queue.ticket(row.endpoint, request_id))).replace("_", " ")
        except CallsheetError as error:
            answer = str(error)
        names = {"custom_id": row.custom_id, "row": str(row.row), "request_id": request_id}
        answers.append({**names, "answer": answer})
    return answers


async def cancel_run(ctx: RunContext, why: str) -> None:
    """Cancel a run that this process carries out. It ends by itself once what renders is collected."""
    ctx.state.cancelled = True
    ctx.stop.drain(Interrupted(f"cancelled: {why}"))
    cancelled = await ctx.do.call(cancel_pending, ctx.run.run_id, f"cancelled: {why}")
    answers = await cancel_at_fal(ctx.queue, ctx.account.ledger, ctx.run.run_id)
    jobs = number_of(cancelled, "job")
    ctx.state.notice(f"{why}: {jobs} cancelled, {len(answers)} asked to stop at fal")


async def refuse_run(ctx: RunContext, why: str) -> None:
    """Cancel a run that was not approved. Nothing was bought."""
    ctx.state.cancelled = True
    await ctx.do.call(cancel_pending, ctx.run.run_id, f"not approved: {why}")
    ctx.state.notice(f"not approved, nothing was bought: {why}")
