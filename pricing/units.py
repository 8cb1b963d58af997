"""What a price is per, as fal's price list writes it: an amount of tokens, seconds or videos.

Video tokens are height x width x frames / 1024, fal's published formula, with 24 frames a second. They need
not be a whole number (1112 x 834 x 120 / 1024 = 108,680.625), so nothing is rounded before the price is.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Literal

from pricing.money import NANO_PER_USD, ceil_div

PIXEL_FRAMES_PER_TOKEN = 1024
TOKENS_PER_RATE = 1_000_000

FRAME_GRID_OFFSET, FRAME_GRID_STEP = 25, 4
"""Seedance 1.0 makes clips of 25 + 4n frames (Volcengine 82379/1520757). What fal does with a number between
two of these is not known."""


def tokens(width_px: int, height_px: int, frames: int) -> float:
    """Tokens of a clip, for showing: exact, because the divisor is a power of two."""
    return width_px * height_px * frames / PIXEL_FRAMES_PER_TOKEN


def grid_neighbours(num_frames: int) -> tuple[int, int]:
    """Return the frame counts on the grid around `num_frames`: twice the same where it is on the grid."""
    beyond = (num_frames - FRAME_GRID_OFFSET) % FRAME_GRID_STEP
    low = num_frames - beyond
    return low, low + FRAME_GRID_STEP if beyond else low


def most_frames(num_frames: int) -> int:
    """Return the most frames that may be billed for a number asked for: the next on the grid, or one more."""
    return max(num_frames + 1, grid_neighbours(num_frames)[1])


Kind = Literal["tokens", "seconds", "videos"]

_WORDS = {"": 1, "k": 1000, "thousand": 1000, "m": 1_000_000, "million": 1_000_000}
_PER = r"(?:per\s+|/\s*)?"
_TOKENS = re.compile(
    rf"{_PER}(\d{{1,9}})?\s*(k|m|thousand|million)?\s*(?:video\s+|output\s+)?tokens?", re.ASCII
)
_SECONDS = re.compile(
    rf"{_PER}(\d{{1,5}})?\s*(?:video\s+|output\s+)?(second|sec|minute|min)s?(?:\s+of\s+(?:output\s+)?video)?",
    re.ASCII,
)
_VIDEOS = re.compile(rf"{_PER}(\d{{1,5}})?\s*(?:output\s+|generated\s+)?videos?", re.ASCII)

_MAX_RATE_NANO = 10**6 * NANO_PER_USD

KNOWN_UNITS = "an amount of tokens (1m tokens, 1000 tokens), seconds or videos"


@dataclass(frozen=True, slots=True)
class Clip:
    """What is billed of one video: pixels, frames, and the milliseconds of video that came in with it."""

    width_px: int
    height_px: int
    frames: int
    fps: int = 24
    input_ms: int = 0


@dataclass(frozen=True, slots=True)
class Unit:
    """So many tokens, seconds or videos; `count` is 1 or more."""

    kind: Kind
    count: int = 1

    def __str__(self) -> str:
        if self.kind == "tokens" and self.count == TOKENS_PER_RATE:
            return "million tokens"
        return f"{self.count} {self.kind}" if self.count > 1 else self.kind.removesuffix("s")

    def cost_nano(self, clip: Clip, nano: int, input_nano: int = 0) -> int:
        """Cost of a clip at `nano` nano-dollars a unit, and `input_nano` for what came in; rounded up."""
        if self.kind == "videos":
            return ceil_div(nano, self.count)
        frame_ms = 1000 * clip.frames * nano + clip.fps * clip.input_ms * input_nano
        if self.kind == "seconds":
            return ceil_div(frame_ms, 1000 * clip.fps * self.count)
        return ceil_div(clip.width_px * clip.height_px * frame_ms, 1000 * PIXEL_FRAMES_PER_TOKEN * self.count)


def parse_unit(text: str) -> Unit | None:
    """Read a unit as a price list may write it; None where its meaning is not known, as of "units"."""
    words = " ".join(text.strip().lower().replace(",", "").replace("_", " ").split())
    if found := _TOKENS.fullmatch(words):
        count = int(found[1] or 1) * _WORDS[found[2] or ""]
        return Unit("tokens", count) if count else None
    if found := _SECONDS.fullmatch(words):
        count = int(found[1] or 1) * (60 if found[2].startswith("min") else 1)
        return Unit("seconds", count) if count else None
    if found := _VIDEOS.fullmatch(words):
        count = int(found[1] or 1)
        return Unit("videos", count) if count else None
    return None


@dataclass(frozen=True, slots=True)
class ListedPrice:
    """One line of fal's price list: `price` in `currency` per `unit`, as fal writes them.

    fal writes the unit as free text: "1m tokens", "1000 tokens", "seconds", "videos", "units".
    """

    endpoint_id: str
    price: Decimal
    unit: str
    currency: str = "USD"

    @property
    def known_unit(self) -> Unit | None:
        """The unit; None where its meaning is not known."""
        return parse_unit(self.unit)

    @property
    def nano(self) -> Fraction | None:
        """Nano-dollars per unit, exact; None where the list names no price in dollars."""
        if self.currency.upper() != "USD" or self.price <= 0:
            return None
        return Fraction(self.price) * NANO_PER_USD

    @property
    def nano_each(self) -> Fraction | None:
        """Nano-dollars per token, second or video, exact; None where it is not known or out of all bounds."""
        unit, nano = self.known_unit, self.nano
        if unit is None or nano is None:
            return None
        each = nano / unit.count
        per_rate = each * TOKENS_PER_RATE if unit.kind == "tokens" else each
        return each if per_rate <= _MAX_RATE_NANO else None

    def cost_nano(self, units: Decimal) -> int | None:
        """Nano-dollars of so many units, rounded up; None where the list names no price in dollars."""
        if self.nano is None:
            return None
        numerator, denominator = (Fraction(units) * self.nano).as_integer_ratio()
        return ceil_div(numerator, denominator)
