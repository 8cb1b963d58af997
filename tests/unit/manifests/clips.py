"""Small videos and sounds for the tests of reference files."""

from __future__ import annotations

import wave
from pathlib import Path

import av
import numpy as np


def write_clip(path: Path, *, seconds: float, size: tuple[int, int] = (64, 64)) -> Path:
    """Write a black video of 24 frames a second."""
    width, height = size
    with av.open(str(path), "w") as container:
        stream = container.add_stream("h264", rate=24)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        black = av.VideoFrame.from_ndarray(np.zeros((height, width, 3), np.uint8), format="rgb24")
        for number in range(round(seconds * 24)):
            black.pts = number
            container.mux(stream.encode(black))
        container.mux(stream.encode())
    return path


def write_sound(path: Path, *, seconds: float) -> Path:
    """Write silence as WAV."""
    with wave.open(str(path), "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(8000)
        sound.writeframes(bytes(2 * round(8000 * seconds)))
    return path
