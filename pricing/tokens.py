"""Video tokens: height x width x FPS x duration / 1024, fal's published formula.

With FPS x duration = frames the formula is height x width x frames / 1024. It need not be a whole number
(1112 x 834 x 120 / 1024 = 108,680.625), so nothing is rounded before the price is.
"""

from __future__ import annotations

from pricing.money import NanoUsd, ceil_div

PIXEL_FRAMES_PER_TOKEN = 1024
TOKENS_PER_RATE = 1_000_000


def tokens(width_px: int, height_px: int, frames: int) -> float:
    """Tokens of a clip, for showing: exact, because the divisor is a power of two."""
    return width_px * height_px * frames / PIXEL_FRAMES_PER_TOKEN


def cost_nano(width_px: int, height_px: int, frames: int, rate_nano: int) -> NanoUsd:
    """Cost of a clip at `rate_nano` nano-dollars per million tokens, rounded up to a whole nano-dollar."""
    return NanoUsd(
        ceil_div(width_px * height_px * frames * rate_nano, PIXEL_FRAMES_PER_TOKEN * TOKENS_PER_RATE)
    )
