"""Buying one video: admit, write down, send exactly once.

    admit     money and slot are held, the intent is on disk, in one transaction   nothing was sent
    POST      once; only what provably never left this machine is tried again
    accept    the request id is on disk                                            from here on it is polled

The POST and the writing down of its outcome are one step, which is finished even when the run is stopped.
"""

from __future__ import annotations

import asyncio
import logging
import random
from contextlib import suppress

from callsheet import failpoints
from callsheet.engine.admit import Intent, Order, release_held, send_again
from callsheet.engine.context import RunContext
from callsheet.engine.outage import record, through_outages
from callsheet.errors import (
    AccountError,
    ClaimLost,
    IllegalTransition,
    LedgerError,
    NotSent,
    OutcomeUnknown,
    Refused,
    RunStopping,
    Throttled,
    TurnedUp,
    UsageError,
)
from callsheet.ledger import State, history, queries, recovery, settlement, transitions
from callsheet.provider import transport
from callsheet.ticket import Ticket
from callsheet.wording import command

logger = logging.getLogger(__name__)

FREE_TRIES = 8
"""How often an upload is tried, and a POST that never left or was throttled: about two minutes in all."""

ACCEPT_PAUSES_S = (0.5, 1, 2, 5, *(10,) * 30)
"""Pauses between attempts to record the id of a paid request, in seconds: a database may be away for minutes,
and the id must not be lost."""


async def submit(ctx: RunContext, order: Order, intent: Intent) -> Ticket | None:
    """Send the one paid POST of an admitted order. Returns the ticket; None where the job ended instead."""
    outcome: Ticket | NotSent | Throttled | TurnedUp | None = None
    for attempt in range(1, FREE_TRIES + 1):
        if attempt > 1 and not ctx.stop.admitting:  # the stop came during the pause
            break
        step = asyncio.ensure_future(_send_once(ctx, order, intent, again=attempt > 1))
        try:
            outcome = await asyncio.shield(step)
            if not isinstance(outcome, NotSent | Throttled):
                ctx.tell_trouble("")
                return outcome
            ctx.tell_trouble(f"not sent to {ctx.settings.queue_url} so far, trying again: {outcome}")
            if attempt == FREE_TRIES or not ctx.stop.admitting:
                break
            advice_s = outcome.retry_after_s if isinstance(outcome, Throttled) else None
            await ctx.stop.pause(backoff_s(attempt, advice_s))
        except asyncio.CancelledError:  # the process ends: the second Ctrl-C, or SIGTERM
            await asyncio.wait([step])
            why = "the run was stopped before it was sent"
            await ctx.do(release_held, order.job_id, why=why, attempt=intent.attempt)
            raise
        except ClaimLost as lost:  # the new owner goes on with the job; it was not sent
            ctx.stop.stop(lost)
            return None
        except RunStopping as stopping:  # another process's doing; it was not sent
            ctx.stop.drain(stopping)
            break
        except TurnedUp as found:  # while it waited to be sent again; its next admission ends it
            outcome = found
            break
    await ctx.do(release_held, order.job_id, why="could not be sent", attempt=intent.attempt)
    ctx.state.unfinished.append(f"{order.job.label} could not be sent: {outcome}")
    return None


async def _send_once(
    ctx: RunContext, order: Order, intent: Intent, *, again: bool
) -> Ticket | NotSent | Throttled | None:
    """Send what is written down as being sent, and write down what came of it."""
    job_id, attempt = order.job_id, intent.attempt
    if again:
        intent = await ctx.do(send_again, order, attempt, ctx.queue.latest_departure_s)
    failpoints.passing("after_intent")
    ctx.state.bought.set()
    try:
        ticket = await ctx.queue.submit(
            order.job.endpoint.id,
            order.arguments,
            start_timeout_s=order.start_timeout_s,
            send_before_s=intent.send_before_s,
            webhook_url=ctx.webhook.of(job_id, attempt, order.arguments_sha256) if ctx.webhook else None,
        )
    except (NotSent, Throttled) as error:
        await record(ctx, transitions.not_sent, job_id, why=str(error), attempt=attempt)
        return error
    except AccountError as error:
        await record(ctx, transitions.not_sent, job_id, why=str(error), attempt=attempt)
        await record(ctx, settlement.release, job_id, why=str(error), attempt=attempt)
        ctx.stop.drain(error)
        return None
    except (Refused, UsageError) as error:
        refused = error if isinstance(error, Refused) else Refused(str(error), error_type="unsendable")
        await record(
            ctx,
            settlement.refuse,
            job_id,
            error_type=refused.error_type,
            error=str(refused),
            charged=refused.charged,
            attempt=attempt,
        )
        return None
    except OutcomeUnknown as error:
        return await _lost(ctx, job_id, attempt, error)
    failpoints.passing("after_post")
    is_ours = await _accept(ctx, job_id, attempt, ticket)
    failpoints.passing("after_record")
    return ticket if is_ours else None


async def _lost(ctx: RunContext, job_id: int, attempt: int, error: OutcomeUnknown) -> Ticket | None:
    """Record that the outcome is unknown. Returns the ticket where fal's webhook was quicker and named it."""
    lead = error.lead_request_id

    async def written() -> None:
        await ctx.do(transitions.lose, job_id, why=str(error), lead_request_id=lead, attempt=attempt)

    try:
        await through_outages(ctx, written)
    except IllegalTransition:
        row = await through_outages(ctx, lambda: ctx.do(queries.job, job_id))
        if row.attempt == attempt and row.ticket is not None:
            return row.ticket
        written_down = row.submission.lead_request_id if row.submission else None
        # A server that was lost while it committed may have recorded it all the same.
        if row.attempt != attempt or row.state is not State.UNKNOWN or written_down != lead:
            if lead:
                await _note_given_up(ctx, job_id, attempt, lead)
            raise
    ctx.state.lost.add(job_id)
    return None


async def _accept(ctx: RunContext, job_id: int, attempt: int, ticket: Ticket) -> bool:
    """Record the request id of what was bought, however long it takes.

    Also where another process owns the run by now. A server that is lost while it commits may have recorded
    it all the same. A ledger that is busy or full is asked again. Returns False where another job has this
    request: the reply named a wrong id, and the outcome is unknown. Where the attempt was given up meanwhile,
    the request is noted, and IllegalTransition is raised.
    """
    for pause_s in (*ACCEPT_PAUSES_S, None):
        try:
            await ctx.do(transitions.accept, job_id, ticket, attempt=attempt)
        except LedgerError as error:
            is_read = False
            with suppress(LedgerError):
                written = (await ctx.do(queries.job, job_id)).ticket
                if written is not None and written.request_id == ticket.request_id:
                    return True
                owner = (await ctx.do(history.known_requests, [ticket.request_id])).get(ticket.request_id)
                is_read = True
                if owner not in (None, job_id):
                    why = f"fal's reply named request {ticket.request_id}, which job {owner} has"
                    await ctx.do(transitions.lose, job_id, why=why, attempt=attempt)
                    return False
            if is_read and isinstance(error, IllegalTransition):  # the attempt was given up meanwhile
                raise await _note_given_up(ctx, job_id, attempt, ticket.request_id) from error
            if pause_s is None:
                said = f"job {job_id}: fal accepted it as request {ticket.request_id}"
                ctx.state.note_unfinished(f"{said}; the ledger does not have it: {error}")
                raise
            ctx.tell_trouble(f"waiting for the ledger: {error}")
            await asyncio.sleep(pause_s)
        else:
            return True
    raise AssertionError("the last attempt returns or raises")


async def _note_given_up(ctx: RunContext, job_id: int, attempt: int, request_id: str) -> IllegalTransition:
    """Note a request of an attempt that was given up, however long it takes. Returns what is to be raised."""
    said = f"fal named request {request_id} after attempt {attempt} of job {job_id} had been given up"
    logger.warning("%s", said, extra={"run": ctx.run.run_id, "job": job_id, "request_id": request_id})
    for pause_s in (*ACCEPT_PAUSES_S, None):
        try:
            await ctx.do(recovery.note_orphan, job_id, attempt, request_id)
        except LedgerError as error:
            if pause_s is None:
                ctx.state.note_unfinished(f"{said}; the ledger does not have it: {error}")
                raise
            ctx.tell_trouble(f"waiting for the ledger: {error}")
            await asyncio.sleep(pause_s)
        else:
            lists = command("reconcile", sandbox=ctx.request.sandbox)
            return IllegalTransition(f"{said}; `{lists}` lists it")
    raise AssertionError("the last attempt returns or raises")


def backoff_s(attempt: int, advice_s: float | None) -> float:
    """Return the seconds until the next free attempt. See `callsheet.provider.transport.backoff_s`."""
    return transport.backoff_s(attempt, advice_s, random.random())  # noqa: S311 -- jitter
