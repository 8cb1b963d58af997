"""fal's own price list beside the price book: what agrees, what differs, and what to hold if it is accepted.

Pure. fal lists one price per endpoint, without variants for sound, resolution or video input (Platform
OpenAPI, `GET /models/pricing`), in a unit that it writes as free text: a unit whose meaning is not known is
"not comparable", never "the same".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Literal

from pricing.catalog import Catalog
from pricing.money import ceil_div
from pricing.rates import Rate, base_rates, rate_text
from pricing.units import TOKENS_PER_RATE, ListedPrice

Verdict = Literal["agrees", "differs", "not comparable", "not listed"]


@dataclass(frozen=True, slots=True)
class PriceCheck:
    """One endpoint of the book beside fal's list.

    `book` holds the rows that the list may mean (two where sound has a price of its own), `listed` is fal's
    line, None where there is none.
    """

    endpoint_id: str
    model: str
    verdict: Verdict
    book: tuple[Rate, ...]
    listed: ListedPrice | None

    @property
    def said(self) -> str:
        """What fal's list says, in its words; "" where it says nothing."""
        each = self.listed
        return f"{each.price:f} {each.currency} per {each.unit}" if each else ""

    @property
    def listed_text(self) -> str:
        """The listed price per unit of the book: `$2.25 per million tokens`."""
        each = self.listed.nano_each if self.listed else None
        if each is None or not self.book:
            return self.said
        unit = self.book[0].unit
        return f"${rate_text(ceil_div(each.numerator * unit.count, each.denominator))} per {unit}"


def check_prices(
    catalog: Catalog,
    endpoint_ids: Iterable[str],
    listed: Sequence[ListedPrice],
    *,
    accepted: Mapping[str, ListedPrice] | None = None,
) -> list[PriceCheck]:
    """Set fal's list beside the rates of `catalog`, an endpoint at a time.

    A listed price agrees where it is one of the endpoint's rates, or what a person has `accepted` for that
    endpoint.
    """
    by_id = {price.endpoint_id: price for price in listed}
    return [_checked(catalog, each, by_id.get(each), (accepted or {}).get(each)) for each in endpoint_ids]


def _checked(
    catalog: Catalog, endpoint_id: str, price: ListedPrice | None, accepted: ListedPrice | None
) -> PriceCheck:
    model = catalog.endpoints[endpoint_id].model
    book = tuple(base_rates(catalog.rates, endpoint_id, model))
    verdict: Verdict = "differs"
    if price is None:
        verdict = "not listed"
    elif price.nano_each is None or not any(_same_kind(price, rate) for rate in book):
        verdict = "not comparable"
    elif agrees(catalog, endpoint_id, price) or (accepted and _is_equal(price, accepted)):
        verdict = "agrees"
    return PriceCheck(endpoint_id, model, verdict, book, price)


def agrees(catalog: Catalog, endpoint_id: str, price: ListedPrice) -> bool:
    """Say whether a listed price is one of the rates that the list may mean."""
    book = base_rates(catalog.rates, endpoint_id, catalog.endpoints[endpoint_id].model)
    return any(_same_kind(price, rate) and _near(price.nano_each, rate.nano_each) for rate in book)


def _same_kind(price: ListedPrice, rate: Rate) -> bool:
    unit = price.known_unit
    return unit is not None and unit.kind == rate.unit.kind


def _is_equal(price: ListedPrice, other: ListedPrice) -> bool:
    units = price.known_unit, other.known_unit
    kinds = {unit.kind if unit else None for unit in units}
    return len(kinds) == 1 and None not in kinds and _near(price.nano_each, other.nano_each)


def _near(one: Fraction | None, other: Fraction | None) -> bool:
    """Within a nano-dollar per million: list prices may be floats such as 0.0024000000000000002."""
    return one is not None and other is not None and abs(one - other) * TOKENS_PER_RATE <= 1


def differing(checks: Iterable[PriceCheck]) -> list[PriceCheck]:
    """Return those where fal's list says another price."""
    return [each for each in checks if each.verdict == "differs"]


def accepted_rates(catalog: Catalog, checks: Iterable[PriceCheck]) -> tuple[Rate, ...]:
    """Return the rates in force, those of the differing endpoints moved to what fal lists.

    All rows of an endpoint move in the proportion of the one that is listed. Where endpoints of one model
    differ from each other, the highest counts. Where the list may mean several rows (a model with a price of
    its own for sound), the nearest one is taken to be meant, and none falls below the book; where the nearest
    one would fall, none stays below what is listed either, as that may be billed.
    """
    factors: dict[str, Fraction] = {}
    floors: dict[str, list[ListedPrice]] = {}
    for each in differing(checks):
        factor = _factor(each)
        for subject in {rate.of for rate in each.book}:
            factors[subject] = max(factor, factors.get(subject, factor))
            if factor == 1 and each.listed:
                floors.setdefault(subject, []).append(each.listed)
    return tuple(_moved(rate, factors.get(rate.of), floors.get(rate.of, ())) for rate in catalog.rates)


def _factor(check: PriceCheck) -> Fraction:
    listed = check.listed.nano_each if check.listed else None
    assert listed is not None, "a price that differs was compared"
    own = [rate.nano_each for rate in check.book if check.listed and _same_kind(check.listed, rate)]
    meant = min(own, key=lambda each: max(each, listed) / min(each, listed))
    factor = listed / meant
    return factor if len(set(own)) == 1 else max(factor, Fraction(1))


def _moved(rate: Rate, factor: Fraction | None, floors: Sequence[ListedPrice]) -> Rate:
    if factor is None:
        return rate
    nano, input_nano = (ceil_div(each * factor.numerator, factor.denominator) for each in _prices(rate))
    least = [each.nano_each * rate.unit.count for each in floors if each.nano_each and _same_kind(each, rate)]
    nano = max([nano, *(ceil_div(each.numerator, each.denominator) for each in least)])
    return replace(rate, nano=nano, input_nano=input_nano)


def _prices(rate: Rate) -> tuple[int, int]:
    return rate.nano, rate.input_nano
