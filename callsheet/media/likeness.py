"""How much a frame is like a picture."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

from av import VideoFrame
from av.filter import Graph
from PIL import Image, ImageOps

COMPARED = (16, 16)
"""Width and height, in pixels, at which both are compared: small, so that a camera that has moved a little
does not count."""

PICTURE_MAX_PIXELS = 64_000_000


def likeness(frame: VideoFrame, picture: Path) -> float | None:
    """Return how much a frame is like a picture, from 0 to 1 (SSIM); None where the picture is not readable.

    The picture is cropped around its middle to the frame's shape, as fal does.
    """
    try:
        with Image.open(picture) as opened:
            if opened.width * opened.height > PICTURE_MAX_PIXELS:
                return None
            opened.draft("RGB", (frame.width, frame.height))
            upright = ImageOps.exif_transpose(opened).convert("RGB")
    except (OSError, ValueError, Image.DecompressionBombError):
        return None
    fitted = ImageOps.fit(upright, (frame.width, frame.height), Image.Resampling.BOX)
    return similarity(frame, VideoFrame.from_image(fitted))  # type: ignore[no-untyped-call]


def similarity(one: VideoFrame, other: VideoFrame) -> float:
    """Return the structural similarity (SSIM) of two frames as small grey pictures, from 0 to 1."""
    graph = Graph()
    small = []
    for each in (one, other):
        copy = each.reformat(*COMPARED, format="gray", interpolation="AREA")
        copy.pts, copy.time_base = 0, Fraction(1, 24)
        small.append(copy)
    buffers = [
        graph.add_buffer(width=each.width, height=each.height, format=each.format, time_base=each.time_base)
        for each in small
    ]
    ssim, sink = graph.add("ssim"), graph.add("buffersink")
    buffers[0].link_to(ssim, 0, 0)
    buffers[1].link_to(ssim, 0, 1)
    ssim.link_to(sink)
    graph.configure()
    for buffer, each in zip(buffers, small, strict=True):
        buffer.push(each)
        buffer.push(None)
    return max(0.0, float(graph.pull().metadata["lavfi.ssim.All"]))
