"""One job: buy it, poll it, book its cost, fetch its file.

Each step asks the ledger where the job stands, so repeating a job after a crash is harmless.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager

from callsheet.engine.admit import Intent, Order, admit, order_of
from callsheet.engine.context import Polled, RunContext
from callsheet.engine.fetch import fetch, fetch_failed
from callsheet.engine.outage import through_outages
from callsheet.engine.paid_results import NOT_FETCHED
from callsheet.engine.settle import known_result, settle
from callsheet.engine.submit import submit
from callsheet.engine.uploads import uploaded_images
from callsheet.errors import (
    AccountError,
    CallsheetError,
    CapReached,
    ClaimLost,
    DiskFull,
    InputError,
    Interrupted,
    QueueError,
    RenderFailed,
    TurnedUp,
    Unavailable,
    UntrustedHost,
)
from callsheet.ledger import AT_FAL, JobRow, PaidOutcome, State, history, queries, settlement, transitions
from callsheet.media.codes import NO_VIDEO_CAME
from callsheet.provider.messages import Completed, InProgress, InQueue, Rendered
from callsheet.provider.platform_messages import iso
from callsheet.provider.polling import PollSchedule
from callsheet.reconciliation.open_jobs import is_misnamed, look_at_open
from callsheet.ticket import Ticket
from manifests.job import Job, decode_job
from pricing.quotes import price_group, quote
from pricing.render_times import RenderKind

logger = logging.getLogger(__name__)

TO_DO = frozenset({State.PENDING, State.RENDERED}) | AT_FAL
"""States in which this process can do something for a job. `unknown` waits to be reconciled."""


async def render_job(ctx: RunContext, job_id: int) -> JobRow:
    """Take one job as far as it will go and return how it then stands.

    The job's slot of the limiter is released the moment the render ends at fal, or when its file is judged if
    no clip of its price group has passed so far. A job that is being worked on in this process already is
    waited for. What can happen to a job is in its row and raises nothing. An unexpected error stops the run
    from buying more and is raised.
    """
    try:
        if (other := ctx.state.active.get(job_id)) is not None:
            ctx.state.limiter.release_slot(job_id)
            await asyncio.wait([other])
        else:
            with _active(ctx, job_id):
                await through_outages(ctx, lambda: _advance(ctx, job_id))
                row = await _row(ctx, job_id)
                if _is_paid_outcome(row):
                    _record_outcome(ctx, row)
                return row
    except Exception as error:
        stop_on_error(ctx, job_id, error)
        raise
    finally:
        ctx.state.limiter.release_slot(job_id)
    return await _row(ctx, job_id)


async def _row(ctx: RunContext, job_id: int) -> JobRow:
    return await through_outages(ctx, lambda: ctx.do(queries.job, job_id))


def stop_on_error(ctx: RunContext, job_id: int, error: Exception, *, what: str = "internal error") -> None:
    """Stop buying because of an unexpected error: the next job may meet it too. Renders are collected."""
    if isinstance(error, ClaimLost):  # another process goes on with the run
        ctx.stop.stop(error)
        return
    logger.error("job %s failed unexpectedly", job_id, exc_info=error, extra={"run": ctx.run.run_id})
    text = note_error(ctx, job_id, error)
    ctx.stop.drain(
        CallsheetError(f"{what} in {text}. Nothing more is bought; `{ctx.resume_command}` goes on")
    )


def note_error(ctx: RunContext, job_id: int, error: Exception) -> str:
    """Note that a job was not finished because of an unexpected error. Return the note."""
    text = f"job {job_id}: {type(error).__name__}: {error}"[:500]
    ctx.state.note_unfinished(text)
    return text


@contextmanager
def _active(ctx: RunContext, job_id: int) -> Iterator[None]:
    ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    ctx.state.active[job_id] = ended
    try:
        yield
    finally:
        ctx.state.polled.pop(job_id, None)
        del ctx.state.active[job_id]
        ended.set_result(None)


async def _advance(ctx: RunContext, job_id: int) -> None:
    """Do what there is to do for a job, from where the ledger has it."""
    row = await ctx.do(queries.job, job_id)
    if row.state not in TO_DO:  # it moved on since the list was read
        return
    with ctx.span("job", row):
        job, ticket = decode_job(row.payload, ctx.catalog), row.ticket
        if row.state is State.PENDING:
            ticket = await _buy(ctx, job, row)
            row = await ctx.do(queries.job, job_id)
        if ticket is None:
            return
        if not ctx.account.speaks_for(row.submission):
            ctx.state.note_unfinished(
                f"{row.label}, request {ticket.request_id}, was sent with another fal key: resume with that"
            )
            return
        await _follow(ctx, job, row, ticket)


async def _buy(ctx: RunContext, job: Job, row: JobRow) -> Ticket | None:
    """Upload the images, hold the money, send the POST. None where nothing is at fal afterwards.

    Until fal has accepted one request of an endpoint in this run, they go one at a time: fal's history proves
    that a request never arrived only where it shows another one of ours. A process that dies while its first
    requests leave must not take all slots with requests about which nothing is proved.
    """
    if not await _is_due(ctx, job, row):
        return None
    try:
        order = order_of(ctx, job, row, await uploaded_images(ctx, job))
    except Unavailable as error:  # as with a POST that cannot leave: the job stays pending
        ctx.state.note_unfinished(f"{row.label} was not sent: its image could not be uploaded: {error}")
        return None
    except (InputError, QueueError) as error:
        await _fail_inputs(ctx, row, error)
        return None
    except AccountError as error:
        ctx.stop.drain(error)
        return None
    async with ctx.state.first_requests.setdefault(row.endpoint, asyncio.Lock()):
        if row.endpoint not in ctx.state.accepting:
            ticket = await _order(ctx, row, order)
            if ticket is not None or ctx.state.trouble:  # with trouble nothing arrives
                ctx.state.accepting.add(row.endpoint)
            return ticket
    return await _order(ctx, row, order)


async def _is_due(ctx: RunContext, job: Job, row: JobRow) -> bool:
    """Say whether a job is still to be bought. A draft that cannot be finished any more fails."""
    if not ctx.stop.admitting or ctx.state.breaker.is_open(_group(job)):
        return False
    if job.draft_id and ctx.account.now_ms() >= job.finish_until_ms:
        late = InputError(f"its draft could be finished until {iso(job.finish_until_ms)}; nothing was sent")
        await _fail_inputs(ctx, row, late, error_type="draft_expired")
        return False
    return True


async def _order(ctx: RunContext, row: JobRow, order: Order) -> Ticket | None:
    """Hold the money and send the POST, unless that is no longer wanted."""
    if not await _is_due(ctx, order.job, row):
        return None
    intent = await _admitted(ctx, row, order)
    if intent is None:
        return None
    with ctx.span("submit", row, attempt=intent.attempt):
        return await submit(ctx, order, intent)


async def _fail_inputs(
    ctx: RunContext, row: JobRow, error: InputError | QueueError, *, error_type: str = "inputs"
) -> None:
    """Fail a job whose images, or whose draft, cannot be used. Nothing was sent."""
    intent = await _admitted(ctx, row, None)
    if intent is not None:
        await ctx.do(
            settlement.fail_inputs,
            row.job_id,
            error_type=error_type,
            error=str(error),
            attempt=intent.attempt,
        )


async def _admitted(ctx: RunContext, row: JobRow, order: Order | None) -> Intent | None:
    """Admit a job. None where a cap, a stop or an earlier request at fal is in the way."""
    try:
        return await admit(ctx, row, order)
    except CapReached as reached:
        await ctx.do(transitions.skip, [row.job_id], why=f"not bought: {reached}"[:500])
    except (Interrupted, TurnedUp):
        pass
    return None


async def _follow(ctx: RunContext, job: Job, row: JobRow, ticket: Ticket) -> None:
    """Poll, settle, fetch. What cannot be reached now stays where it is for `resume`."""
    try:
        if row.state in AT_FAL:
            with ctx.span("render", row):
                if not await poll(ctx, job, row, ticket):
                    return
            _release_slot(ctx, job, row)
        rendered = await (
            _paid_result(ctx, job, row, ticket) if row.booked else settle(ctx, job, row, ticket)
        )
        if rendered is not None:
            with ctx.span("download", row):
                await fetch(ctx, job, row, ticket, rendered)
    except Unavailable as error:
        if not await _looked_up(ctx, job, row, ticket):
            await _note_waiting(ctx, row, ticket, error)
    except (RenderFailed, UntrustedHost) as error:
        await _note_waiting(ctx, row, ticket, error)
    except DiskFull as error:
        ctx.stop.drain(error)
    except OSError as error:  # read-only, unmounted, not ours to write: the next file would fail too
        ctx.state.note_unfinished(f"{row.label}, request {ticket.request_id}: {error}")
        ctx.stop.drain(DiskFull(f"{ctx.media} cannot be written: {error}. Finished renders are kept at fal"))
    except AccountError as error:
        ctx.stop.stop(error)


async def poll(ctx: RunContext, job: Job, row: JobRow, ticket: Ticket) -> bool:
    """Return when the render has ended, well or badly, and the ledger has it.

    False where it turns out to be another job's: this one is unknown again, and is found by what it sent.

    Asks for as long as it takes: a job that holds a slot is never left alone. Raises Unavailable where fal no
    longer holds the request; then nothing is known and nothing is changed.
    """
    kind = render_kind(ctx, job)
    times = ctx.state.times
    schedule = PollSchedule(
        estimate=times.estimate(kind),
        submitted_s=time.monotonic() - _age_s(row),
        run_timeout_s=ctx.settings.run_timeout_s,
        start_timeout_s=ctx.settings.start_timeout_s,
        jitter=ctx.state.seeds.random,
    )
    waiting = row.state is State.IN_QUEUE
    await asyncio.to_thread(ctx.account.prepare_decoding)
    ctx.state.polled[row.job_id] = Polled(time.monotonic())
    async for seen in ctx.queue.watch(ticket, schedule):
        now_s = time.monotonic()
        schedule.learn(times.estimate(kind), now_s)
        overdue = schedule.overdue(now_s)
        position = seen.position if isinstance(seen, InQueue) else None
        ctx.state.polled[row.job_id] = Polled(now_s, position, overdue)
        if isinstance(seen, InProgress) and waiting:
            await ctx.do(transitions.start, row.job_id, attempt=row.attempt)
            waiting = False
        if isinstance(seen, Completed):
            if await is_misnamed(ctx.account, row):
                ctx.state.notice(
                    f"{row.label}: its request {ticket.request_id} is another job's: its own is sought"
                )
                return False
            render_s = schedule.render_s(seen, now_s)
            started_ms = int((time.time() - render_s) * 1000) if waiting else None
            await ctx.do(transitions.render, row.job_id, started_ms=started_ms, attempt=row.attempt)
            ctx.state.slot_line.note_freed()
            if not seen.error:
                times.observe(kind, render_s)
        elif overdue:
            ctx.state.notice(f"{row.label}: {overdue}; fal is still being asked")
    return True


def render_kind(ctx: RunContext, job: Job) -> RenderKind:
    """Return the kind of job this is, as far as render times go."""
    return RenderKind.of(job.endpoint.id, quote(ctx.catalog, job.shot))


def group_of(ctx: RunContext, row: JobRow | PaidOutcome) -> str:
    """Return the name of a job's price group."""
    return _group(decode_job(row.payload, ctx.catalog))


def _group(job: Job) -> str:
    return str(price_group(job.shot))


def _release_slot(ctx: RunContext, job: Job, row: JobRow) -> None:
    """Let the next job begin: at once, or as soon as a clip of the price group has passed."""
    group = _group(job)
    if ctx.state.breaker.is_trusted(group):
        ctx.state.limiter.release_slot(row.job_id)
    else:
        ctx.state.unjudged.setdefault(group, set()).add(row.job_id)


def _age_s(row: JobRow) -> float:
    """Seconds since fal took the job; wall clock, because another process may have submitted it."""
    submitted_ms = row.submission.submitted_ms if row.submission else None
    return 0.0 if submitted_ms is None else max(0.0, time.time() - submitted_ms / 1000)


async def _paid_result(ctx: RunContext, job: Job, row: JobRow, ticket: Ticket) -> Rendered | None:
    """Return the result of a job whose cost is booked; None where there is none to be had any more."""
    try:
        return await known_result(ctx, job, row, ticket)
    except (RenderFailed, UntrustedHost, Unavailable) as error:
        await fetch_failed(ctx, row, error)
        return None


async def _note_waiting(ctx: RunContext, row: JobRow, ticket: Ticket, error: QueueError) -> None:
    """Say what was not finished: in the run's summary, and with the job for `status` and the results."""
    ctx.state.note_unfinished(f"{row.label}, request {ticket.request_id}: {error}")
    if (await ctx.do(queries.job, row.job_id)).state is State.RENDERED:
        error_type = error.error_type if error.error_type in NO_VIDEO_CAME else ""
        told = {"why": str(error)[:500], "error_type": error_type}
        await ctx.do(transitions.note_waiting, row.job_id, **told, attempt=row.attempt)


async def _looked_up(ctx: RunContext, job: Job, row: JobRow, ticket: Ticket) -> bool:
    """Where polling ended without an answer, settle the job as `reconcile` does; go on if it has ended.

    Otherwise a request that fal no longer holds would keep its slot and its money, however often its run is
    resumed. Returns False where nothing is known so far, or where it is not the polling that failed.
    """
    now = await ctx.do(queries.job, row.job_id)
    if now.state not in AT_FAL:
        return False
    (found,) = await look_at_open(ctx.account, [now])
    if found.outcome == "rendered":
        _release_slot(ctx, job, row)
        await _follow(ctx, job, await ctx.do(queries.job, row.job_id), ticket)
    return found.outcome in ("rendered", "lost")


def _is_paid_outcome(row: JobRow) -> bool:
    if row.state is State.RENDERED:  # what was fetched so far is no video
        return bool(row.error_type)
    return row.state is State.SUCCEEDED or (row.state is State.FAILED and row.charged != "no")


async def restore_breaker(ctx: RunContext) -> None:
    """Count how the run's paid jobs ended in earlier processes: a group that was stopped stays stopped.

    A job that `retry` has put back to `pending` no longer counts, nor does a failure of a group that has
    brought a video since.
    """
    for outcome in await ctx.do(history.paid_outcomes, ctx.run.run_id):
        _record_outcome(ctx, outcome)


def _record_outcome(ctx: RunContext, row: JobRow | PaidOutcome) -> None:
    """Count how a paid job ended; stop buying its price group where the first ones all fail alike."""
    group, limit = group_of(ctx, row), ctx.settings.breaker
    if row.state is State.SUCCEEDED:
        ctx.state.breaker.record_success(group)
        for job_id in ctx.state.unjudged.pop(group, ()):
            ctx.state.limiter.release_slot(job_id)
    elif ctx.state.breaker.record_failure(group, row.job_id, row.error_type):
        # Without --again `retry` downloads what fal still has, which is the same file.
        again = " --again" * (row.error_type in NOT_FETCHED)
        ctx.state.notice(
            f"stopped buying {group}: its first {limit} paid clips all failed with {row.error_type} "
            f"({row.error[:200]}). The rest of this group stays pending, also on `resume`. Find the cause, "
            f"then retry the failed jobs with `{ctx.retry_command} --all{again}`, or buy the rest with "
            f"CALLSHEET_BREAKER above {limit} (0 never stops) and `{ctx.resume_command}`"
        )
        logger.warning("circuit breaker open for %s: %s", group, row.error_type)
