"""One picture of a video, and its length."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import av
from av import VideoFrame, VideoStream
from av.container import InputContainer
from PIL import Image

_SHOWN_AT = Fraction(1, 3)
"""A third into the clip: past a fade-in, as the thumbnails of a run."""


def length_of(path: Path) -> tuple[int, Fraction]:
    """Return how many frames a verified video has, and how many are shown in a second. Blocks.

    Raises av.FFmpegError for a file that cannot be read.
    """
    with _opened(path) as (_, stream):
        rate = stream.average_rate or Fraction(24)
        # A fragmented file counts no frames in its header.
        return stream.frames or round((stream.duration or 0) * (stream.time_base or 0) * rate), rate


def picture_of(path: Path, width_px: int, height_px: int) -> Image.Image:
    """Return a frame of a verified video, scaled down to fit into a box. Blocks.

    Raises av.FFmpegError for a file that does not decode.
    """
    with _opened(path) as (container, stream):
        wanted = (stream.start_time or 0) + int((stream.duration or 0) * _SHOWN_AT)
        container.seek(wanted, stream=stream)
        found: VideoFrame | None = None
        for found in container.decode(stream):
            if found.pts is not None and found.pts >= wanted:
                break
        return Image.new("RGB", (1, 1)) if found is None else _scaled(found, width_px, height_px)


@contextmanager
def _opened(path: Path) -> Iterator[tuple[InputContainer, VideoStream]]:
    with av.open(f"file:{path}", format="mp4", options={"protocol_whitelist": "file"}) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_type = "NONE"
        yield container, stream


def _scaled(frame: VideoFrame, width_px: int, height_px: int) -> Image.Image:
    scale = min(width_px / frame.width, height_px / frame.height, 1.0)
    width, height = (max(1, round(side * scale)) for side in (frame.width, frame.height))
    image: Image.Image = frame.reformat(width=width, height=height, format="rgb24").to_image()  # type: ignore[no-untyped-call]
    return image
