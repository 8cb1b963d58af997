"""Buying one video: admit, write down, send exactly once.

    admit     money and slot held, in one transaction                        nothing was sent
    send      "submitting" is on disk; follows admit without a pause         nothing was sent
    POST      once; only what provably never left this machine is tried again
    accept    the request id is on disk                                      from here on it is polled

Between `send` and `accept` nobody may interrupt: the POST and the writing down of its outcome are one step
that is finished even when the run is being stopped.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from callsheet import failpoints
from callsheet.engine.patience import FREE_TRIES, backoff_s
from callsheet.engine.room import require_room
from callsheet.engine.studio import Studio
from callsheet.engine.watchers import tell_trouble
from callsheet.errors import (
    AccountError,
    CapReached,
    ClaimLost,
    DiskFull,
    IllegalTransition,
    Interrupted,
    LedgerError,
    NoSlot,
    NotSent,
    OutcomeUnknown,
    Refused,
    RunStopping,
    SlotsUnknown,
    Throttled,
    UsageError,
)
from callsheet.ledger import HOLDS_SLOT, JobRow, State, admission, queries, settlement, transitions
from callsheet.ledger import Ticket as LedgerTicket
from callsheet.ledger.transaction import Transaction, purchase, write
from callsheet.provider.messages import Ticket
from manifests.job import Job, canonical_json

ACCEPT_TRIES = 3
ACCEPT_PAUSE_S = 0.5
"""How often, and how long apart in seconds, the ledger is asked to keep the id of a request that is paid."""

SLOT_WAIT_S = 0.2
"""How often a slot is asked for while other processes hold all of them, in seconds."""

STUCK_LOOK_S = 10.0
STUCK_S = 180.0
"""How often, in seconds, it is asked who holds the slots, and how long the same unknown requests may hold all
of them before the run ends. The caretaker looks every minute, so at least one whole look was in vain."""

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


def order_of(studio: Studio, job: Job, row: JobRow, addresses: dict[str, str]) -> Order:
    """Make a job's order. A row without a seed gets a random one, by which fal's history knows it again."""
    seed = job.seed if job.seed is not None else studio.seeds.randint(1, MAX_SEED)
    arguments = job.arguments(addresses, seed=seed)
    return Order(job, row.job_id, arguments, seed, studio.settings.start_timeout_s)


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
    """Intent, hold and slot in one durable transaction. Where it raises, none of them is there."""
    attempt = admission.admit(tx, order.job_id, slots=slots).number
    return send(tx, order, attempt, latest_departure_s)


def send(tx: Transaction, order: Order, attempt: int, latest_departure_s: Callable[[], float]) -> Intent:
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
    """Write down that an order leaves once more. Raises RunStopping where a person has taken the job back."""
    if queries.job(tx, order.job_id).state is not State.HELD:
        raise RunStopping("the job was taken back while it waited to be sent again")
    return send(tx, order, attempt, latest_departure_s)


@write()
def take_back_unsent(tx: Transaction, job_id: int) -> None:
    """Give back what `admit_and_send` took for a job that nobody will send: its run was stopped just then."""
    why = "the run was stopped before it was sent"
    row = queries.job(tx, job_id)
    if row.state is State.SUBMITTING:
        transitions.not_sent(tx, job_id, why=why, attempt=row.attempt)
    release_held(tx, job_id, why=why, attempt=row.attempt)


@write(short=True)
def release_held(tx: Transaction, job_id: int, *, why: str, attempt: int) -> None:
    """Give hold and slot back where nothing was sent; whatever else became of the job stays as it is."""
    row = queries.job(tx, job_id)
    if row.state is State.HELD and row.attempt == attempt:
        settlement.release(tx, job_id, why=why, attempt=attempt)


class Stuck:
    """Notices that no slot can come free: the same unknown requests hold them all, look after look."""

    def __init__(self, studio: Studio) -> None:
        self._studio = studio
        self._next_s = time.monotonic() + STUCK_LOOK_S
        self._since_s = 0.0
        self._held_by: frozenset[int] = frozenset()

    async def look(self) -> None:
        """Let the run drain where that has gone on for too long."""
        now_s = time.monotonic()
        if now_s < self._next_s:
            return
        self._next_s = now_s + STUCK_LOOK_S
        rows = await self._studio.books(queries.open_jobs, states=HOLDS_SLOT)
        unknown = frozenset(row.job_id for row in rows if row.state is State.UNKNOWN)
        if len(unknown) < len(rows) or unknown != self._held_by:
            self._held_by = unknown if len(unknown) == len(rows) else frozenset()
            self._since_s = now_s
        elif unknown and now_s - self._since_s >= STUCK_S:
            self._studio.stop.drain(
                SlotsUnknown(
                    f"all slots are held by {len(unknown)} requests of which nobody knows whether fal took "
                    "them, and no look at fal's records decides it; nothing more can be bought. "
                    f"`callsheet reconcile` settles them, then `{self._studio.again}` goes on"
                )
            )


async def admit(studio: Studio, row: JobRow, order: Order | None) -> Intent:
    """Hold the job's maximum and take a slot, waiting while all slots are taken elsewhere.

    With an order, it is written down as being sent as well: `submit` must follow. Without one, nothing is to
    leave.

    Raises CapReached (and lets the run drain), Interrupted when nothing new is admitted any more.
    """
    stuck = Stuck(studio)
    while True:
        if not studio.stop.admitting:
            raise Interrupted("nothing new is submitted")
        try:
            require_room(studio)
            return await _admit_once(studio, row, order)
        except asyncio.CancelledError:
            await studio.books(take_back_unsent, row.job_id)
            raise
        except NoSlot:
            await stuck.look()
            with studio.places.standing_empty():
                await studio.stop.pause(SLOT_WAIT_S)
        except CapReached as reached:
            studio.stop.drain(reached)
            raise
        except (RunStopping, ClaimLost, DiskFull) as stopping:
            studio.stop.drain(stopping)


async def _admit_once(studio: Studio, row: JobRow, order: Order | None) -> Intent:
    slots = studio.settings.concurrency
    try:
        if order is None:
            held = await studio.books(admission.admit, row.job_id, slots=slots)
            return Intent(held.number, 0.0)
        departs = studio.queue.latest_departure_s
        return await studio.books(admit_and_send, order, slots=slots, latest_departure_s=departs)
    except IllegalTransition:
        if (await studio.books(queries.job, row.job_id)).state is State.PENDING:
            raise
        run = await studio.books(queries.run, studio.run.run_id)
        if run.stopping_ms is not None:
            studio.stop.drain(RunStopping(f"run {run.run_id} was stopped by `callsheet cancel`"))
        raise Interrupted("the job was taken back before it was bought") from None


async def submit(studio: Studio, order: Order, intent: Intent) -> Ticket | None:
    """Send the one paid POST of an admitted order. Returns the ticket; None where the job ended instead."""
    outcome: Ticket | NotSent | Throttled | None = None
    for attempt in range(1, FREE_TRIES + 1):
        if attempt > 1 and not studio.stop.admitting:  # the stop came during the pause
            break
        step = asyncio.ensure_future(_send_once(studio, order, intent, again=attempt > 1))
        try:
            outcome = await asyncio.shield(step)
            if not isinstance(outcome, NotSent | Throttled):
                tell_trouble("")
                return outcome
            tell_trouble(f"not sent to {studio.settings.queue_url} so far, trying again: {outcome}")
            if attempt == FREE_TRIES or not studio.stop.admitting:
                break
            advice_s = outcome.retry_after_s if isinstance(outcome, Throttled) else None
            with studio.places.standing_empty():
                await studio.stop.pause(backoff_s(attempt, advice_s))
        except asyncio.CancelledError:  # nobody goes on with it: the second Ctrl-C, or SIGTERM
            await asyncio.wait([step])
            why = "the run was stopped before it was sent"
            await studio.books(release_held, order.job_id, why=why, attempt=intent.attempt)
            raise
        except (RunStopping, ClaimLost) as stopping:  # another process's doing; it was not sent
            studio.stop.drain(stopping)
            break
    await studio.books(release_held, order.job_id, why="could not be sent", attempt=intent.attempt)
    studio.notes.append(f"{order.job.custom_id} could not be sent: {outcome}")
    return None


async def _send_once(
    studio: Studio, order: Order, intent: Intent, *, again: bool
) -> Ticket | NotSent | Throttled | None:
    """Send what is written down as being sent, and write down what came of it."""
    books, job_id, attempt = studio.books, order.job_id, intent.attempt
    if again:
        intent = await books(send_again, order, attempt, studio.queue.latest_departure_s)
    failpoints.passing("after_intent")
    studio.buying.set()
    try:
        ticket = await studio.queue.submit(
            order.job.endpoint.id,
            order.arguments,
            start_timeout_s=order.start_timeout_s,
            send_before_s=intent.send_before_s,
        )
    except (NotSent, Throttled) as error:
        await books(transitions.not_sent, job_id, why=str(error), attempt=attempt)
        return error
    except AccountError as error:
        await books(transitions.not_sent, job_id, why=str(error), attempt=attempt)
        await books(settlement.release, job_id, why=str(error), attempt=attempt)
        studio.stop.drain(error)
        return None
    except Refused as error:
        await books(
            settlement.refuse,
            job_id,
            error_type=error.error_type,
            error=str(error),
            charged=error.charged,
            attempt=attempt,
        )
        return None
    except UsageError as error:
        await books(
            settlement.refuse,
            job_id,
            error_type="unsendable",
            error=str(error),
            charged="no",
            attempt=attempt,
        )
        return None
    except OutcomeUnknown as error:
        await books(
            transitions.lose,
            job_id,
            why=str(error),
            lead_request_id=error.lead_request_id,
            attempt=attempt,
        )
        return None
    failpoints.passing("after_post")
    await _accept(studio, job_id, attempt, ticket)
    failpoints.passing("after_record")
    return ticket


async def _accept(studio: Studio, job_id: int, attempt: int, ticket: Ticket) -> None:
    """Write down the request id of what is bought; a ledger that is busy just now is asked again.

    A server that is lost while it commits may have done it all the same: then it is there, and all is well.
    """
    known = LedgerTicket(ticket.request_id, ticket.status_url, ticket.response_url, ticket.cancel_url)
    for left in range(ACCEPT_TRIES - 1, -1, -1):
        try:
            await studio.books(transitions.accept, job_id, known, attempt=attempt)
        except LedgerError as error:
            with suppress(LedgerError):
                written = (await studio.books(queries.job, job_id)).ticket
                if written is not None and written.request_id == ticket.request_id:
                    return
            if not left or isinstance(error, IllegalTransition):
                raise
            await asyncio.sleep(ACCEPT_PAUSE_S)
        else:
            return
