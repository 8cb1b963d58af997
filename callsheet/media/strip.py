"""A strip of small pictures of a clip, side by side in one JPEG: what a page shows while a pointer moves."""

from __future__ import annotations

import io

from av import VideoFrame, VideoStream
from PIL import Image

STRIP_FRAMES = 6
TILE_WIDTH_PX, TILE_HEIGHT_PX = 240, 135
"""Every tile is 16:9; other pictures stand in it on black."""

_QUALITY = 60


class Strip:
    """Keeps `STRIP_FRAMES` pictures, spread evenly over the length that the clip claims."""

    def __init__(self, stream: VideoStream) -> None:
        length, start = stream.duration or 0, stream.start_time or 0
        self._length = length
        self._wanted_pts = [start + length * (2 * at + 1) // (2 * STRIP_FRAMES) for at in range(STRIP_FRAMES)]
        self._tiles: list[Image.Image] = []

    def offer(self, frame: VideoFrame, pts: int) -> None:
        """Take the next frame of the clip where one is due. A frame that cannot be shown is passed over."""
        while self._length and len(self._tiles) < STRIP_FRAMES and pts >= self._wanted_pts[len(self._tiles)]:
            self._tiles.append(_tile(frame))

    def jpeg(self) -> bytes:
        """Return the strip as JPEG, b"" where the clip is too short for one or none can be made."""
        if len(self._tiles) < STRIP_FRAMES:
            return b""
        strip = Image.new("RGB", (TILE_WIDTH_PX * STRIP_FRAMES, TILE_HEIGHT_PX))
        for at, tile in enumerate(self._tiles):
            left = at * TILE_WIDTH_PX + (TILE_WIDTH_PX - tile.width) // 2
            strip.paste(tile, (left, (TILE_HEIGHT_PX - tile.height) // 2))
        written = io.BytesIO()
        strip.save(written, "JPEG", quality=_QUALITY)
        return written.getvalue()


def _tile(frame: VideoFrame) -> Image.Image:
    scale = min(TILE_WIDTH_PX / frame.width, TILE_HEIGHT_PX / frame.height)
    width_px, height_px = (max(1, round(side * scale)) for side in (frame.width, frame.height))
    try:
        picture: Image.Image = frame.reformat(width=width_px, height=height_px, format="rgb24").to_image()  # type: ignore[no-untyped-call]
    except Exception:  # noqa: BLE001 -- a missing picture never fails a paid job
        return Image.new("RGB", (width_px, height_px))
    return picture
