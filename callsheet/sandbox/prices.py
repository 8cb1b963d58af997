"""What the sandbox asks for a video: the published rates, until a person raises or lowers them."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction

from callsheet.sandbox.endpoints import ENDPOINTS


class PriceList:
    """Rates by endpoint, in nano-dollars per token. A change lasts as long as the server."""

    def __init__(self) -> None:
        self._factors: dict[str, Fraction] = {}

    def rate(self, endpoint_id: str, *, audio: bool) -> Fraction:
        """Return the rate that holds now."""
        return ENDPOINTS[endpoint_id].rate(audio=audio) * self._factors.get(endpoint_id, Fraction(1))

    def change(self, factors: Mapping[str, str]) -> None:
        """Multiply the published rates of these endpoints: {endpoint id: "1.1"}; others go back to theirs.

        Raises ValueError for an unknown endpoint or a factor that is no positive number.
        """
        found = {}
        for endpoint_id, text in factors.items():
            if endpoint_id not in ENDPOINTS:
                raise ValueError(f"there is no endpoint {endpoint_id}")
            found[endpoint_id] = Fraction(str(text)[:20])
            if not 0 < found[endpoint_id] <= 1000:
                raise ValueError(f"{text}: a factor is above 0 and at most 1000")
        self._factors = found
