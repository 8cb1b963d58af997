"""Pixels, frames and billing units, as this room reads fal's and ByteDance's pages."""

from __future__ import annotations

import math
from decimal import Decimal
from fractions import Fraction

FPS = 24

# Width x height in pixels. Volcengine document 82379/1520757; 9:21 from Runware's model pages.
PIXELS: dict[str, dict[str, dict[str, tuple[int, int]]]] = {
    "1.0": {
        "480p": {
            "21:9": (960, 416),
            "16:9": (864, 480),
            "4:3": (736, 544),
            "1:1": (640, 640),
            "3:4": (544, 736),
            "9:16": (480, 864),
            "9:21": (416, 960),
        },
        "720p": {
            "21:9": (1504, 640),
            "16:9": (1248, 704),
            "4:3": (1120, 832),
            "1:1": (960, 960),
            "3:4": (832, 1120),
            "9:16": (704, 1248),
            "9:21": (640, 1504),
        },
        "1080p": {
            "21:9": (2176, 928),
            "16:9": (1920, 1088),
            "4:3": (1664, 1248),
            "1:1": (1440, 1440),
            "3:4": (1248, 1664),
            "9:16": (1088, 1920),
            "9:21": (928, 2176),
        },
    },
    "1.5": {
        "480p": {
            "21:9": (992, 432),
            "16:9": (864, 496),
            "4:3": (752, 560),
            "1:1": (640, 640),
            "3:4": (560, 752),
            "9:16": (496, 864),
        },
        "720p": {
            "21:9": (1470, 630),
            "16:9": (1280, 720),
            "4:3": (1112, 834),
            "1:1": (960, 960),
            "3:4": (834, 1112),
            "9:16": (720, 1280),
        },
        "1080p": {
            "21:9": (2206, 946),
            "16:9": (1920, 1080),
            "4:3": (1664, 1248),
            "1:1": (1440, 1440),
            "3:4": (1248, 1664),
            "9:16": (1080, 1920),
        },
    },
}

AUTO_RATIOS = ("21:9", "16:9", "4:3", "1:1", "3:4", "9:16")
"""What `auto` chooses from: 9:21 is not among them (Volcengine 82379/1520757)."""


def nearest_ratio(width_px: int, height_px: int) -> str:
    """Return the one of the six ratios that is nearest to an image, by the ratio of the two ratios."""

    def distance(ratio: str) -> float:
        across, down = map(int, ratio.split(":"))
        return abs(math.log((width_px / height_px) / (across / down)))

    return min(AUTO_RATIOS, key=distance)


def size_of(version: str, resolution: str, ratio: str) -> tuple[int, int]:
    """Return (width, height) in pixels. Raises KeyError for a combination that does not exist."""
    return PIXELS[version][resolution][ratio]


def frames_of(duration_s: int) -> int:
    """Frames of a clip of whole seconds: one more than 24 a second, the first and the last both count."""
    return FPS * duration_s + 1


def billable_units(width_px: int, height_px: int, frames: int) -> Decimal:
    """Units of 1000 tokens for the frames that are really in the file, exactly.

    Billing events of fal were 87.3, 108.9 and 130.5 for 4, 5 and 6 s of 1280x720
    (https://github.com/openstory-so/openstory/issues/1098). The quotient always ends: 1024000 = 2^13 5^3.
    """
    return Decimal(width_px * height_px * frames) / Decimal(1_024_000)


def cost_nano(units: Decimal, rate_nano_per_token: int | Fraction) -> int:
    """What the provider bills, in nano-dollars (1e-9 USD), rounded up."""
    return math.ceil(Fraction(units) * 1000 * rate_nano_per_token)


def render_time_s(width_px: int, height_px: int, frames: int, noise: float) -> float:
    """Seconds the real model takes: 41 s for 121 frames of 1920x1088, in proportion to pixels and frames.

    `noise` from 0 to 1 spreads that by -8 % to +8 %. Source: "~41 seconds for 5-second 1080p video"
    (https://fal.ai/models/fal-ai/bytedance/seedance/v1/lite/image-to-video).
    """
    work = width_px * height_px * frames / (1920 * 1088 * 121)
    return 41.0 * work * (0.92 + 0.16 * noise)
