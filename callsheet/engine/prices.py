"""fal's prices while a run goes on: looked at before anything is bought, and pinned."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Sequence

from callsheet.engine.studio import Studio
from callsheet.errors import AccountError, PricesChanged, QueueError
from callsheet.ledger import JobRow, Ledger, Settled, State
from callsheet.reconcile.desk import Desk
from manifests.job_codec import decode_job
from pricing.catalog import Catalog
from pricing.observed_rates import Bill
from pricing.price_list import Pin, PriceCheck, accepted_rates, check_prices, differing, pins_text, with_rates
from pricing.quotes import quote, rate_text

LOOK_S = 10.0
"""How long the look may take: a run does not wait longer for a list that may not be there."""


async def look_at_prices(studio: Studio, *, accept: bool) -> None:
    """Compare fal's price list with what the run's waiting jobs were priced at.

    Where it says something else, nothing more is bought until a person accepts it; with `accept` the waiting
    jobs are priced anew, so that what is held for them covers it. A list that cannot be read is a remark.
    Jobs that were not waiting when other prices were accepted (tried again since) get those first.
    """
    waiting = await studio.books(Ledger.jobs, studio.run.run_id, states={State.PENDING})
    if not waiting:
        return
    await _catch_up(studio, waiting)
    endpoint_ids = sorted({row.endpoint for row in waiting})
    try:
        async with asyncio.timeout(LOOK_S):
            listed = await studio.desk.platform.prices(endpoint_ids, tries=1)
    except TimeoutError:
        studio.remarks.append(f"fal's price list was not compared: no answer within {LOOK_S:.0f} s")
        return
    except (QueueError, AccountError) as error:
        studio.remarks.append(f"fal's price list was not compared: {error}")
        return
    pin = studio.pins[-1]
    checks = check_prices(studio.catalog, endpoint_ids, listed, accepted=pin.accepted)
    studio.remarks.extend(_unsaid(checks))
    changed = differing(checks)
    if changed and accept:
        await _accept(studio, waiting, changed)
    elif changed:
        studio.stop.drain(PricesChanged(changes_in_words(changed), again=studio.again))


async def _accept(studio: Studio, waiting: Sequence[JobRow], changed: Sequence[PriceCheck]) -> None:
    """Price what is not bought yet anew, and pin the new rates from now on, in one transaction."""
    before, listed = studio.pins[-1], {each.endpoint_id: each.listed_nano or 0 for each in changed}
    pin = Pin(
        since_ms=studio.desk.now_ms(),
        price_book=before.price_book,
        rates=accepted_rates(studio.catalog, changed),
        accepted={**before.accepted, **listed},
    )
    catalog = with_rates(studio.catalog, pin.rates)
    amounts = {row.job_id: _amounts(catalog, row) for row in waiting}
    pins = (*studio.pins, pin)
    await studio.books(Ledger.reprice, studio.run.run_id, amounts, prices=pins_text(pins))
    studio.pins, studio.catalog = pins, catalog
    studio.remarks.append(f"other prices accepted: {'; '.join(changes_in_words(changed))}")


async def _catch_up(studio: Studio, waiting: Sequence[JobRow]) -> None:
    """Price jobs at the rates that hold now where the ledger has others: a hold must cover its bill."""
    amounts = await asyncio.to_thread(_other_amounts, studio.catalog, waiting)
    if not amounts:
        return
    await studio.books(Ledger.reprice, studio.run.run_id, amounts, prices=pins_text(studio.pins))
    studio.remarks.append(f"{len(amounts)} waiting jobs had older prices; they have those of the run now")


def _other_amounts(catalog: Catalog, rows: Iterable[JobRow]) -> dict[int, tuple[int, int]]:
    priced = ((row, _amounts(catalog, row)) for row in rows)
    return {row.job_id: now for row, now in priced if now != (row.expected_nano, row.maximum_nano)}


def _amounts(catalog: Catalog, row: JobRow) -> tuple[int, int]:
    price = quote(catalog, decode_job(row.payload, catalog).shot)
    return price.expected_nano, price.maximum_nano


def _unsaid(checks: Iterable[PriceCheck]) -> list[str]:
    return [
        f"fal's price of {each.endpoint_id} was not compared: "
        + (f"it says {each.said}" if each.said else "its list does not have it")
        for each in checks
        if each.verdict in ("not comparable", "not listed")
    ]


def changes_in_words(changed: Iterable[PriceCheck]) -> list[str]:
    """Say what differs, an endpoint at a time."""
    return [
        f"{each.endpoint_id} costs ${rate_text(each.listed_nano or 0)} per million tokens, planned was "
        + " or ".join(f"${rate_text(rate)}" for rate in each.book_nano)
        for each in changed
    ]


async def listed_beside_the_book(desk: Desk) -> list[PriceCheck]:
    """Compare every endpoint of the book. Raises Unavailable or AccountError where fal's list is not read."""
    endpoint_ids = sorted(desk.catalog.endpoints)
    return check_prices(desk.catalog, endpoint_ids, await desk.platform.prices(endpoint_ids))


def bills_of(settled: Iterable[Settled]) -> list[Bill]:
    """Return what the ledger's settlements say about rates."""
    found = []
    for each in settled:
        _, pixels, frames = each.cell.rsplit("|", 2)
        # Read as plain JSON: ten thousand jobs are looked through, and this alone decides about the rate.
        audio = bool(json.loads(each.payload).get("generate_audio"))
        found.append(Bill((each.endpoint, audio), int(pixels) * int(frames), each.cost_nano))
    return found
