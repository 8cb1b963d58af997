"""What a client is charged for a cost: a mark-up, another currency, and amounts that add up as shown.

All of it is whole numbers. A total is rounded up to the currency's smallest unit; the parts of a total are
rounded down, and the units that are then missing go to the largest remainders.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pricing.money import ceil_div

USD = "USD"
MAX_MARKUP_PERCENT = 1_000
MAX_RATE = 1_000_000
"""Units of a currency for a dollar. The weakest currencies are below 100,000 (2026)."""

_ONE_MARKUP = 1_000_000
_NANO = 1_000_000_000
_PERCENT = re.compile(r"(\d{1,4})(?:\.(\d{1,4}))?\s*%?", re.ASCII)
_RATE = re.compile(r"(\d{1,7})(?:\.(\d{1,9}))?", re.ASCII)
_CURRENCY = re.compile(r"[A-Z]{3}", re.ASCII)
_OTHER_PLACES = {
    **dict.fromkeys(
        ("BIF", "CLP", "DJF", "GNF", "ISK", "JPY", "KMF", "KRW", "PYG", "RWF", "UGX", "VND", "VUV", "XAF"), 0
    ),
    **dict.fromkeys(("XOF", "XPF"), 0),
    **dict.fromkeys(("BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"), 3),
}
"""Currencies whose smallest unit is not a hundredth, by ISO 4217 (list one of 2024-06)."""


@dataclass(frozen=True, slots=True)
class Terms:
    """How a cost in dollars becomes a charge.

    `markup_ppm` is the mark-up in millionths of the cost (15 % is 150,000), `rate_nano` how much of
    `currency` a dollar is, in billionths.
    """

    markup_ppm: int = 0
    currency: str = USD
    rate_nano: int = _NANO

    @property
    def places(self) -> int:
        """Decimals of the currency's smallest unit."""
        return _OTHER_PLACES.get(self.currency, 2)

    @property
    def markup_text(self) -> str:
        """The mark-up as a person writes it: `15%`."""
        return f"{_decimal(self.markup_ppm, 4)}%"

    @property
    def rate_text(self) -> str:
        """The rate as a decimal number: `0.92`."""
        return _decimal(self.rate_nano, 9)

    def charge(self, cost_nano: int) -> int:
        """Return what a cost (nano-dollars, 0 or more) is charged at, in smallest units, rounded up."""
        return ceil_div(self._scaled(cost_nano), self._step)

    def shares(self, costs_nano: Sequence[int], total: int) -> list[int]:
        """Return the charge of each cost in smallest units; they add up to `total`, the charge of all.

        Each is less than one unit from its exact value.
        """
        parts = [divmod(self._scaled(cost), self._step) for cost in costs_nano]
        shares = [whole for whole, _ in parts]
        missing = total - sum(shares)
        order = sorted(range(len(parts)), key=lambda at: (-parts[at][1], at))
        for at in order[:missing]:
            shares[at] += 1
        return shares

    def text(self, units: int) -> str:
        """Write smallest units as an exact decimal number: `12.30`."""
        whole, part = divmod(units, 10**self.places)
        return f"{whole}.{part:0{self.places}d}" if self.places else str(whole)

    def _scaled(self, cost_nano: int) -> int:
        return cost_nano * (_ONE_MARKUP + self.markup_ppm) * self.rate_nano

    @property
    def _step(self) -> int:
        return _ONE_MARKUP * _NANO * _NANO // int(10**self.places)


def split(terms: Terms, groups: Iterable[Sequence[int]]) -> tuple[int, list[int], list[list[int]]]:
    """Return the charge of everything, of each group, and of each cost of each group: all add up.

    `groups` hold costs in nano-dollars.
    """
    costs = [list(group) for group in groups]
    sums = [sum(group) for group in costs]
    total = terms.charge(sum(sums))
    shares = terms.shares(sums, total)
    return total, shares, [terms.shares(group, share) for group, share in zip(costs, shares, strict=True)]


def parse_terms(markup: str | None, currency: str | None, rate: str | None) -> Terms | None:
    """Read a mark-up (`15%`), a currency (`EUR`) and its rate (`0.92` for a dollar); None without any.

    Raises ValueError where one cannot be read, and for a currency without its rate or a rate without one.
    """
    if markup is None and currency is None and rate is None:
        return None
    name = (currency or USD).strip().upper()
    if not _CURRENCY.fullmatch(name):
        raise ValueError(f"{name[:40]!r} is not a currency's code of three letters such as EUR (ISO 4217)")
    if (name == USD) == (rate is not None):
        missing = "a rate is for another currency than USD" if name == USD else f"{name} needs its rate"
        raise ValueError(f"{missing}: give both, such as currency EUR and rate 0.92 (EUR for a dollar)")
    return Terms(
        0 if markup is None else _markup_ppm(markup), name, _NANO if rate is None else _rate_nano(rate)
    )


def _markup_ppm(text: str) -> int:
    match = _PERCENT.fullmatch(text.strip())
    if match is None or int(match[1]) > MAX_MARKUP_PERCENT:
        raise ValueError(
            f"{text[:40]!r} is not a mark-up such as 15% or 12.5% (0 to {MAX_MARKUP_PERCENT}%, four decimals)"
        )
    return int(match[1]) * 10_000 + int((match[2] or "").ljust(4, "0"))


def _rate_nano(text: str) -> int:
    match = _RATE.fullmatch(text.strip())
    nano = 0 if match is None else int(match[1]) * _NANO + int((match[2] or "").ljust(9, "0"))
    if not 0 < nano <= MAX_RATE * _NANO:
        raise ValueError(
            f"{text[:40]!r} is not a rate such as 0.92 (above 0, at most {MAX_RATE:,}, nine decimals)"
        )
    return nano


def _decimal(value: int, places: int) -> str:
    whole, part = divmod(value, 10**places)
    decimals = f"{part:0{places}d}".rstrip("0")
    return f"{whole}.{decimals}" if decimals else str(whole)
