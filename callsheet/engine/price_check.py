"""fal's prices while a run goes on: looked at before anything is bought, and pinned."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from callsheet.engine.context import RunContext
from callsheet.errors import AccountError, PricesChanged, QueueError
from callsheet.ledger import JobRow, Settled, State, queries, runs
from callsheet.reconciliation.account import AccountSession
from callsheet.wording import number_of
from manifests.job import DRAFT_RESOLUTION, decode_job
from pricing.catalog import Catalog
from pricing.pins import Pin, at_pin, pins_text
from pricing.price_list import PriceCheck, accepted_rates, check_prices, differing
from pricing.quotes import quote
from pricing.rates import Bill, RateKey, rate_text
from pricing.render_times import RenderKind
from pricing.units import ListedPrice

LOOK_S = 10.0
"""How long the look may take: a run does not wait longer for a list that may not be there."""


async def check_run_prices(ctx: RunContext, *, accept: bool) -> RunContext:
    """Compare fal's price list with what the run's waiting jobs were priced at.

    Where it says something else, nothing more is bought until a person accepts it; with `accept` the waiting
    jobs are priced anew, so that what is held for them covers it. A list that cannot be read is a notice.
    Jobs that were not waiting when other prices were accepted (tried again since) get those first. A job
    whose outcome is unknown may turn out to be one: its endpoint is looked at as well (`catch_up`).

    Returns the context with the prices that hold from here on.
    """
    to_buy = await ctx.jobs(State.PENDING, State.UNKNOWN)
    if not to_buy:
        return ctx
    waiting = [row for row in to_buy if row.state is State.PENDING]
    await catch_up(ctx, waiting)
    endpoint_ids = sorted({row.endpoint for row in to_buy})
    try:
        async with asyncio.timeout(LOOK_S):
            listed = await ctx.account.platform.prices(endpoint_ids, tries=1)
    except TimeoutError:
        ctx.state.notice(f"fal's price list was not compared: no answer within {LOOK_S:.0f} s")
        return ctx
    except (QueueError, AccountError) as error:
        ctx.state.notice(f"fal's price list was not compared: {error}")
        return ctx
    pin = ctx.pins[-1]
    checks = check_prices(ctx.catalog, endpoint_ids, listed, accepted=pin.accepted)
    ctx.state.notices.extend(_unsaid(checks))
    changed = differing(checks)
    lines = {each.endpoint_id: each for each in listed if each.endpoint_id in endpoint_ids}
    if changed and not accept:
        ctx.stop.drain(PricesChanged(changes_in_words(changed), again=ctx.resume_command))
    elif changed:
        return await _accept(ctx, waiting, changed, lines)
    elif lines != {name: pin.listed.get(name) for name in lines}:
        kept = replace(pin, since_ms=await ctx.do(queries.now_ms), listed={**pin.listed, **lines})
        return await _pin(ctx, kept, {})
    return ctx


async def _accept(
    ctx: RunContext,
    waiting: Sequence[JobRow],
    changed: Sequence[PriceCheck],
    lines: Mapping[str, ListedPrice],
) -> RunContext:
    """Price what is not bought yet anew, and pin the new rates from now on, in one transaction."""
    before, accepted = ctx.pins[-1], {each.endpoint_id: each.listed for each in changed if each.listed}
    pin = Pin(
        since_ms=await ctx.do(queries.now_ms),  # the clock by which jobs are admitted
        price_book=before.price_book,
        rates=accepted_rates(ctx.catalog, changed),
        accepted={**before.accepted, **accepted},
        listed={**before.listed, **lines},
    )
    catalog = at_pin(ctx.catalog, pin)
    ctx.state.notice(f"other prices accepted: {'; '.join(changes_in_words(changed))}")
    return await _pin(ctx, pin, {row.job_id: _amounts(catalog, row) for row in waiting})


async def _pin(ctx: RunContext, pin: Pin, amounts: Mapping[int, tuple[int, int]]) -> RunContext:
    """Keep other prices from now on, with what waiting jobs cost at them, in one transaction."""
    pins = (*ctx.pins, pin)
    await ctx.do(runs.reprice, ctx.run.run_id, amounts, prices=pins_text(pins))
    return replace(ctx, pins=pins, catalog=at_pin(ctx.catalog, pin))


async def catch_up(ctx: RunContext, waiting: Sequence[JobRow]) -> None:
    """Price jobs at the rates that hold now where the ledger has others: a hold must cover its bill."""
    amounts = await asyncio.to_thread(_other_amounts, ctx.catalog, waiting)
    if not amounts:
        return
    await ctx.do(runs.reprice, ctx.run.run_id, amounts)
    jobs = number_of(len(amounts), "waiting job")
    ctx.state.notice(f"{jobs} had an older price, and now the one that the run has accepted since")


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
        f"{each.endpoint_id} costs {each.listed_text}, planned was "
        + " or ".join(dict.fromkeys(f"${rate_text(rate.nano)}" for rate in each.book))
        for each in changed
    ]


async def listed_beside_the_book(account: AccountSession) -> list[PriceCheck]:
    """Compare every endpoint of the book. Raises Unavailable or AccountError where fal's list is not read."""
    endpoint_ids = sorted(account.catalog.endpoints)
    return check_prices(account.catalog, endpoint_ids, await account.platform.prices(endpoint_ids))


def bills_of(settled: Iterable[Settled]) -> list[Bill]:
    """Return what the ledger's settlements say about rates, apart from finishes, which have one size."""
    found = []
    for each in settled:
        kind = RenderKind.read(each.render_kind)
        # Read as plain JSON: ten thousand jobs are looked through, and this alone decides about the rate.
        job = json.loads(each.payload)
        if "draft_id" in job:
            continue
        resolution = DRAFT_RESOLUTION if job.get("draft") else job["resolution"]
        key = RateKey(each.endpoint, resolution, bool(job.get("generate_audio")))
        found.append(Bill(key, kind.pixels * kind.frames, each.cost_nano))
    return found
