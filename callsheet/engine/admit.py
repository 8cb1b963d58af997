"""Before the POST: hold the maximum, take a slot, write the intent, in one transaction. Nothing is sent here.

A verb that is declared here is made of verbs of the ledger, so that they share one transaction.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from callsheet.engine.context import RunContext
from callsheet.engine.outage import record, wait_for_ledger
from callsheet.errors import (
    AccountFrozen,
    CapReached,
    ClaimLost,
    DiskFull,
    IllegalTransition,
    Interrupted,
    LedgerUnavailable,
    LedgerUnsafe,
    NoSlot,
    RunStopping,
    SlotsUnknown,
    TurnedUp,
)
from callsheet.files import require_space
from callsheet.ledger import (
    HOLDS_SLOT,
    JobRow,
    OpenWork,
    State,
    activity,
    admission,
    queries,
    settlement,
    transitions,
    turns,
)
from callsheet.ledger.transaction import Transaction, purchase, write
from callsheet.wording import command, number_of
from manifests.job import Job, canonical_json

SPARE_BYTES = 256 * 2**20
"""Free space needed where the videos go: ten of the largest clips, and the report."""

LEDGER_SPARE_BYTES = 64 * 2**20
"""Free space needed where the ledger is, and Prefect's database: ten replies of the largest size, which are
booked while nothing new is bought, and the journal."""

SLOT_WAIT_S = 0.2
"""How often a slot is asked for while other processes hold all of them, in seconds."""

NOTE_WAIT_S = 2.0
"""How often a run that waits says so, in seconds, for the turns between campaigns."""

SLOT_LOOK_S = 10.0
STUCK_S = 180.0
"""How often, in seconds, it is asked who holds the slots, and how long the same unknown requests may hold all
of them before the run ends. The reconcile loop looks more often, so whole looks were in vain."""

MAX_SEED = 2**31 - 1

TURNED_UP = "turned_up"
"""The error of a job that is not bought because of TurnedUp."""


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be sent for one job, ready before it has a slot: the arguments, their seed, their hash.

    `start_timeout_s` is the wait for a start that goes with it, in seconds. The ledger keeps the same figure:
    it bounds how long the request may still turn up when its reply is lost. `account` and `queue_url` say
    whom it is sent for and where: what another account or queue says about it proves nothing.
    """

    job: Job
    job_id: int
    arguments: dict[str, Any]
    seed: int
    start_timeout_s: int
    account: str
    queue_url: str

    @property
    def arguments_sha256(self) -> str:
        """The hash by which the ledger remembers what was sent."""
        return hashlib.sha256(canonical_json(self.arguments).encode()).hexdigest()


def order_of(ctx: RunContext, job: Job, row: JobRow, addresses: dict[str, str]) -> Order:
    """Make a job's order with a number of its own, by which fal's history knows it again.

    It is the row's seed, or a random one; where the endpoint takes a tag, the tag has a random one.
    """
    is_given = job.seed is not None and not job.endpoint.end_user_id
    seed = job.seed if is_given and job.seed is not None else ctx.state.seeds.randint(1, MAX_SEED)
    arguments = job.arguments(addresses, seed=seed)
    settings = ctx.settings
    return Order(
        job, row.job_id, arguments, seed, settings.start_timeout_s, settings.account, settings.queue_url
    )


@dataclass(frozen=True, slots=True)
class Intent:
    """What is written down before a POST: the number of its submission, and until when it may leave.

    `send_before_s` is the queue's own moment, taken before the ledger has the intent: a process that finds
    the intent and takes the job over can rely on it.
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
        account=order.account,
        queue_url=order.queue_url,
        attempt=attempt,
    )
    return intent


@purchase(short=True, urgent=True)
def send_again(
    tx: Transaction, order: Order, attempt: int, latest_departure_s: Callable[[], float]
) -> Intent:
    """Write down that an order leaves once more.

    Raises RunStopping where a person cancelled the job, TurnedUp where fal has named an earlier request of
    it.
    """
    if queries.job(tx, order.job_id).state is not State.HELD:
        raise RunStopping("the job was cancelled while it waited to be sent again")
    admission.refuse_turned_up(tx, order.job_id)
    return send_order(tx, order, attempt, latest_departure_s)


@purchase(short=True, urgent=True)
def end_turned_up(tx: Transaction, job_id: int, *, slots: int, error: str) -> None:
    """End a job that is not bought because of TurnedUp: `failed`, with its maximum booked as spent."""
    attempt = admission.admit(tx, job_id, slots=slots, turned_up=True).number
    settlement.fail_inputs(tx, job_id, error_type=TURNED_UP, error=error, charged="unknown", attempt=attempt)


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
        self._note_s = 0.0
        self._since_s = 0.0
        self._held_by: frozenset[int] = frozenset()

    async def pause(self) -> None:
        """Wait a moment, or until a render of this process ends."""
        await self._ctx.state.slot_line.wait_freed(SLOT_WAIT_S)

    async def look(self) -> None:
        """Say that this run waits, and who holds the slots.

        Stops buying where the same unknown requests hold them all for too long.
        """
        now_s = time.monotonic()
        if now_s >= self._note_s:
            self._note_s = now_s + NOTE_WAIT_S
            slots = self._ctx.settings.concurrency
            await self._ctx.do(turns.note_waiting, self._ctx.run.run_id, slots=slots)
        if now_s < self._next_s:
            return
        self._next_s = now_s + SLOT_LOOK_S
        self._ctx.tell_trouble(_holders(await self._ctx.do(activity.open_work)))
        rows = await self._ctx.do(queries.open_jobs, states=HOLDS_SLOT)
        unknown = frozenset(row.job_id for row in rows if row.state is State.UNKNOWN)
        if len(unknown) < len(rows) or unknown != self._held_by:
            self._held_by = unknown if len(unknown) == len(rows) else frozenset()
            self._since_s = now_s
        elif unknown and now_s - self._since_s >= STUCK_S:
            look = command("reconcile", sandbox=self._ctx.request.sandbox)
            self._ctx.stop.drain(
                SlotsUnknown(
                    f"all slots are held by {number_of(len(unknown), 'request')} whose outcome "
                    "is unknown, and fal's records do not decide it, so nothing more can be bought. Run "
                    f"`{look}`, then `{self._ctx.resume_command}`"
                )
            )


def _holders(work: Iterable[OpenWork]) -> str:
    """Say which runs hold the slots, and whose they are."""
    named = []
    for each in work:
        owner = f" ({each.owner.host}, process {each.owner.pid})" if each.owner else ""
        dead = "" if each.alive else ", whose process has ended"
        if each.slots:
            named.append(f"run {each.run_id}{owner} holds {each.slots}{dead}")
    return "waiting for a slot: " + "; ".join(named[:3])


async def admit(ctx: RunContext, row: JobRow, order: Order | None) -> Intent:
    """Hold the job's maximum and take a slot, waiting in line while all slots are taken.

    With an order, it is written down as being sent as well: `submit` must follow. Without one, nothing is
    sent. Raises CapReached (and stops buying), Interrupted where nothing new is admitted any more, TurnedUp
    where fal has a request of an attempt that was given up: the job has failed then.
    """
    line = ctx.state.slot_line
    if line.is_empty:
        line.take_freed()
        with suppress(NoSlot):
            return await _admit_or_stop(ctx, row, order)
    while True:
        async with line.first:
            wait = SlotWait(ctx)
            while not line.take_freed():
                try:
                    return await _admit_or_stop(ctx, row, order)
                except NoSlot:
                    await wait.look()
                    await wait.pause()
        with suppress(NoSlot):
            return await _admit_or_stop(ctx, row, order)


async def _admit_or_stop(ctx: RunContext, row: JobRow, order: Order | None) -> Intent:
    """Try once. Raises NoSlot, CapReached, and Interrupted where the run stops instead."""
    if not ctx.stop.admitting:
        raise Interrupted("nothing new is submitted")
    try:
        require_room(ctx)
        intent = await _admit_once(ctx, row, order)
    except asyncio.CancelledError:
        await ctx.do(take_back_unsent, row.job_id)
        raise
    except AccountFrozen as frozen:
        reached = _with_commands(ctx, frozen)
        ctx.stop.drain(reached)
        raise reached from None
    except CapReached as reached:
        ctx.stop.drain(reached)
        raise
    except ClaimLost as lost:
        ctx.stop.stop(lost)
        raise Interrupted("nothing new is submitted") from None
    except (RunStopping, DiskFull, LedgerUnsafe) as stopping:
        ctx.stop.drain(stopping)
        raise Interrupted("nothing new is submitted") from None
    ctx.tell_trouble("")
    return intent


def _with_commands(ctx: RunContext, frozen: AccountFrozen) -> AccountFrozen:
    """Say with which commands a person looks at the bill and releases the account."""
    sandbox = ctx.account.ledger.is_sandbox
    look, go_on = (command("budget", verb, sandbox=sandbox) for verb in ("list", "unfreeze"))
    return AccountFrozen(
        f"{frozen}. Look at it with `{look}`, then go on with `{go_on}`",
        scope=frozen.scope,
        limit_nano=frozen.limit_nano,
        taken_nano=frozen.taken_nano,
        needed_nano=frozen.needed_nano,
    )


async def _admit_once(ctx: RunContext, row: JobRow, order: Order | None) -> Intent:
    try:
        return await _taken(ctx, row, order)
    except LedgerUnavailable as error:  # it may have been committed; nothing was sent either way
        await wait_for_ledger(ctx, error)
        await record(ctx, take_back_unsent, row.job_id)
        return await _admit_once(ctx, row, order)
    except IllegalTransition:
        if (await ctx.do(queries.job, row.job_id)).state is State.PENDING:
            raise
        run = await ctx.do(queries.run, ctx.run.run_id)
        if run.stopping_ms is not None:
            ctx.stop.drain(RunStopping(f"run {run.run_id} was stopped by `callsheet cancel`"))
        raise Interrupted("the job was cancelled before it was bought") from None


async def _taken(ctx: RunContext, row: JobRow, order: Order | None) -> Intent:
    slots = ctx.settings.concurrency
    try:
        if order is None:
            held = await ctx.do(admission.admit, row.job_id, slots=slots)
            return Intent(held.number, 0.0)
        departs = ctx.queue.latest_departure_s
        return await ctx.do(admit_and_send, order, slots=slots, latest_departure_s=departs)
    except TurnedUp as found:
        advice = f"compare with fal's dashboard; `{ctx.retry_command} --all` buys it again"
        await ctx.do(end_turned_up, row.job_id, slots=slots, error=f"{found}: {advice}")
        ctx.state.notice(f"{row.label} is not bought again: {found}: {advice}")
        raise


def require_room(ctx: RunContext) -> None:
    """Raise DiskFull, naming the folder, where there is too little space to buy one more video."""
    require_space(ctx.folder, SPARE_BYTES, instead="choose another output folder")
    folder = ctx.account.ledger.folder or ctx.settings.data_dir
    require_space(folder, LEDGER_SPARE_BYTES, instead="move the ledger to another disk")
