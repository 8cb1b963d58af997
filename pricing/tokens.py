"""Video tokens: height x width x FPS x duration / 1024, fal's published formula.

With FPS x duration = frames the formula is height x width x frames / 1024. It need not be a whole number
(1112 x 834 x 120 / 1024 = 108,680.625), so nothing is rounded before the price is.
"""

from __future__ import annotations

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
