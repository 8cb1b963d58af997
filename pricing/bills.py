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
from pricing.quotes import Shot, least_nano, quote
from pricing.tokens import TOKENS_PER_RATE, cost_nano, most_frames

Basis = Literal["billable_units", "expected", "bill_implausible"]
"""Where a cost comes from: the units of fal's reply, the published formula, or units that cannot be true."""

MOST_NANO = MAX_USD * NANO_PER_USD
"""The largest cost that is booked for one job: a million dollars. It is far above any hold, and freezes."""

_PLAIN = re.compile(r"\d{1,18}(\.\d{1,18})?", re.ASCII)


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
    (sound), the list knows only one of them: the units then tell the tokens and the book's rate for this
    job their price, and the result is never below units times the listed price.

    Whether fal counts sound in the price or in the units is not known. Units that would pass the maximum as
    tokens, and that at the listed price come to between the expected cost and the maximum, count the sound
    already: they cost the listed price.
    """
    listed = catalog.listed.get(shot.endpoint.id)
    if listed is None:
        return None
    by_list_nano = listed.cost_nano(units)
    if len(set(catalog.rates_of(shot.endpoint))) == 1:
        return by_list_nano
    if listed.unit_tokens is None:
        # Seconds or videos of an unknown kind: the list cannot say less than the formula does.
        return None if by_list_nano is None else max(by_list_nano, quote(catalog, shot).expected_nano)
    numerator, denominator = (units * listed.unit_tokens).as_integer_ratio()
    rate_nano = catalog.rate_nano(shot.endpoint, audio=shot.audio)
    by_tokens_nano = ceil_div(numerator * rate_nano, denominator * TOKENS_PER_RATE)
    price = quote(catalog, shot)
    if (
        by_list_nano is not None
        and price.expected_nano <= by_list_nano <= price.maximum_nano < by_tokens_nano
    ):
        return by_list_nano
    return max(by_tokens_nano, by_list_nano or 0)


def delivered_nano(catalog: Catalog, shot: Shot, *, width_px: int, height_px: int) -> int:
    """Return what the delivered file costs in nano-dollars: one frame more than ordered, at its own size."""
    frames = most_frames(quote(catalog, shot).frames)
    return cost_nano(width_px, height_px, frames, catalog.rate_nano(shot.endpoint, audio=shot.audio))


def _read(text: str) -> Decimal | None:
    """Read units strictly, by their form first: a number can be long enough to take minutes."""
    return Decimal(text) if _PLAIN.fullmatch(text) else None
