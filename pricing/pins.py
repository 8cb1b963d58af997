"""The prices that a run keeps: written down when it is opened, and again whenever a person accepts others.

Pure. A run goes on with the rates it was planned with, also under a newer price book; what was bought at one
price is settled at that price, also after others were accepted.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from pricing.catalog import Catalog
from pricing.live import Rates, with_rates

_WITH_SOUND = "+audio"


@dataclass(frozen=True, slots=True)
class Pin:
    """Rates that hold from `since_ms` (Unix milliseconds) on, in nano-dollars per million tokens.

    `accepted` is what fal's list said for an endpoint when a person accepted it.
    """

    since_ms: int
    price_book: str
    rates: Rates
    accepted: Mapping[str, int] = field(default_factory=dict)

    @property
    def sha256(self) -> str:
        """The hash (hex) of the rates: equal hashes are equal prices."""
        return rates_sha256(self.rates)


def rates_sha256(rates: Rates) -> str:
    """Return the hash (hex) of rates."""
    return hashlib.sha256(json.dumps(_named(rates), sort_keys=True).encode()).hexdigest()


def first_pin(catalog: Catalog) -> Pin:
    """Return the pin of a run that is opened with the catalog's own rates."""
    return Pin(since_ms=0, price_book=catalog.price_book, rates=catalog.rates)


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
        )
        for each in json.loads(text)
    )


def catalog_at(catalog: Catalog, pins: Sequence[Pin], at_ms: int) -> Catalog:
    """Return the catalog with the rates that held at a moment (Unix milliseconds)."""
    held = [pin for pin in pins if pin.since_ms <= at_ms] or [pins[0]]
    return with_rates(catalog, held[-1].rates)


def _named(rates: Rates) -> dict[str, int]:
    return {model + _WITH_SOUND * audio: rate for (model, audio), rate in sorted(rates.items())}


def _keyed(named: Mapping[str, int]) -> dict[tuple[str, bool], int]:
    return {
        (name.removesuffix(_WITH_SOUND), name.endswith(_WITH_SOUND)): rate for name, rate in named.items()
    }
