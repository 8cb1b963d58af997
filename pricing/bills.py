"""What fal's billable units say about the cost of one job, and when they are not believed. Pure.

A unit is what fal's price list says for the endpoint. Only figures that would free money are checked against
what the job can cost; a bill above the hold is booked in full.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

from pricing.catalog import Catalog
from pricing.money import MAX_USD, NANO_PER_USD, ceil_div
from pricing.price_list import agrees
from pricing.quotes import Shot, least_nano, quote, rates_of
from pricing.rates import Rate
from pricing.units import Clip, ListedPrice, most_frames

Basis = Literal["billable_units", "expected", "bill_implausible"]
"""Where a cost comes from: the units of fal's reply, the published formula, or units that cannot be true."""

MOST_NANO = MAX_USD * NANO_PER_USD
"""The largest cost that is booked for one job: a million dollars. It is far above any hold, and freezes."""

_NUMBER = re.compile(r"\d{1,40}(\.\d{1,40})?(e[+-]?\d{1,3})?", re.ASCII | re.IGNORECASE)
_LONG = re.compile(r"0*[1-9]\d{18}", re.ASCII)
"""The beginning of a number that is above every bill, however it goes on."""


@dataclass(frozen=True, slots=True)
class Charge:
    """What a reply's units come to, in nano-dollars, and on what basis.

    Without `billable_units` no figure of fal's confirms a cost. The amount is then the job's maximum: until
    the file is there, nothing better is known, and its size then tells the cost (`delivered_nano`).
    """

    nano: int
    basis: Basis


def charge(catalog: Catalog, shot: Shot, units_text: str | None) -> Charge:
    """Return what a job cost by the units of fal's reply; `catalog` has the prices at which it was bought.

    None (no units) and units of unknown meaning are `expected`. Zero, negative and unreadable units, and
    units below what the smallest video that the job allows can cost, are `bill_implausible`.
    Raises LookupError where the price book has no rate for the shot.
    """
    maximum_nano = quote(catalog, shot).maximum_nano
    if units_text is None:
        return Charge(maximum_nano, "expected")
    units = _read(units_text)
    if units is None or units == 0:
        return Charge(maximum_nano, "bill_implausible")
    billed_nano = cost_of_units(catalog, shot, units)
    if billed_nano is None:
        return Charge(maximum_nano, "expected")
    if billed_nano < least_nano(catalog, shot):
        return Charge(maximum_nano, "bill_implausible")
    return Charge(min(billed_nano, MOST_NANO), "billable_units")


def cost_of_units(catalog: Catalog, shot: Shot, units: Decimal) -> int | None:
    """Return what so many units cost in nano-dollars, rounded up; None where a unit's meaning is not known.

    Where the endpoint has one rate, it is units times the listed price of a unit. Where it has several
    (sound, resolution, video input), the list knows only one of them, and whether fal counts the difference
    in the units or in the price is not known. So the units are read both ways, at the listed price and as an
    amount at the book's rate for this job: of the readings that such a job can cost, the dearer one counts,
    and the dearest of all where none is possible. A listed price that is none of the book's is never
    undercut.
    """
    listed = catalog.listed.get(shot.endpoint.id)
    if listed is None:
        return None
    by_list_nano = listed.cost_nano(units)
    own = catalog.rates_of(shot.endpoint)
    if len({(rate.unit.kind, rate.nano_each, rate.input_nano) for rate in own}) == 1:
        return by_list_nano
    price, rates = quote(catalog, shot), rates_of(catalog, shot)
    by_book_nano = [nano for rate in rates if (nano := _at_rate(listed, rate, units)) is not None]
    if not by_book_nano:
        # A unit of another kind: the list cannot say less than the formula does.
        return None if by_list_nano is None else max(by_list_nano, price.expected_nano)
    readings = [*by_book_nano, *([by_list_nano] if by_list_nano is not None else [])]
    possible = [nano for nano in readings if least_nano(catalog, shot) <= nano <= price.maximum_nano]
    is_in_book = agrees(catalog, shot.endpoint.id, listed)
    return max(possible) if possible and (is_in_book or by_list_nano in possible) else max(readings)


def _at_rate(listed: ListedPrice, rate: Rate, units: Decimal) -> int | None:
    """Return what so many listed units cost at a rate; None where the two count different things."""
    unit = listed.known_unit
    if unit is None or unit.kind != rate.unit.kind:
        return None
    numerator, denominator = (units * unit.count).as_integer_ratio()
    return ceil_div(numerator * rate.nano, denominator * rate.unit.count)


def delivered_nano(catalog: Catalog, shot: Shot, *, width_px: int, height_px: int) -> int:
    """Return what the delivered file costs in nano-dollars: one frame more than ordered, at its own size."""
    frames = most_frames(quote(catalog, shot).frames)
    clip = Clip(width_px, height_px, frames, catalog.fps_of(shot.endpoint), shot.input_ms)
    return rates_of(catalog, shot)[0].cost_nano(clip)


def _read(text: str) -> Decimal | None:
    """Read units strictly, by their form first: a number can be long enough to take minutes."""
    found = _NUMBER.fullmatch(text) or _LONG.match(text)
    return Decimal(found[0]) if found else None
