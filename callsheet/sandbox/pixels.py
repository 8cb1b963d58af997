"""Pixels, frames and render times, read from fal's and ByteDance's pages by the sandbox alone."""

from __future__ import annotations

import math

FPS = 24

_RATIOS = ("21:9", "16:9", "4:3", "1:1", "3:4", "9:16", "9:21")
# Width x height in pixels, in the order of _RATIOS. Volcengine document 82379/1520757; 9:21, which 1.0 alone
# has, from Runware's model pages.
_SIZES = {
    ("1.0", "480p"): "960x416 864x480 736x544 640x640 544x736 480x864 416x960",
    ("1.0", "720p"): "1504x640 1248x704 1120x832 960x960 832x1120 704x1248 640x1504",
    ("1.0", "1080p"): "2176x928 1920x1088 1664x1248 1440x1440 1248x1664 1088x1920 928x2176",
    ("1.5", "480p"): "992x432 864x496 752x560 640x640 560x752 496x864",
    ("1.5", "720p"): "1470x630 1280x720 1112x834 960x960 834x1112 720x1280",
    ("1.5", "1080p"): "2206x946 1920x1080 1664x1248 1440x1440 1248x1664 1080x1920",
    ("2.0", "4k"): "4412x1892 3840x2160 3328x2496 2880x2880 2496x3328 2160x3840",
    ("2.5", "480p"): "992x432 854x480 752x560 640x640 560x752 480x854",
}
# 2.x has the sizes of 1.5. Twice 1080p is assumed for 4k. A bill of 2.5 at 480p counts 854x480 pixels.
_SIZES |= {
    (version, resolution): _SIZES["1.5", resolution]
    for version in ("2.0", "2.5")
    for resolution in ("480p", "720p", "1080p")
    if (version, resolution) not in _SIZES
}
PIXELS: dict[tuple[str, str], dict[str, tuple[int, int]]] = {
    key: {
        ratio: (int(width), int(height))
        for ratio, (width, _, height) in zip(
            _RATIOS, (size.partition("x") for size in text.split()), strict=False
        )
    }
    for key, text in _SIZES.items()
}

AUTO_RATIOS = _RATIOS[:6]
"""What `auto` chooses from: 9:21 is not among them (Volcengine 82379/1520757)."""


def nearest_ratio(width_px: int, height_px: int) -> str:
    """Return the one of the six ratios that is nearest to an image, by the quotient of the two ratios."""

    def distance(ratio: str) -> float:
        across, down = map(int, ratio.split(":"))
        return abs(math.log((width_px / height_px) / (across / down)))

    return min(AUTO_RATIOS, key=distance)


def frames_of(duration_s: int, fps: int = FPS) -> int:
    """Frames of a clip of whole seconds: one more than 24 a second; the first and the last both count."""
    return fps * duration_s + 1


def render_time_s(width_px: int, height_px: int, frames: int, noise: float) -> float:
    """Seconds the real model takes: 41 s for 121 frames of 1920x1088, in proportion to pixels and frames.

    `noise` from 0 to 1 spreads that by -8 % to +8 %. Source: "~41 seconds for 5-second 1080p video"
    (https://fal.ai/models/fal-ai/bytedance/seedance/v1/lite/image-to-video).
    """
    work = width_px * height_px * frames / (1920 * 1088 * 121)
    return 41.0 * work * (0.92 + 0.16 * noise)
