"""Video frames as numpy planes: luma at full size, the two chroma planes at half size (yuv420p)."""

from __future__ import annotations

from dataclasses import dataclass

import av
import numpy as np
from numpy.typing import NDArray
from PIL.Image import Image

Plane = NDArray[np.uint8]

WHITE_Y = 232
BLACK_Y = 16
NEUTRAL = 128


@dataclass(frozen=True, slots=True)
class Planes:
    """Views into one frame: writing here writes the frame. Chroma has half the width and half the height."""

    y: Plane
    u: Plane
    v: Plane

    def copy_from(self, other: Planes) -> None:
        """Copy every plane of an equally large frame."""
        self.y[:] = other.y
        self.u[:] = other.u
        self.v[:] = other.v

    def window(self, x: int, y: int, width_px: int, height_px: int) -> Planes:
        """Return a view of a rectangle; x and y are taken down to even pixels for the chroma alone."""
        half_x, half_y = x // 2, y // 2
        rows, columns = slice(half_y, half_y + height_px // 2), slice(half_x, half_x + width_px // 2)
        return Planes(
            self.y[y : y + height_px, x : x + width_px], self.u[rows, columns], self.v[rows, columns]
        )


def planes_of(frame: av.VideoFrame) -> Planes:
    """Return views of a yuv420p frame."""
    views: list[Plane] = []
    for index, plane in enumerate(frame.planes):
        across, down = (
            (frame.width, frame.height) if index == 0 else ((frame.width + 1) // 2, (frame.height + 1) // 2)
        )
        whole: Plane = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)
        views.append(whole[:down, :across])
    return Planes(*views)


def frame_of(picture: Image) -> av.VideoFrame:
    """Convert an RGB picture to a yuv420p frame in the colours of HD video (BT.709, limited range)."""
    rgb = av.VideoFrame.from_ndarray(np.asarray(picture), format="rgb24")
    return rgb.reformat(format="yuv420p", dst_colorspace="ITU709", dst_color_range="MPEG")


def yuv_of(colour: tuple[int, int, int]) -> tuple[int, int, int]:
    """Convert one colour, BT.709, limited range."""
    red, green, blue = (part / 255 for part in colour)
    luma = 0.2126 * red + 0.7152 * green + 0.0722 * blue
    return (
        round(16 + 219 * luma),
        round(128 + 224 * (blue - luma) / 1.8556),
        round(128 + 224 * (red - luma) / 1.5748),
    )
