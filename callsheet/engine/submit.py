"""Buying one video: admit, write down, send exactly once.

    admit     money and slot are held, the intent is on disk, in one transaction   nothing was sent
    POST      once; only what provably never left this machine is tried again
    accept    the request id is on disk                                            from here on it is polled

The POST and the writing down of its outcome are one step, which is finished even when the run is stopped.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import random
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from callsheet import failpoints
from callsheet.engine.context import RunContext
from callsheet.errors import (
    AccountError,
    CapReached,
    ClaimLost,
    DiskFull,
    IllegalTransition,
    Interrupted,
    LedgerError,
    LedgerUnsafe,
    NoSlot,
    NotSent,
    OutcomeUnknown,
    Refused,
    RunStopping,
    SlotsUnknown,
    Throttled,
    UsageError,
)
from callsheet.files import require_space
from callsheet.ledger import (
    HOLDS_SLOT,
    JobRow,
    State,
    admission,
    history,
    queries,
    settlement,
    transitions,
)
from callsheet.ledger import Ticket as LedgerTicket
from callsheet.ledger.transaction import Transaction, purchase, write
from callsheet.provider import transport
from callsheet.provider.messages import Ticket
from manifests.job import Job, canonical_json

logger = logging.getLogger(__name__)

FREE_TRIES = 8
"""How often an upload is tried, and a POST that never left or was throttled: about two minutes in all."""

SPARE_BYTES = 256 * 2**20
"""Free space needed where the videos go: ten of the largest clips, and the report."""

LEDGER_SPARE_BYTES = 64 * 2**20
"""Free space needed where the ledger is, and Prefect's database: ten replies of the largest size, which are
booked while nothing new is bought, and the journal."""

ACCEPT_PAUSES_S = (0.5, 1, 2, 5, *(10,) * 30)
"""Pauses between attempts to record the id of a paid request, in seconds: a database may be away for minutes,
and the id must not be lost."""

SLOT_WAIT_S = 0.2
"""How often a slot is asked for while other processes hold all of them, in seconds."""

SLOT_LOOK_S = 10.0
STUCK_S = 180.0
"""How often, in seconds, it is asked who holds the slots, and how long the same unknown requests may hold all
of them before the run ends. The reconcile loop looks more often, so whole looks were in vain."""

MAX_SEED = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be sent for one job, ready before it has a slot: the arguments, their seed, their hash.

    `start_timeout_s` is the wait for a start that goes with it, in seconds. The ledger keeps the same figure:
    it bounds how long the request may still turn up when its reply is lost.
    """

    job: Job
    job_id: int
    arguments: dict[str, Any]
    seed: int
    start_timeout_s: int

    @property
    def arguments_sha256(self) -> str:
        """The hash by which the ledger remembers what was sent."""
        return hashlib.sha256(canonical_json(self.arguments).encode()).hexdigest()


def order_of(ctx: RunContext, job: Job, row: JobRow, addresses: dict[str, str]) -> Order:
    """Make a job's order. A row without a seed gets a random one, by which fal's history knows it again."""
    seed = job.seed if job.seed is not None else ctx.state.seeds.randint(1, MAX_SEED)
    arguments = job.arguments(addresses, seed=seed)
    return Order(job, row.job_id, arguments, seed, ctx.settings.start_timeout_s)


@dataclass(frozen=True, slots=True)
class Intent:
    """What is written down before a POST: the number of its submission, and until when it may leave.

    `send_before_s` is the queue's own moment, taken before the ledger has the intent: whoever finds the
    intent and takes the job over can count on it.
    """

    attempt: int
    send_before_s: float


@purchase(short=True, urgent=True)
def admit_and_send(
    tx: Transaction, order: Order, *, slots: int, latest_departure_s: Callable[[], float]
) -> Intent:
    """Hold the money, take a slot and write the intent, in one transaction."""
    attempt = admission.admit(tx, order.job_id, slots=slots).number
    return send_order(tx, order, attempt, latest_departure_s)


@purchase(short=True, urgent=True)
def send_order(
    tx: Transaction, order: Order, attempt: int, latest_departure_s: Callable[[], float]
) -> Intent:
    """Write down that this order is about to leave."""
    intent = Intent(attempt, latest_departure_s())
    transitions.send(
        tx,
        order.job_id,
        seed=order.seed,
        arguments_sha256=order.arguments_sha256,
        start_timeout_s=order.start_timeout_s,
        attempt=attempt,
    )
    return intent


@purchase(short=True, urgent=True)
def send_again(
    tx: Transaction, order: Order, attempt: int, latest_departure_s: Callable[[], float]
) -> Intent:
    """Write down that an order leaves once more. Raises RunStopping where a person cancelled the job."""
    if queries.job(tx, order.job_id).state is not State.HELD:
        raise RunStopping("the job was cancelled while it waited to be sent again")
    return send_order(tx, order, attempt, latest_departure_s)


@write()
def take_back_unsent(tx: Transaction, job_id: int) -> None:
    """Give back what `admit_and_send` took for a job that will not be sent: its run was stopped just then."""
    row = queries.job(tx, job_id)
    why = "the run was stopped before it was sent"
    if row.state is State.SUBMITTING:
        transitions.not_sent(tx, job_id, why=why, attempt=row.attempt)
    release_held(tx, job_id, why=why, attempt=row.attempt)


@write()
def release_held(tx: Transaction, job_id: int, *, why: str, attempt: int) -> None:
    """Give hold and slot back where nothing was sent; otherwise the job stays as it is."""
    row = queries.job(tx, job_id)
    if row.state is State.HELD and row.attempt == attempt:
        settlement.release(tx, job_id, why=why, attempt=attempt)


class SlotWait:
    """What is done while all slots are taken elsewhere: say who holds them, and end a wait without hope."""

    def __init__(self, ctx: RunContext) -> None:
        self._ctx = ctx
        self._next_s = time.monotonic() + SLOT_LOOK_S
        self._since_s = 0.0
        self._held_by: frozenset[int] = frozenset()

    async def look(self) -> None:
        """Say who holds the slots. Stop buying where the same unknown requests hold them all for too long."""
        now_s = time.monotonic()
        if now_s < self._next_s:
            return
        self._next_s = now_s + SLOT_LOOK_S
        rows = await self._ctx.do(queries.open_jobs, states=HOLDS_SLOT)
        holders = Counter(row.run_id for row in rows)
        tell_trouble(
            self._ctx,
            "waiting for a slot: "
            + ", ".join(f"run {run_id} holds {count}" for run_id, count in holders.most_common(3)),
        )
        unknown = frozenset(row.job_id for row in rows if row.state is State.UNKNOWN)
        if len(unknown) < len(rows) or unknown != self._held_by:
            self._held_by = unknown if len(unknown) == len(rows) else frozenset()
            self._since_s = now_s
        elif unknown and now_s - self._since_s >= STUCK_S:
            self._ctx.stop.drain(
                SlotsUnknown(
                    f"all slots are held by {len(unknown)} requests whose outcome is unknown, and fal's "
                    "records do not decide it, so nothing more can be bought. Run `callsheet reconcile`, "
                    f"then `{self._ctx.resume_command}`"
                )
            )


def tell_trouble(ctx: RunContext, text: str) -> None:
    """Show why nothing can be sent at the moment, or with "" that it can again."""
    if text == ctx.state.trouble:
        return
    ctx.state.trouble = text
    logger.warning("%s", text or "submitting again", extra={"run": ctx.run.run_id})
    ctx.tell(text or "submitting again")


async def admit(ctx: RunContext, row: JobRow, order: Order | None) -> Intent:
    """Hold the job's maximum and take a slot, waiting while all slots are taken elsewhere.

    With an order, it is written down as being sent as well: `submit` must follow. Without one, nothing is
    sent. Raises CapReached (and stops buying), Interrupted where nothing new is admitted any more.
    """
    wait = SlotWait(ctx)
    while True:
        if not ctx.stop.admitting:
            raise Interrupted("nothing new is submitted")
        try:
            require_room(ctx)
            intent = await _admit_once(ctx, row, order)
        except asyncio.CancelledError:
            await ctx.do(take_back_unsent, row.job_id)
            raise
        except NoSlot:
            await wait.look()
            await ctx.stop.pause(SLOT_WAIT_S)
        except CapReached as reached:
            ctx.stop.drain(reached)
            raise
        except (RunStopping, ClaimLost, DiskFull, LedgerUnsafe) as stopping:
            ctx.stop.drain(stopping)
        else:
            tell_trouble(ctx, "")
            return intent


async def _admit_once(ctx: RunContext, row: JobRow, order: Order | None) -> Intent:
    slots = ctx.settings.concurrency
    try:
        if order is None:
            held = await ctx.do(admission.admit, row.job_id, slots=slots)
            return Intent(held.number, 0.0)
        departs = ctx.queue.latest_departure_s
        return await ctx.do(admit_and_send, order, slots=slots, latest_departure_s=departs)
    except IllegalTransition:
        if (await ctx.do(queries.job, row.job_id)).state is State.PENDING:
            raise
        run = await ctx.do(queries.run, ctx.run.run_id)
        if run.stopping_ms is not None:
            ctx.stop.drain(RunStopping(f"run {run.run_id} was stopped by `callsheet cancel`"))
        raise Interrupted("the job was cancelled before it was bought") from None


def require_room(ctx: RunContext) -> None:
    """Raise DiskFull, naming the folder, where there is too little space to buy one more video."""
    require_space(ctx.folder, SPARE_BYTES, instead="choose another output folder")
    folder = ctx.account.ledger.folder or ctx.settings.data_dir
    require_space(folder, LEDGER_SPARE_BYTES, instead="move the ledger to another disk")


async def submit(ctx: RunContext, order: Order, intent: Intent) -> Ticket | None:
    """Send the one paid POST of an admitted order. Returns the ticket; None where the job ended instead."""
    outcome: Ticket | NotSent | Throttled | None = None
    for attempt in range(1, FREE_TRIES + 1):
        if attempt > 1 and not ctx.stop.admitting:  # the stop came during the pause
            break
        step = asyncio.ensure_future(_send_once(ctx, order, intent, again=attempt > 1))
        try:
            outcome = await asyncio.shield(step)
            if not isinstance(outcome, NotSent | Throttled):
                tell_trouble(ctx, "")
                return outcome
            tell_trouble(ctx, f"not sent to {ctx.settings.queue_url} so far, trying again: {outcome}")
            if attempt == FREE_TRIES or not ctx.stop.admitting:
                break
            advice_s = outcome.retry_after_s if isinstance(outcome, Throttled) else None
            await ctx.stop.pause(backoff_s(attempt, advice_s))
        except asyncio.CancelledError:  # nobody goes on with it: the second Ctrl-C, or SIGTERM
            await asyncio.wait([step])
            why = "the run was stopped before it was sent"
            await ctx.do(release_held, order.job_id, why=why, attempt=intent.attempt)
            raise
        except (RunStopping, ClaimLost) as stopping:  # another process's doing; it was not sent
            ctx.stop.drain(stopping)
            break
    await ctx.do(release_held, order.job_id, why="could not be sent", attempt=intent.attempt)
    ctx.state.unfinished.append(f"{order.job.custom_id} could not be sent: {outcome}")
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
        )
    except (NotSent, Throttled) as error:
        await ctx.do(transitions.not_sent, job_id, why=str(error), attempt=attempt)
        return error
    except AccountError as error:
        await ctx.do(transitions.not_sent, job_id, why=str(error), attempt=attempt)
        await ctx.do(settlement.release, job_id, why=str(error), attempt=attempt)
        ctx.stop.drain(error)
        return None
    except Refused as error:
        await ctx.do(
            settlement.refuse,
            job_id,
            error_type=error.error_type,
            error=str(error),
            charged=error.charged,
            attempt=attempt,
        )
        return None
    except UsageError as error:
        await ctx.do(
            settlement.refuse,
            job_id,
            error_type="unsendable",
            error=str(error),
            charged="no",
            attempt=attempt,
        )
        return None
    except OutcomeUnknown as error:
        await ctx.do(
            transitions.lose,
            job_id,
            why=str(error),
            lead_request_id=error.lead_request_id,
            attempt=attempt,
        )
        return None
    failpoints.passing("after_post")
    is_ours = await _accept(ctx, job_id, attempt, ticket)
    failpoints.passing("after_record")
    return ticket if is_ours else None


async def _accept(ctx: RunContext, job_id: int, attempt: int, ticket: Ticket) -> bool:
    """Record the request id of what was bought. A ledger that is busy or away is asked again.

    A server that is lost while it commits may have recorded it all the same. Returns False where another job
    has this request: the reply named a wrong id, and the outcome is unknown.
    """
    known = LedgerTicket(ticket.request_id, ticket.status_url, ticket.response_url, ticket.cancel_url)
    for pause_s in (*ACCEPT_PAUSES_S, None):
        try:
            await ctx.do(transitions.accept, job_id, known, attempt=attempt)
        except LedgerError as error:
            with suppress(LedgerError):
                written = (await ctx.do(queries.job, job_id)).ticket
                if written is not None and written.request_id == ticket.request_id:
                    return True
                owner = (await ctx.do(history.known_requests, [ticket.request_id])).get(ticket.request_id)
                if owner not in (None, job_id):
                    why = f"fal's reply named request {ticket.request_id}, which job {owner} has"
                    await ctx.do(transitions.lose, job_id, why=why, attempt=attempt)
                    return False
            if pause_s is None or isinstance(error, IllegalTransition):
                raise
            await asyncio.sleep(pause_s)
        else:
            return True
    raise AssertionError("the last attempt returns or raises")


def backoff_s(attempt: int, advice_s: float | None) -> float:
    """Return the seconds until the next free attempt. See `callsheet.provider.transport.backoff_s`."""
    return transport.backoff_s(attempt, advice_s, random.random())  # noqa: S311 -- jitter
