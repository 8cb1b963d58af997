"""Rates learned from real bills: what a million tokens of the published formula really cost.

Pure. Bills count one frame more than the formula (see `pricing.quotes`), so a rate learned from clips of
five seconds lies 0.8 % above the book's; anything beyond that is news.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from pricing.money import ceil_div
from pricing.tokens import PIXEL_FRAMES_PER_TOKEN, TOKENS_PER_RATE


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
