"""`callsheet prices`: the dated price book, the rates of real bills, and fal's own list."""

from __future__ import annotations

import asyncio
from typing import Any

from cyclopts import App

from callsheet.cli.options import Json, Sandbox
from callsheet.cli.output import document, say, show_line, show_table
from callsheet.cli.runs import run_settings
from callsheet.engine.context import open_account
from callsheet.engine.price_check import bills_of, listed_beside_the_book
from callsheet.engine.request import RunRequest, settings_for
from callsheet.files import has_ledger
from callsheet.ledger import Ledger, history
from callsheet.settings import Settings
from pricing.catalog import Catalog, load_catalog
from pricing.observed_rates import LearnedRate, RateKey, learned_rates
from pricing.price_list import PriceCheck, rates_sha256
from pricing.quotes import rate_text

DRIFT = 4
UNIT = "million tokens"
BOOK = ("endpoint", "sound", "usd_per_million_tokens", "since", "bills", "learned", "deviation", "source")
CHECK = ("endpoint", "book", "fal", "verdict", "fal's words")

app = App(name="prices")


@app.default
def prices(*, sandbox: Sandbox = False, json: Json = False) -> int:
    """Show the dated price book and the rates of real bills.

    Example: callsheet prices check
    """
    return show(sandbox=sandbox, json=json)


@app.command(name="show")
def show(*, sandbox: Sandbox = False, json: Json = False) -> int:
    """Show the dated price book with its sources, and the rates of real bills.

    Example: callsheet prices show --json
    """
    catalog = load_catalog()
    lines = list(_book_lines(catalog, _learned(run_settings(sandbox=sandbox, makes_ledger=False))))
    if json:
        document(
            {
                "price_book": catalog.price_book,
                "rates_sha256": rates_sha256(catalog.rates),
                "unit": UNIT,
                "rates": lines,
            }
        )
        return 0
    shown = [[_cell(line[name]) for name in BOOK] for line in lines]
    show_table(BOOK, shown, right=frozenset(BOOK[2:3] + BOOK[4:7]))
    show_line(
        f"Price book of {catalog.price_book}, in dollars per {UNIT}. `learned` is the median of real bills."
    )
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
        show_table(CHECK, [_check_cells(each) for each in checks], right=frozenset(CHECK[1:3]))
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


def _book_lines(catalog: Catalog, learned: dict[RateKey, LearnedRate]) -> list[dict[str, Any]]:
    return [
        _book_line(catalog, endpoint_id, audio, learned.get((endpoint_id, audio)))
        for endpoint_id, endpoint in catalog.endpoints.items()
        for audio in ((True, False) if endpoint.audio else (False,))
    ]


def _book_line(
    catalog: Catalog, endpoint_id: str, audio: bool, learned: LearnedRate | None
) -> dict[str, Any]:
    key = (catalog.endpoints[endpoint_id].model, audio)
    rate_nano = catalog.rates[key]
    deviation = learned.deviation_permille(rate_nano) if learned else None
    return {
        "endpoint": endpoint_id,
        "sound": audio,
        "usd_per_million_tokens": rate_text(rate_nano),
        "since": catalog.price_book,
        "bills": learned.count if learned else 0,
        "learned": rate_text(learned.rate_nano) if learned else None,
        "deviation": None if deviation is None else f"{deviation / 10:+.1f} %",
        "source": catalog.rate_sources[key],
    }


def _cell(value: str | int | bool | None) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "" if value is None else str(value)


def _check_cells(each: PriceCheck) -> list[str]:
    book = " or ".join(rate_text(rate) for rate in each.book_nano)
    fal = rate_text(each.listed_nano) if each.listed_nano is not None else ""
    verdict = each.verdict.upper() if each.verdict == "differs" else each.verdict
    return [each.endpoint_id, book, fal, verdict, each.said]


def _check_document(each: PriceCheck) -> dict[str, Any]:
    return {
        "endpoint": each.endpoint_id,
        "verdict": each.verdict,
        "book_usd_per_million_tokens": [rate_text(rate) for rate in each.book_nano],
        "fal_usd_per_million_tokens": None if each.listed_nano is None else rate_text(each.listed_nano),
        "fal_says": each.said,
    }
