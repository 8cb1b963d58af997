"""Pictures of a clip as JPEG: a thumbnail, and a strip of small ones to move a pointer over."""

from __future__ import annotations

import io

from av import VideoFrame, VideoStream
from PIL import Image

STRIP_FRAMES = 6
TILE_WIDTH_PX, TILE_HEIGHT_PX = 240, 135
"""Every tile is 16:9; other pictures stand in it on black."""

THUMBNAIL_WIDTH_PX = 480
_THUMBNAIL_QUALITY, _STRIP_QUALITY = 72, 60
_SHOWN_AT = (1, 3)
"""A third into the clip: past a fade-in."""


class Thumbnail:
    """Keeps the first frame at or after a third of the clip, by the length it claims; else the last one.

    `strip` keeps several more, spread over the clip.
    """

    def __init__(self, stream: VideoStream) -> None:
        length = (stream.duration or 0) * _SHOWN_AT[0] // _SHOWN_AT[1]
        self._wanted_pts = length + (stream.start_time or 0)
        self._kept_pts: int | None = None
        self.kept: VideoFrame | None = None
        self.strip = Strip(stream)

    def offer(self, frame: VideoFrame, pts: int) -> None:
        """Take the next frame of the clip where it suits better than the one that is kept."""
        self.strip.offer(frame, pts)
        if self._kept_pts is None or self._kept_pts < self._wanted_pts:
            self.kept, self._kept_pts = frame, pts

    def jpeg(self) -> bytes:
        """Return the frame as JPEG of at most 480 pixels in width, b"" where none can be made."""
        try:
            return b"" if self.kept is None else _jpeg(self.kept)
        except Exception:  # noqa: BLE001 -- a missing thumbnail never fails a paid job
            return b""


def _jpeg(frame: VideoFrame) -> bytes:
    width_px = min(frame.width, THUMBNAIL_WIDTH_PX)
    height_px = max(1, round(frame.height * width_px / frame.width))
    picture = io.BytesIO()
    image: Image.Image = frame.reformat(width=width_px, height=height_px, format="rgb24").to_image()  # type: ignore[no-untyped-call]
    image.save(picture, "JPEG", quality=_THUMBNAIL_QUALITY)
    return picture.getvalue()


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
        strip.save(written, "JPEG", quality=_STRIP_QUALITY)
        return written.getvalue()


def _tile(frame: VideoFrame) -> Image.Image:
    scale = min(TILE_WIDTH_PX / frame.width, TILE_HEIGHT_PX / frame.height)
    width_px, height_px = (max(1, round(side * scale)) for side in (frame.width, frame.height))
    try:
        picture: Image.Image = frame.reformat(width=width_px, height=height_px, format="rgb24").to_image()  # type: ignore[no-untyped-call]
    except Exception:  # noqa: BLE001 -- a missing picture never fails a paid job
        return Image.new("RGB", (width_px, height_px))
    return picture
