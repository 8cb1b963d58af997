"""One job from wherever it stands to wherever it can get: the steps in their order.

Every step asks the ledger where the job stands, so doing it again after a crash is harmless.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from callsheet.engine.delivery import deliver, give_up
from callsheet.engine.finish import known_result, settle
from callsheet.engine.pictures import addresses_of
from callsheet.engine.slots import Place
from callsheet.engine.studio import Studio
from callsheet.engine.submit import Order, admit, order_of, submit
from callsheet.engine.watch import watch
from callsheet.errors import (
    AccountError,
    CapReached,
    DiskFull,
    InputError,
    Interrupted,
    QueueError,
    RenderFailed,
    Unavailable,
    UntrustedHost,
)
from callsheet.ledger import AT_FAL, JobRow, State, queries, settlement, transitions
from callsheet.provider.messages import Rendered, Ticket
from callsheet.reconcile.underway import look_at_open
from manifests.job import Job, decode_job

TO_DO = frozenset({State.PENDING, State.RENDERED}) | AT_FAL
"""States in which this process can do something for a job. `unknown` waits to be reconciled."""


async def render_job(studio: Studio, job_id: int, place: Place) -> JobRow:
    """Take one job as far as it will go and return how it then stands.

    `place` is taken when everything is ready to be sent and given back the moment the render ends at fal.
    A job that is under way here already (the caretaker found it while a person was asked) has its one
    follower: that one is waited for. Raises nothing for what can happen to a job: that is in the row.
    """
    try:
        if (theirs := studio.under_way.get(job_id)) is not None:
            place.give_back()
            await asyncio.wait([theirs])
        else:
            with _under_way(studio, job_id):
                await _take_on(studio, job_id, place)
    finally:
        place.give_back()
    return await studio.books(queries.job, job_id)


@contextmanager
def _under_way(studio: Studio, job_id: int) -> Iterator[None]:
    ours: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    studio.under_way[job_id] = ours
    try:
        yield
    finally:
        del studio.under_way[job_id]
        ours.set_result(None)


async def _take_on(studio: Studio, job_id: int, place: Place) -> None:
    row = await studio.books(queries.job, job_id)
    if row.state not in TO_DO:  # it moved on since the list was read
        return
    job = decode_job(row.payload, studio.catalog)
    ticket = await _ticket(studio, job, row, place)
    if ticket is not None:
        if row.state is State.PENDING:
            row = await studio.books(queries.job, job_id)  # what it held so far was an earlier submission
        await _follow(studio, job, row, ticket, place)


async def _ticket(studio: Studio, job: Job, row: JobRow, place: Place) -> Ticket | None:
    """Return where the job is at fal, buying it if it is not there yet."""
    if row.state is State.PENDING:
        return await _buy(studio, job, row, place)
    if row.ticket is None:
        return None
    if row.state in AT_FAL:
        await place.take()
    known = row.ticket
    return Ticket(
        request_id=known.request_id,
        endpoint_id=row.endpoint,
        status_url=known.status_url,
        response_url=known.response_url,
        cancel_url=known.cancel_url,
    )


async def _buy(studio: Studio, job: Job, row: JobRow, place: Place) -> Ticket | None:
    """Bring the pictures, hold the money, send. The pictures come first: an upload takes no slot."""
    missing = order = None
    try:
        order = order_of(studio, job, row, await addresses_of(studio, job))
    except Unavailable as error:  # as with a POST that cannot leave: the job stays to be sent
        studio.notes.append(f"{row.custom_id} was not sent, its picture could not be brought to fal: {error}")
        return None
    except (InputError, QueueError) as error:
        missing = error
    except AccountError as error:
        studio.stop.drain(error)
        return None
    await place.take()
    with studio.places.being_filled():
        return await _bought(studio, row, order, missing)


async def _bought(
    studio: Studio, row: JobRow, order: Order | None, missing: InputError | QueueError | None
) -> Ticket | None:
    try:
        intent = await admit(studio, row, order)
    except CapReached as reached:
        await studio.books(transitions.skip, [row.job_id], why=f"not bought: {reached}"[:500])
        return None
    except Interrupted:
        return None
    if order is None:
        await studio.books(
            settlement.fail_inputs,
            row.job_id,
            error_type="inputs",
            error=str(missing),
            attempt=intent.attempt,
        )
        return None
    return await submit(studio, order, intent)


async def _follow(studio: Studio, job: Job, row: JobRow, ticket: Ticket, place: Place) -> None:
    """Watch, settle, deliver. What cannot be reached now stays where it is for `resume`."""
    try:
        if row.state in AT_FAL:
            await watch(studio, job, row, ticket)
            place.give_back()
            await studio.places.calm()
        rendered = await (
            _paid_result(studio, job, row, ticket) if row.booked else settle(studio, job, row, ticket)
        )
        if rendered is not None:
            await deliver(studio, job, row, ticket, rendered)
    except Unavailable as error:
        if not await _looked_up(studio, job, row, ticket, place):
            await _noted(studio, row, ticket, error)
    except (RenderFailed, UntrustedHost) as error:
        await _noted(studio, row, ticket, error)
    except DiskFull as error:
        studio.stop.drain(error)
    except OSError as error:  # read-only, unmounted, not ours to write: the next file would fare the same
        studio.notes.append(f"{row.custom_id} (request {ticket.request_id}): {error}")
        studio.stop.drain(
            DiskFull(f"{studio.media} cannot be written: {error}; what is rendered is kept at fal")
        )
    except AccountError as error:
        studio.stop.stop(error)


async def _paid_result(studio: Studio, job: Job, row: JobRow, ticket: Ticket) -> Rendered | None:
    """Return the result of a job whose cost is booked; None where there is an end to asking for it."""
    try:
        return await known_result(studio, job, row, ticket)
    except (RenderFailed, UntrustedHost, Unavailable) as error:
        await give_up(studio, row, error)
        return None


async def _noted(studio: Studio, row: JobRow, ticket: Ticket, error: QueueError) -> None:
    """Say what was not finished: in the run's notes, and with the job for `status` and the results."""
    studio.notes.append(f"{row.custom_id} (request {ticket.request_id}): {error}")
    if (await studio.books(queries.job, row.job_id)).state is State.RENDERED:
        await studio.books(transitions.note_waiting, row.job_id, why=str(error)[:500], attempt=row.attempt)


async def _looked_up(studio: Studio, job: Job, row: JobRow, ticket: Ticket, place: Place) -> bool:
    """Where watching was given up, settle the job as `reconcile` does, and go on if its render has ended.

    Else a request that fal no longer holds would keep its slot and its money, however often its run is
    resumed. Returns False where nothing is known so far, or where it is not the watching that failed.
    """
    now = await studio.books(queries.job, row.job_id)
    if now.state not in AT_FAL:
        return False
    (found,) = await look_at_open(studio.desk, [now])
    if found.outcome == "rendered":
        place.give_back()
        await _follow(studio, job, await studio.books(queries.job, row.job_id), ticket, place)
    return found.outcome in ("rendered", "lost")
