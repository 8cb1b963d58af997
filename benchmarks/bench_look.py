"""What the technical look costs on top of decoding a clip, at 480p and at 720p, in one run.

The clips pan over a textured picture with grain, as dense as those that fal delivers (about 1 MB for five
seconds of 480p). Decoding and looking take at most 40 % more processor time than decoding alone.
"""

import statistics
import sys
import tempfile
import time
from pathlib import Path

import av
import numpy as np
from measuring import Figure, report
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from callsheet.media.look import LookOrder
from callsheet.media.probe import Bounds, probe
from manifests.look import LookRules

FRAMES, ROUNDS = 121, 9
SIZES = (("480p", 864, 480, 1_600_000), ("720p", 1248, 704, 3_500_000))
"""Name, width and height in pixels, and bits a second."""

MOST = 0.40


def scene(width_px: int, height_px: int) -> NDArray[np.uint8]:
    """Return a picture with soft gradients, sharp edges and fine texture."""
    chance = np.random.default_rng(3)
    coarse = Image.fromarray(chance.integers(60, 200, (9, 16, 3), dtype=np.uint8))
    picture = coarse.resize((width_px, height_px), Image.Resampling.BICUBIC)
    pen = ImageDraw.Draw(picture)
    for _ in range(60):
        x, y = int(chance.integers(width_px)), int(chance.integers(height_px))
        size = int(chance.integers(height_px // 20, height_px // 5))
        colour = tuple(int(value) for value in chance.integers(20, 235, 3))
        pen.ellipse((x, y, x + size, y + size), fill=colour)
    return np.asarray(picture)


def write_clip(path: Path, width_px: int, height_px: int, bits_per_s: int) -> None:
    """Write five seconds with sound."""
    chance, picture = np.random.default_rng(5), scene(width_px * 5 // 4, height_px)
    with av.open(str(path), "w", format="mp4", options={"movflags": "+faststart"}) as container:
        video = container.add_stream("libx264", rate=24, bit_rate=bits_per_s)
        video.width, video.height, video.pix_fmt = width_px, height_px, "yuv420p"
        sound = container.add_stream("aac", rate=48_000, layout="mono")
        for number in range(FRAMES):
            left_px = number * width_px // 4 // FRAMES
            grain = chance.normal(0, 4, (height_px, width_px, 1))
            seen = np.clip(picture[:, left_px : left_px + width_px] + grain, 0, 255).astype(np.uint8)
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(seen), format="rgb24")
            frame.pts = number
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        tone = (0.3 * np.sin(np.arange(FRAMES * 2000) * 0.06)).astype(np.float32)[None, :]
        piece = av.AudioFrame.from_ndarray(tone, format="fltp", layout="mono")
        piece.sample_rate, piece.pts = 48_000, 0
        container.mux(sound.encode(piece))
        container.mux(sound.encode(None))


def cost_s(path: Path, look: LookOrder | None) -> float:
    """Return the processor time of one probe, in seconds."""
    begun = time.process_time()
    probe(path, Bounds(), look)
    return time.process_time() - begun


def main() -> int:
    """Measure both sizes; the two kinds of probe take turns, so that a busy machine slows both."""
    figures = []
    order = LookOrder(LookRules(), sound=True)
    with tempfile.TemporaryDirectory() as folder:
        for name, width_px, height_px, bits_per_s in SIZES:
            path = Path(folder, f"{name}.mp4")
            write_clip(path, width_px, height_px, bits_per_s)
            pairs = [(cost_s(path, None), cost_s(path, order)) for _ in range(ROUNDS)]
            plain, looked = (statistics.median(each) for each in zip(*pairs, strict=True))
            more = looked / plain - 1
            figures.append(
                Figure(
                    f"decode and look, {name}, {path.stat().st_size / 2**20:.1f} MiB",
                    f"{looked / FRAMES * 1000:.2f} ms a frame",
                    f"decode alone {plain / FRAMES * 1000:.2f} ms; +{more:.0%}",
                    f"at most +{MOST:.0%}",
                    more <= MOST,
                )
            )
    return report(figures)


if __name__ == "__main__":
    sys.exit(main())
