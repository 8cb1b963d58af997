"""Money as whole nano-dollars.

The unit is fal's own (`cost_estimate_nano_usd` in its billing events). A token of Seedance 1.0 Pro costs
2.5 micro-dollars, which is no whole number of micro-dollars but exactly 2,500 nano-dollars. 64 bits hold
9.2 billion dollars. Nothing here touches a float.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import NewType

NanoUsd = NewType("NanoUsd", int)
"""Nano-dollars: 1e-9 USD, a whole number."""

NANO_PER_USD = 1_000_000_000
MAX_USD = 1_000_000
"""The largest amount a person may type. Far above any campaign, far below what 64 bits hold."""

PLACES_SHOWN = 4
"""Decimals of a dollar that people are shown."""

# Read by length and form before any conversion: int(Decimal("1e5000000")) runs for minutes.
AMOUNT = r"\+?([0-9]{1,7}(?:\.[0-9]{0,9})?|\.[0-9]{1,9})"
"""The form of an amount of dollars, as a regular expression."""


def parse_usd(text: str, *, zero: bool = False) -> NanoUsd:
    """Read dollars as a person types them: `120`, `120.00`, `.5`; at most nine decimals.

    Returns nano-dollars, 0 < amount <= 1,000,000 USD, or 0 where `zero` is meant as well. Raises ValueError
    for everything else: signs, exponents, NaN, infinities, digits beyond a nano-dollar.
    """
    nano = parse_threshold(text)
    if not (0 < nano <= MAX_USD * NANO_PER_USD or (zero and nano == 0)):
        raise ValueError(f"{text[:40]!r} is not above 0 and at most {MAX_USD:,} USD")
    return nano


def parse_threshold(text: str) -> NanoUsd:
    """Read dollars that a cost is compared with: written as for `parse_usd`, from 0 to below 10,000,000 USD.

    Returns nano-dollars. Raises ValueError for everything else.
    """
    match = re.fullmatch(AMOUNT, text.strip())
    if match is None:
        raise ValueError(f"{text[:40]!r} is not an amount of dollars like 120 or 39.50")
    return NanoUsd(int(Decimal(match[1]).scaleb(9)))


def usd_text(nano: int) -> str:
    """Write nano-dollars as an exact decimal string of dollars: at least two decimals, none of them lost."""
    sign = "-" if nano < 0 else ""
    whole, part = divmod(abs(nano), NANO_PER_USD)
    decimals = f"{part:09d}".rstrip("0").ljust(2, "0")
    return f"{sign}{whole}.{decimals}"


def usd_rounded_up(nano: int, places: int = PLACES_SHOWN) -> str:
    """Write nano-dollars for people: `$0.2448`, rounded up to exactly `places` decimals (2 to 9)."""
    whole, part = divmod(ceil_div(nano, 10 ** (9 - places)), 10**places)
    return f"${whole:,}.{part:0{places}d}"


def ceil_div(numerator: int, denominator: int) -> int:
    """Divide, rounding upwards: money is never rounded down."""
    return -(-numerator // denominator)
