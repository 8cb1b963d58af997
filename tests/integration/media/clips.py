"""Short clips with and without faults, made once for each set of arguments."""

from collections.abc import Iterable, Iterator
from functools import lru_cache
from io import BytesIO
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

Picture = NDArray[np.uint8]
SIZE = (320, 180)
FRAMES = 48
RATE_HZ = 48_000


@lru_cache
def scene(seed: int = 1, size: tuple[int, int] = SIZE) -> Image.Image:
    """Return soft gradients with sharp discs on them, twice as wide as a frame; its seed makes it dark."""
    chance = np.random.default_rng(seed)
    low, high = (50, 140) if seed % 2 else (120, 220)
    coarse = Image.fromarray(chance.integers(low, high, (5, 16, 3), dtype=np.uint8))
    picture = coarse.resize((size[0] * 2, size[1]), Image.Resampling.BICUBIC)
    pen = ImageDraw.Draw(picture)
    for _ in range(50):
        x, y = int(chance.integers(size[0] * 2)), int(chance.integers(size[1]))
        across = int(chance.integers(size[1] // 20, size[1] // 5))
        colour = tuple(int(each) for each in chance.integers(low - 40, high + 30, 3))
        pen.ellipse((x, y, x + across, y + across), fill=colour)
    return picture


def soft(picture: Image.Image, radius: float) -> Image.Image:
    """Return a picture out of focus."""
    return picture.filter(ImageFilter.GaussianBlur(radius))


def pan(picture: Image.Image, count: int = FRAMES, step_px: int = 2) -> Iterator[Picture]:
    """Yield frames of a camera that moves to the right, with a little grain."""
    wide, chance = np.asarray(picture).astype(np.int16), np.random.default_rng(5)
    width_px = wide.shape[1] // 2
    for number in range(count):
        left_px = number * step_px % width_px
        seen = wide[:, left_px : left_px + width_px]
        yield np.clip(seen + chance.normal(0, 1, (*seen.shape[:2], 1)), 0, 255).astype(np.uint8)


def still(picture: Image.Image, count: int = FRAMES, candle: float = 0.0) -> Iterator[Picture]:
    """Yield the same frame again and again; a small light in it flickers by as much as `candle`."""
    seen = np.asarray(picture)[:, : picture.width // 2].astype(np.float64)
    for number in range(count):
        frame = seen.copy()
        frame[60:80, 100:112] += candle * np.sin(number * 0.9)
        yield np.clip(frame, 0, 255).astype(np.uint8)


def flat(level: int, count: int = FRAMES) -> Iterator[Picture]:
    """Yield frames of one grey."""
    return (np.full((SIZE[1], SIZE[0], 3), level, np.uint8) for _ in range(count))


def dimmed(frames: Iterable[Picture], share: float) -> Iterator[Picture]:
    """Make frames darker."""
    return ((frame * share).astype(np.uint8) for frame in frames)


def tone(level: float, seconds: float = FRAMES / 24) -> NDArray[np.float32]:
    """Return a chord whose peak is `level`; above 1 it is cut off there."""
    time_s = np.arange(int(RATE_HZ * seconds)) / RATE_HZ
    notes = enumerate((110, 220, 277, 330, 440, 660, 1320))
    chord = sum(np.sin(2 * np.pi * hertz * time_s + number) / (number + 1) for number, hertz in notes)
    return np.clip(level * chord / np.abs(chord).max(), -1, 1).astype(np.float32)


def encoded(frames: Iterable[Picture], sound: NDArray[np.float32] | None = None, **options: Any) -> bytes:
    """Write an MP4 at 24 frames a second."""
    body = BytesIO()
    with av.open(body, "w", format="mp4") as container:
        pictures = iter(frames)
        first = next(pictures)
        video = container.add_stream("libx264", rate=24)
        video.height, video.width, video.pix_fmt = *first.shape[:2], "yuv420p"
        video.options = {"preset": "veryfast", "crf": "20", **options}
        audio = None if sound is None else container.add_stream("aac", rate=RATE_HZ, layout="mono")
        for number, picture in enumerate((first, *pictures)):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            frame.pts = number
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        if audio is not None and sound is not None:
            piece = av.AudioFrame.from_ndarray(sound[None, :], format="fltp", layout="mono")
            piece.sample_rate, piece.pts = RATE_HZ, 0
            container.mux(audio.encode(piece))
            container.mux(audio.encode(None))
    return body.getvalue()
