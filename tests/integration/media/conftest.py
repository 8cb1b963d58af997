import hashlib
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory

import av
import numpy as np
import pytest

from callsheet.media.expect import Expectation

MakeClip = Callable[..., bytes]


@lru_cache(maxsize=32)
def render(
    width: int = 128,
    height: int = 72,
    frames: int = 13,
    *,
    audio: bool = False,
    index_first: bool = True,
    rate: int = 24,
    container_format: str = "mp4",
) -> bytes:
    """Make a clip of noise, which compresses badly, so that every stretch of the file is picture."""
    options = {"movflags": "faststart"} if index_first else {}
    with TemporaryDirectory() as folder:  # moving the index to the front needs a real file
        path = Path(folder, "clip")
        with av.open(str(path), "w", format=container_format, options=options) as container:
            video = container.add_stream("libx264", rate=rate)
            video.width, video.height, video.pix_fmt = width, height, "yuv420p"
            video.options = {"preset": "ultrafast", "crf": "18"}
            sound = container.add_stream("aac", rate=44_100, layout="mono") if audio else None
            noise = np.random.default_rng(7).integers(0, 255, (height + frames, width, 3), dtype=np.uint8)
            for index in range(frames):
                picture = np.ascontiguousarray(noise[index : index + height])
                frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
                frame.pts = index
                container.mux(video.encode(frame))
            container.mux(video.encode(None))
            if sound is not None:
                tone = np.sin(np.arange(44_100 * frames // rate) * 0.06).astype(np.float32)[None, :]
                piece = av.AudioFrame.from_ndarray(tone, format="fltp", layout="mono")
                piece.sample_rate, piece.pts = 44_100, 0
                container.mux(sound.encode(piece))
                container.mux(sound.encode(None))
        return path.read_bytes()


@pytest.fixture(scope="session")
def make_clip() -> MakeClip:
    """Make clips of any size, length and rate, each only once."""
    return render


@pytest.fixture(scope="session")
def clip() -> bytes:
    """Give the clip that `expected` describes."""
    return render()


@pytest.fixture(scope="session")
def expected() -> Expectation:
    """Give what the plain clip is expected to be."""
    return Expectation(sizes=((128, 72),), fps=24, frames_min=11, frames_max=14)


Source = Callable[[], AbstractAsyncContextManager[tuple[Mapping[str, str], AsyncIterator[bytes]]]]


@pytest.fixture(scope="session")
def source_of() -> Callable[..., Source]:
    """Make a source of given bytes: with an honest Content-Length unless headers say something else."""

    def make(body: bytes, headers: Mapping[str, str] | None = None, piece: int = 4096) -> Source:
        @asynccontextmanager
        async def open_it() -> AsyncIterator[tuple[Mapping[str, str], AsyncIterator[bytes]]]:
            async def pieces() -> AsyncIterator[bytes]:
                for start in range(0, len(body), piece):
                    yield body[start : start + piece]

            yield {"Content-Length": str(len(body))} if headers is None else headers, pieces()

        return open_it

    return make


@pytest.fixture(scope="session")
def sha256() -> Callable[[bytes], str]:
    """Hash bytes."""
    return lambda content: hashlib.sha256(content).hexdigest()
