"""One still of a finished clip, for pages that show many."""

from __future__ import annotations

import io
import os
from pathlib import Path

import av
from av import VideoFrame
from av.container import InputContainer
from PIL import Image

from callsheet.outputs.disk import make_directory
from callsheet.outputs.faults import Fault, fault
from callsheet.outputs.parts import part_file

MAX_WIDTH_PX = 480
_QUALITY = 72
_SHOWN_AT = (1, 3)
"""A third into the clip: past a fade-in, before the end of a movement."""


def make_poster(video: Path, destination: Path) -> None:
    """Write a JPEG of at most 480 pixels in width beside nothing else; an old one is replaced.

    Blocks. Raises MediaError (undecodable, no_video) or OSError.
    """
    try:
        with av.open(f"file:{video}", format="mp4") as container:
            picture = _jpeg(_still(container))
    except av.FFmpegError as error:
        raise fault(Fault.UNDECODABLE, f"no still can be taken: {error.strerror}") from error
    make_directory(destination.parent)
    with part_file(destination) as part:
        part.write(picture)
        os.replace(part.path, destination)  # noqa: PTH105  (a still may be replaced: it is no paid file)


def _still(container: InputContainer) -> VideoFrame:
    """Return the first frame at or after a third of the clip, or the last one there is."""
    if not container.streams.video:
        raise fault(Fault.NO_VIDEO, "the file has no video track")
    stream = container.streams.video[0]
    stream.codec_context.thread_type = "NONE"
    wanted = (stream.duration or 0) * _SHOWN_AT[0] // _SHOWN_AT[1] + (stream.start_time or 0)
    container.seek(wanted, stream=stream)
    last: VideoFrame | None = None
    for last in container.decode(stream):
        if last.pts is not None and last.pts >= wanted:
            break
    if last is None:
        raise fault(Fault.NO_VIDEO, "the video track holds no pictures")
    return last


def _jpeg(frame: VideoFrame) -> bytes:
    width_px = min(frame.width, MAX_WIDTH_PX)
    height_px = max(1, round(frame.height * width_px / frame.width))
    picture = io.BytesIO()
    image: Image.Image = frame.reformat(width=width_px, height=height_px, format="rgb24").to_image()  # type: ignore[no-untyped-call]
    image.save(picture, "JPEG", quality=_QUALITY)
    return picture.getvalue()
