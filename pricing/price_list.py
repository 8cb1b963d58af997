"""fal's own price list beside the price book: what agrees, what differs, and what to hold if it is accepted.

Pure. fal lists one price per endpoint, without variants for sound (Platform OpenAPI, `GET /models/pricing`),
in a unit that it writes as free text; which text it uses for Seedance is not documented, so every plain way
of writing an amount of tokens is read, and anything else is "not comparable", never "the same".
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Literal

from pricing.catalog import Catalog, ListedPrice
from pricing.money import ceil_div

Verdict = Literal["agrees", "differs", "not comparable", "not listed"]
Rates = Mapping[tuple[str, bool], int]
"""Nano-dollars per million tokens by model and by "with audio", as in the catalog."""


@dataclass(frozen=True, slots=True)
class PriceCheck:
    """One endpoint of the book beside fal's list.

    `book_nano` holds the book's rates (two where sound has a price of its own), `listed_nano` is None where
    there is nothing to compare; `said` is what fal's list says, in its words.
    """

    endpoint_id: str
    model: str
    verdict: Verdict
    book_nano: tuple[int, ...]
    listed_nano: int | None
    said: str


def check_prices(
    catalog: Catalog,
    endpoint_ids: Iterable[str],
    listed: Sequence[ListedPrice],
    *,
    accepted: Mapping[str, int] | None = None,
) -> list[PriceCheck]:
    """Set fal's list beside the rates of `catalog`, an endpoint at a time.

    A listed price agrees where it is one of the model's rates, or what a person has `accepted` for that
    endpoint (nano-dollars per million tokens).
    """
    by_id = {price.endpoint_id: price for price in listed}
    return [_checked(catalog, each, by_id.get(each), (accepted or {}).get(each)) for each in endpoint_ids]


def _checked(
    catalog: Catalog, endpoint_id: str, price: ListedPrice | None, accepted_nano: int | None
) -> PriceCheck:
    model = catalog.endpoints[endpoint_id].model
    book = tuple(rate for (name, _), rate in catalog.rates.items() if name == model)
    rate_nano = price.rate_nano if price else None
    verdict: Verdict = "differs"
    if price is None:
        verdict = "not listed"
    elif rate_nano is None:
        verdict = "not comparable"
    elif any(abs(rate_nano - rate) <= 1 for rate in (*book, accepted_nano or 0)):
        verdict = "agrees"  # within a nano-dollar per million tokens: floats such as 0.0024000000000000002
    said = f"{price.price:f} {price.currency} per {price.unit}" if price else ""
    return PriceCheck(endpoint_id, model, verdict, book, rate_nano, said)


def differing(checks: Iterable[PriceCheck]) -> list[PriceCheck]:
    """Return those where fal's list says another price."""
    return [each for each in checks if each.verdict == "differs"]


def accepted_rates(catalog: Catalog, checks: Iterable[PriceCheck]) -> dict[tuple[str, bool], int]:
    """Return all rates, those of the differing endpoints as fal lists them.

    Where endpoints of one model differ from each other, the highest counts. Where a model has a price of its
    own for sound, fal does not say which of the two it lists: the nearest one is taken to be meant, both move
    in its proportion, and neither falls below the book.
    """
    rates = dict(catalog.rates)
    found: dict[tuple[str, bool], int] = {}
    for each in differing(checks):
        for key, rate_nano in _moved(catalog.rates, each).items():
            found[key] = max(rate_nano, found.get(key, 0))
    return rates | found


def _moved(book: Rates, check: PriceCheck) -> dict[tuple[str, bool], int]:
    listed_nano = check.listed_nano or 0
    own = {key: rate for key, rate in book.items() if key[0] == check.model}
    if len(own) == 1:
        return dict.fromkeys(own, listed_nano)
    meant = min(own.values(), key=lambda rate: Decimal(max(rate, listed_nano)) / min(rate, listed_nano))
    return {key: max(rate, ceil_div(rate * listed_nano, meant)) for key, rate in own.items()}


def with_rates(catalog: Catalog, rates: Rates) -> Catalog:
    """Return the catalog with these rates in place of its own; those it does not name stay."""
    return replace(catalog, rates={**catalog.rates, **rates})


_WITH_SOUND = "+audio"


@dataclass(frozen=True, slots=True)
class Pin:
    """Prices that hold from `since_ms` (Unix milliseconds) on.

    `rates` are nano-dollars per million tokens, `listed` is what fal's list said by endpoint id: unit and
    price of a unit. `accepted` is the rate that fal's list had for an endpoint when a person accepted it.
    """

    since_ms: int
    price_book: str
    rates: Rates
    accepted: Mapping[str, int] = field(default_factory=dict)
    listed: Mapping[str, ListedPrice] = field(default_factory=dict)

    @property
    def sha256(self) -> str:
        """The hash (hex) of the rates: equal hashes are equal prices."""
        return rates_sha256(self.rates)


def rates_sha256(rates: Rates) -> str:
    """Return the hash (hex) of rates."""
    return hashlib.sha256(json.dumps(_named(rates), sort_keys=True).encode()).hexdigest()


def first_pin(catalog: Catalog) -> Pin:
    """Return the pin of a run that is opened at the catalog's own prices."""
    return Pin(since_ms=0, price_book=catalog.price_book, rates=catalog.rates, listed=catalog.listed)


def pins_text(pins: Sequence[Pin]) -> str:
    """Write pins as JSON, oldest first."""
    return json.dumps(
        [
            {
                "since_ms": pin.since_ms,
                "price_book": pin.price_book,
                "rates_sha256": pin.sha256,
                "nano_per_million_tokens": _named(pin.rates),
                "accepted": dict(pin.accepted),
                "listed": {
                    name: {"price": f"{each.price:f}", "unit": each.unit, "currency": each.currency}
                    for name, each in pin.listed.items()
                },
            }
            for pin in pins
        ]
    )


def read_pins(text: str, catalog: Catalog) -> tuple[Pin, ...]:
    """Read what `pins_text` wrote; a run without pins has the catalog's own rates."""
    if not text:
        return (first_pin(catalog),)
    return tuple(
        Pin(
            since_ms=each["since_ms"],
            price_book=each["price_book"],
            rates=_keyed(each["nano_per_million_tokens"]),
            accepted=each["accepted"],
            listed={
                name: ListedPrice(name, Decimal(line["price"]), line["unit"], line["currency"])
                for name, line in each["listed"].items()
            },
        )
        for each in json.loads(text)
    )


def catalog_at(catalog: Catalog, pins: Sequence[Pin], at_ms: int) -> Catalog:
    """Return the catalog with the prices that held at a moment (Unix milliseconds)."""
    held = [pin for pin in pins if pin.since_ms <= at_ms] or [pins[0]]
    return at_pin(catalog, held[-1])


def at_pin(catalog: Catalog, pin: Pin) -> Catalog:
    """Return the catalog at the prices of a pin; what the pin does not name stays."""
    return replace(with_rates(catalog, pin.rates), listed={**catalog.listed, **pin.listed})


def _named(rates: Rates) -> dict[str, int]:
    return {model + _WITH_SOUND * audio: rate for (model, audio), rate in sorted(rates.items())}


def _keyed(named: Mapping[str, int]) -> dict[tuple[str, bool], int]:
    return {
        (name.removesuffix(_WITH_SOUND), name.endswith(_WITH_SOUND)): rate for name, rate in named.items()
    }
