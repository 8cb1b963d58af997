"""What the sandbox charges, in the units of fal's price list.

`X-Fal-Billable-Units`, the billing events and the price list all speak of the same unit, which differs from
endpoint to endpoint: 1m tokens for v1 Pro, v1 Pro Fast and v1.5 Pro, 1000 tokens for others. A token is
width x height x frames / 1024; real bills count 24 frames a second and one more.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Any, Literal, Self

from pydantic import BaseModel, Field, model_validator

from callsheet.sandbox.served_endpoints import ENDPOINTS, VIDEO_INPUT, ServedEndpoint

AudioBilling = Literal["units", "price"]
TOKENS_PER_UNIT = {"1m tokens": 1_000_000, "1000 tokens": 1_000}
_UNIT = re.compile(
    r"(?:per |/ ?)?(\d{1,9})? ?(k|thousand|m|million)? ?(?:video |output |generated )?(token|sec|min|video)"
)
_WORDS = {"k": 1_000, "thousand": 1_000, "m": 1_000_000, "million": 1_000_000}
NANO_PER_USD = 1_000_000_000


@dataclass(frozen=True, slots=True)
class ClipBill:
    """What one clip costs: units as exact decimal text, nano-dollars per unit, and their product."""

    units: str
    unit_price_nano: Fraction
    cost_nano: int


class PriceChange(BaseModel, extra="forbid"):
    """How an endpoint's price differs from the published one: times `factor`, in another unit.

    `unit_price`, in US dollars, replaces the price of a unit; a unit that is no number of tokens needs it.
    """

    factor: Decimal = Field(default=Decimal(1), gt=0, le=1000)
    unit: str = Field(default="", max_length=80)
    unit_price: Decimal | None = Field(default=None, gt=0, le=1000)

    @model_validator(mode="after")
    def _is_priced(self) -> Self:
        if self.unit and self.unit not in TOKENS_PER_UNIT and self.unit_price is None:
            raise ValueError(f"unit {self.unit!r} is no number of tokens; it needs a unit_price")
        return self


class PriceList:
    """Unit and price of each endpoint. A change lasts as long as the server.

    The list has one price for each endpoint: the silent one of v1.5, that of 720p for 2.5. Whether fal
    multiplies the units or the price of a dearer clip is not known; `audio_billing` chooses.
    """

    def __init__(
        self, audio_billing: AudioBilling = "price", endpoints: Mapping[str, ServedEndpoint] = ENDPOINTS
    ) -> None:
        self._audio_billing, self._endpoints = audio_billing, endpoints
        self._changes: dict[str, PriceChange] = {}

    def unit(self, endpoint_id: str) -> str:
        """Return the unit's name as the price list spells it."""
        return self._change(endpoint_id).unit or self._endpoints[endpoint_id].unit

    def unit_price_nano(self, endpoint_id: str) -> Fraction:
        """Return the listed price of one unit, in nano-dollars."""
        change = self._change(endpoint_id)
        if change.unit_price is not None:
            return Fraction(change.unit_price) * NANO_PER_USD
        endpoint, factor = self._endpoints[endpoint_id], Fraction(change.factor)
        if endpoint.unit_price_nano:
            return endpoint.unit_price_nano * factor
        return endpoint.price_nano * TOKENS_PER_UNIT[self.unit(endpoint_id)] * factor

    def bill(
        self,
        endpoint_id: str,
        *,
        width_px: int,
        height_px: int,
        frames: int,
        audio: bool = False,
        resolution: str = "",
        video_frames: int = 0,
        factor: str = "1",
    ) -> ClipBill:
        """Return what a clip costs, rounded up to a nano-dollar.

        `video_frames` are those of the input videos. `factor` multiplies the units (a fault).
        """
        endpoint = self._endpoints[endpoint_id]
        rate = endpoint.rate(audio=audio, resolution=resolution, videos=video_frames > 0)
        billed = frames + video_frames * (VIDEO_INPUT if endpoint.is_mini else 1)
        tokens = Fraction(width_px * height_px * billed, 1024)
        if endpoint.version[0] == "2":  # real bills of 2.x count whole tokens
            tokens = Fraction(math.floor(tokens))
        units = Fraction(factor) * self._quantity(endpoint_id, tokens, frames)
        unit_price_nano = self.unit_price_nano(endpoint_id)
        if self._audio_billing == "units":
            units *= rate / endpoint.price_nano
        else:
            unit_price_nano *= rate / endpoint.price_nano
        return ClipBill(_decimal_text(units), unit_price_nano, math.ceil(units * unit_price_nano))

    def change(self, changes: Mapping[str, Any]) -> None:
        """Set the changes that hold from now on; endpoints that are not named get the published price.

        A change is a factor as text (`"1.1"`), or an object with any of `factor`, `unit` and `unit_price`
        (US dollars as text). Raises ValueError for an unknown endpoint, and for a number out of its bounds.
        """
        if unknown := sorted(changes.keys() - self._endpoints.keys()):
            raise ValueError(f"there is no endpoint {', '.join(unknown)}")
        self._changes = {
            endpoint_id: PriceChange.model_validate(given if isinstance(given, dict) else {"factor": given})
            for endpoint_id, given in changes.items()
        }

    def _change(self, endpoint_id: str) -> PriceChange:
        return self._changes.get(endpoint_id, PriceChange())

    def _quantity(self, endpoint_id: str, tokens: Fraction, frames: int) -> Fraction:
        found = _UNIT.match(" ".join(self.unit(endpoint_id).lower().replace(",", "").split()))
        count = int(found[1] or 1) * _WORDS.get(found[2], 1) if found else 1
        if not found or found[3] == "video":
            return Fraction(1, count)
        if found[3] == "token":
            return tokens / count
        endpoint = self._endpoints[endpoint_id]
        # Models that are priced per second bill the seconds that were ordered.
        is_ordered = endpoint.unit_price_nano and frames % endpoint.fps == 1
        seconds = Fraction(frames - is_ordered, endpoint.fps)
        return seconds / count / (60 if found[3] == "min" else 1)


def _decimal_text(number: Fraction) -> str:
    """Write a number exactly where its digits end within 28, else rounded there."""
    return f"{(Decimal(number.numerator) / Decimal(number.denominator)).normalize():f}"
