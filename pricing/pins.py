"""Pins: the prices of a run from a moment on, kept with the run as JSON. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from decimal import Decimal
from typing import Any

from pricing.catalog import Catalog
from pricing.rates import Rate
from pricing.units import ListedPrice, Unit


@dataclass(frozen=True, slots=True)
class Pin:
    """Prices that hold from `since_ms` (Unix milliseconds) on.

    `rates` are the rows that were in force, `listed` is what fal's list said by endpoint id: unit and price
    of a unit. `accepted` is what fal's list had for an endpoint when a person accepted it.
    """

    since_ms: int
    price_book: str
    rates: tuple[Rate, ...]
    accepted: Mapping[str, ListedPrice] = field(default_factory=dict)
    listed: Mapping[str, ListedPrice] = field(default_factory=dict)


def with_rates(catalog: Catalog, rates: Sequence[Rate]) -> Catalog:
    """Return the catalog with these rows in place of its own; endpoints and models they do not name stay."""
    named = {rate.of for rate in rates}
    kept = tuple(rate for rate in catalog.rates if rate.of not in named)
    return replace(catalog, rates=(*kept, *rates))


def first_pin(catalog: Catalog) -> Pin:
    """Return the pin of a run that is opened at the catalog's own prices."""
    return Pin(since_ms=0, price_book=catalog.price_book, rates=catalog.rates, listed=catalog.listed)


def catalog_at(catalog: Catalog, pins: Sequence[Pin], at_ms: int) -> Catalog:
    """Return the catalog with the prices that held at a moment (Unix milliseconds)."""
    held = [pin for pin in pins if pin.since_ms <= at_ms] or [pins[0]]
    return at_pin(catalog, held[-1])


def at_pin(catalog: Catalog, pin: Pin) -> Catalog:
    """Return the catalog at the prices of a pin; what the pin does not name stays."""
    return replace(with_rates(catalog, pin.rates), listed={**catalog.listed, **pin.listed})


def pins_text(pins: Sequence[Pin]) -> str:
    """Write pins as JSON, oldest first."""
    return json.dumps(
        [
            {
                "since_ms": pin.since_ms,
                "price_book": pin.price_book,
                "rates": [_rate_data(rate) for rate in pin.rates],
                "accepted": _lines_data(pin.accepted),
                "listed": _lines_data(pin.listed),
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
            rates=tuple(Rate(unit=Unit(row.pop("kind"), row.pop("count")), **row) for row in each["rates"]),
            accepted=_lines(each["accepted"]),
            listed=_lines(each["listed"]),
        )
        for each in json.loads(text)
    )


def _rate_data(rate: Rate) -> dict[str, Any]:
    data = asdict(rate)
    data |= data.pop("unit")
    return {name: value for name, value in data.items() if value not in (None, "")}


def _lines_data(lines: Mapping[str, ListedPrice]) -> dict[str, Any]:
    return {
        name: {"price": f"{each.price:f}", "unit": each.unit, "currency": each.currency}
        for name, each in lines.items()
    }


def _lines(data: Mapping[str, Any]) -> dict[str, ListedPrice]:
    return {
        name: ListedPrice(name, Decimal(line["price"]), line["unit"], line["currency"])
        for name, line in data.items()
    }
