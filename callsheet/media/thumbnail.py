"""One still of a clip, for pages that show many: taken while every frame of it is decoded anyway."""

from __future__ import annotations

import io

from av import VideoFrame, VideoStream
from PIL import Image

MAX_WIDTH_PX = 480
_QUALITY = 72
_SHOWN_AT = (1, 3)
"""A third into the clip: past a fade-in, before the end of a movement."""


class StillTaker:
    """Keeps the first frame at or after a third of the clip, by the length it claims; else the last one."""

    def __init__(self, stream: VideoStream) -> None:
        length = (stream.duration or 0) * _SHOWN_AT[0] // _SHOWN_AT[1]
        self._wanted_pts = length + (stream.start_time or 0)
        self._kept_pts: int | None = None
        self.kept: VideoFrame | None = None

    def look_at(self, frame: VideoFrame, pts: int) -> None:
        """Look at the next frame of the clip."""
        if self._kept_pts is None or self._kept_pts < self._wanted_pts:
            self.kept, self._kept_pts = frame, pts

    def jpeg(self) -> bytes:
        """Return the still as JPEG of at most 480 pixels in width, b"" where none can be made."""
        try:
            return b"" if self.kept is None else _jpeg(self.kept)
        except Exception:  # noqa: BLE001 -- whatever it is: a page without one is no reason to fail a paid job
            return b""


def _jpeg(frame: VideoFrame) -> bytes:
    width_px = min(frame.width, MAX_WIDTH_PX)
    height_px = max(1, round(frame.height * width_px / frame.width))
    picture = io.BytesIO()
    image: Image.Image = frame.reformat(width=width_px, height=height_px, format="rgb24").to_image()  # type: ignore[no-untyped-call]
    image.save(picture, "JPEG", quality=_QUALITY)
    return picture.getvalue()
