"""`callsheet prices`: the dated price book, the rates of real bills, and fal's own list."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from math import ceil
from typing import Any

from cyclopts import App

from callsheet.cli.options import Json, Sandbox, run_settings
from callsheet.cli.output import document, say, show_line, show_table
from callsheet.engine.context import open_account
from callsheet.engine.price_check import bills_of, listed_beside_the_book
from callsheet.engine.request import RunRequest, settings_for
from callsheet.files import has_ledger
from callsheet.ledger import Ledger, history
from callsheet.settings import Settings
from pricing.catalog import Catalog, Endpoint, load_catalog
from pricing.price_list import PriceCheck
from pricing.rates import LearnedRate, Rate, RateKey, conflicts, learned_rates, rate_text, rates_sha256
from pricing.units import TOKENS_PER_RATE

DRIFT = 4
BOOK = ("for", "when", "usd", "per", "from", "in force", "confidence", "source", "note")
LEARNED = ("endpoint", "resolution", "sound", "bills", "usd per 1m tokens", "book", "deviation")
CHECK = ("endpoint", "book", "fal's list", "verdict")

app = App(name="prices")


@app.default
@app.command(name="show")
def prices(*, sandbox: Sandbox = False, json: Json = False) -> int:
    """Show the dated price book with its sources and where they conflict, and the rates of real bills.

    Example: callsheet prices

    Example: callsheet prices show --json
    """
    catalog = load_catalog()
    book = [_rate_document(catalog, rate) for rate in catalog.book]
    found = list(_conflicts(catalog))
    bills = _learned(run_settings(sandbox=sandbox, makes_ledger=False))
    learned = [_learned_document(catalog, key, each) for key, each in bills.items()]
    if json:
        document(
            {
                "price_book": catalog.price_book,
                "rates_sha256": rates_sha256(catalog.rates),
                "rates": book,
                "conflicts": found,
                "learned": learned,
            }
        )
        return 0
    show_table(BOOK, [[_cell(line[name]) for name in BOOK] for line in book], right=frozenset(("usd",)))
    show_line(
        f"Price book of {catalog.price_book}, in dollars. A newer row replaces an older one of its case."
    )
    for line in found:
        show_line(f"conflict: {line}", indent=10)
    if learned:
        show_line("Rates of real bills, in dollars per 1m tokens (the median):")
        rows = [[_cell(line[name]) for name in LEARNED] for line in learned]
        show_table(LEARNED, rows, right=frozenset(LEARNED[3:]))
    return 0


@app.command(name="check")
def check(*, sandbox: Sandbox = False, json: Json = False) -> int:
    """Compare the price book with fal's price list. Exits with 4 unless every endpoint agrees.

    Example: callsheet prices check
    """
    checks = asyncio.run(_checked(settings_for(RunRequest(sandbox=sandbox))))
    agree = all(each.verdict == "agrees" for each in checks)
    if json:
        document({"agree": agree, "endpoints": [_check_document(each) for each in checks]})
    else:
        show_table(CHECK, [_check_cells(each) for each in checks])
    if not agree:
        say(
            "fal's list differs from the price book. A run whose prices differ stops before it buys; "
            "`--accept-prices` continues. Prices that cannot be compared do not stop it"
        )
    return 0 if agree else DRIFT


async def _checked(settings: Settings) -> list[PriceCheck]:
    async with open_account(settings) as account:
        return await listed_beside_the_book(account)


def _learned(settings: Settings) -> dict[RateKey, LearnedRate]:
    """Return the rates of real bills; empty without a ledger, and none is created."""
    if not has_ledger(settings):
        return {}
    with Ledger.open(settings.ledger) as ledger:
        return dict(learned_rates(bills_of(ledger.do(history.settled))))


def _rate_document(catalog: Catalog, rate: Rate) -> dict[str, Any]:
    return {
        "for": rate.of,
        "when": rate.case_text,
        "usd": rate_text(rate.nano),
        "input_usd": rate_text(rate.input_nano) if rate.input_nano else None,
        "per": str(rate.unit),
        "from": rate.since,
        "in force": rate in catalog.rates,
        "confidence": rate.confidence,
        "source": rate.source,
        "note": rate.note,
    }


def _conflicts(catalog: Catalog) -> Iterator[str]:
    """Say which sources differ, and which of them counts for what."""
    for group in conflicts(catalog.rates):
        first = group[0]
        case = f" {first.case_text}" if first.case_text else ""
        said = "; ".join(
            f"{each.price_text} ({each.confidence}: {each.note or each.source})" for each in group
        )
        yield f"{first.of}{case}: {said}. The dearer one is held, the first is expected"
    for (table, resolution), sizes in catalog.other_pixels.items():
        for ratio, (width, height) in sizes.items():
            seen = catalog.pixels[table, resolution][ratio]
            yield (
                f"sizes of {table} {resolution} {ratio}: {seen[0]}x{seen[1]} (seen in bills); "
                f"{width}x{height} (another source). The larger one is held, the first is expected"
            )
    for endpoint in catalog.endpoints.values():
        if endpoint.num_frames_doubted:
            yield (
                f"num_frames of {endpoint.id}: some of fal's documents do not list it. "
                "The default length is held where that is longer"
            )


def _learned_document(catalog: Catalog, key: RateKey, learned: LearnedRate) -> dict[str, Any]:
    endpoint = catalog.endpoints.get(key.endpoint_id)
    book = _book_nano(catalog, endpoint, key) if endpoint else None
    return {
        "endpoint": key.endpoint_id,
        "resolution": key.resolution,
        "sound": key.audio,
        "bills": learned.count,
        "usd per 1m tokens": rate_text(learned.rate_nano),
        "book": rate_text(book) if book else None,
        "deviation": f"{learned.deviation_permille(book) / 10:+.1f} %" if book else None,
    }


def _book_nano(catalog: Catalog, endpoint: Endpoint, key: RateKey) -> int | None:
    """Return the book's nano-dollars per million tokens; None where it is priced by something else."""
    try:
        rate = catalog.rates_for(endpoint, resolution=key.resolution, audio=key.audio)[0]
    except LookupError:
        return None
    return ceil(rate.nano_each * TOKENS_PER_RATE) if rate.unit.kind == "tokens" else None


def _cell(value: str | int | bool | None) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "" if value is None else str(value)


def _check_cells(each: PriceCheck) -> list[str]:
    book = " or ".join(dict.fromkeys(rate.price_text for rate in each.book))
    verdict = each.verdict.upper() if each.verdict == "differs" else each.verdict
    return [each.endpoint_id, book, each.said, verdict]


def _check_document(each: PriceCheck) -> dict[str, Any]:
    return {
        "endpoint": each.endpoint_id,
        "verdict": each.verdict,
        "book": [{"usd": rate_text(rate.nano), "per": str(rate.unit)} for rate in each.book],
        "fal_says": each.said,
    }
