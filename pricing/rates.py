"""Rates: rows of the price book, which of them a job is priced by, and what real bills say of them. Pure.

Bills count one frame more than the formula (see `pricing.quotes`), so a rate learned from clips of five
seconds lies 0.8 % above the book's; anything beyond that is news.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Literal, NamedTuple

from pricing.money import NANO_PER_USD, ceil_div
from pricing.units import PIXEL_FRAMES_PER_TOKEN, TOKENS_PER_RATE, Clip, Unit

Confidence = Literal["high", "medium", "low"]
CONFIDENCES: tuple[Confidence, ...] = ("high", "medium", "low")
"""high: fal's own page or price list says it; medium: real bills, or several sources; low: one third party,
or a reading of ours."""


@dataclass(frozen=True, slots=True)
class Rate:
    """One row: what a unit costs, of which endpoint or model, in which case, from which day on.

    `of` is an endpoint's id or a model's alias. `nano` are nano-dollars per `unit`; `input_nano` is what a
    unit of video that comes in costs, 0 where it is not counted. A condition that is None holds always.
    `since` is an ISO date.
    """

    of: str
    unit: Unit
    nano: int
    since: str
    source: str
    confidence: Confidence = "high"
    resolution: str | None = None
    audio: bool | None = None
    video_input: bool | None = None
    input_nano: int = 0
    note: str = ""

    @property
    def conditions(self) -> tuple[str | None, bool | None, bool | None]:
        """Resolution, sound and incoming video, each None where it does not matter."""
        return self.resolution, self.audio, self.video_input

    @property
    def count(self) -> int:
        """How many conditions it has."""
        return sum(condition is not None for condition in self.conditions)

    @property
    def nano_each(self) -> Fraction:
        """Nano-dollars per token, second or video, exact."""
        return Fraction(self.nano, self.unit.count)

    @property
    def price_text(self) -> str:
        """The price in words: `$0.014 per 1000 tokens`."""
        return f"${rate_text(self.nano)} per {self.unit}"

    @property
    def case_text(self) -> str:
        """The conditions in words, "" where there are none."""
        sound = {None: "", True: "with sound", False: "without sound"}[self.audio]
        video = {None: "", True: "with video input", False: "without video input"}[self.video_input]
        return ", ".join(filter(None, (self.resolution, sound, video)))

    def cost_nano(self, clip: Clip) -> int:
        """Cost of a clip, rounded up to a whole nano-dollar."""
        return self.unit.cost_nano(clip, self.nano, self.input_nano)


class Case(NamedTuple):
    """What a rate is chosen by."""

    endpoint_id: str
    model: str
    resolution: str
    audio: bool
    video_input: bool = False

    def __str__(self) -> str:
        sound = "with audio" if self.audio else "without audio"
        video = " and video input" if self.video_input else ""
        return f"{self.model} {sound}{video} at {self.resolution}"


def rates_for(rates: Iterable[Rate], case: Case) -> tuple[Rate, ...]:
    """Return the rows that price a case, the most trusted first; several only where sources conflict.

    Rows of the endpoint go before rows of its model, then rows with more conditions before rows with fewer.
    Raises LookupError where there is none: unknown is never free.
    """
    fitting = [rate for rate in rates if _fits(rate, case)]
    if not fitting:
        raise LookupError(f"the price book has no rate for {case}")
    best = max(_specificity(rate, case) for rate in fitting)
    found = [rate for rate in fitting if _specificity(rate, case) == best]
    return tuple(sorted(found, key=lambda rate: (CONFIDENCES.index(rate.confidence), -rate.nano_each)))


def _fits(rate: Rate, case: Case) -> bool:
    return (
        rate.of in (case.endpoint_id, case.model)
        and rate.resolution in (None, case.resolution)
        and rate.audio in (None, case.audio)
        and rate.video_input in (None, case.video_input)
    )


def _specificity(rate: Rate, case: Case) -> tuple[bool, int]:
    return rate.of == case.endpoint_id, rate.count


def in_force(book: Iterable[Rate], day: str) -> tuple[Rate, ...]:
    """Return the rows that hold on a day (ISO): of rows for the same case the newest, several of one day."""
    newest: dict[object, str] = {}
    rows = [rate for rate in book if rate.since <= day]
    for rate in rows:
        key = (rate.of, rate.conditions)
        newest[key] = max(rate.since, newest.get(key, ""))
    return tuple(rate for rate in rows if rate.since == newest[rate.of, rate.conditions])


def conflicts(rates: Iterable[Rate]) -> list[tuple[Rate, ...]]:
    """Return the rows that say different prices of one case, the most trusted first in each."""
    groups: dict[object, list[Rate]] = defaultdict(list)
    for rate in rates:
        groups[rate.of, rate.conditions].append(rate)
    return [
        tuple(sorted(group, key=lambda rate: CONFIDENCES.index(rate.confidence)))
        for group in groups.values()
        if len({(rate.nano_each, rate.unit.kind, rate.input_nano) for rate in group}) > 1
    ]


def base_rates(rates: Sequence[Rate], endpoint_id: str, model: str) -> list[Rate]:
    """Return the rows of an endpoint with the fewest conditions: what a price list may mean."""
    own = [rate for rate in rates if rate.of == endpoint_id]
    own = own or [rate for rate in rates if rate.of == model]
    fewest = min((rate.count for rate in own), default=0)
    return [rate for rate in own if rate.count == fewest]


def rates_sha256(rates: Iterable[Rate]) -> str:
    """Return the hash (hex) of rates: of what they cost, not of who says it."""
    rows = sorted(
        json.dumps([rate.of, *rate.conditions, str(rate.unit), rate.nano, rate.input_nano]) for rate in rates
    )
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()


def rate_text(nano: int) -> str:
    """Write nano-dollars as plain dollars, e.g. `2.5`."""
    return f"{(Decimal(nano) / NANO_PER_USD).normalize():f}"


class RateKey(NamedTuple):
    """What bills are put together by: the endpoint's id, the resolution, and whether sound was made."""

    endpoint_id: str
    resolution: str
    audio: bool


@dataclass(frozen=True, slots=True)
class Bill:
    """What one clip cost: its key, its pixels times frames as ordered, and nano-dollars."""

    key: RateKey
    pixel_frames: int
    cost_nano: int


@dataclass(frozen=True, slots=True)
class LearnedRate:
    """The median over `count` bills, in nano-dollars per million tokens."""

    count: int
    rate_nano: int

    def deviation_permille(self, book_nano: int) -> int:
        """How far above the book's rate it lies, in thousandths; below 0 where it lies under it."""
        return round((self.rate_nano - book_nano) * 1000 / book_nano)


def learned_rates(bills: Iterable[Bill]) -> Mapping[RateKey, LearnedRate]:
    """Return the median rate of every key that has bills; of an even number the higher of the two middles."""
    found: dict[RateKey, list[int]] = defaultdict(list)
    for bill in bills:
        tokens_times = bill.cost_nano * PIXEL_FRAMES_PER_TOKEN * TOKENS_PER_RATE
        found[bill.key].append(ceil_div(tokens_times, bill.pixel_frames))
    return {key: LearnedRate(len(rates), sorted(rates)[len(rates) // 2]) for key, rates in found.items()}
