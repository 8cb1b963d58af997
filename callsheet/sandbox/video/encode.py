"""From a scene to an MP4: H.264 in yuv420p at 24 frames a second, AAC where there is sound, moov in front."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Protocol

import av
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.video.stream import VideoStream

from callsheet.sandbox.pixels import FPS
from callsheet.sandbox.video.chord import SAMPLE_RATE_HZ, chord
from callsheet.sandbox.video.planes import Planes, planes_of
from callsheet.sandbox.video.scene import Scene
from callsheet.sandbox.video.slate import Slate
from callsheet.sandbox.video.still import Still

# Constant quantiser and one thread: the cheapest that still looks clean, and the same bytes each time.
_X264 = {"preset": "ultrafast", "qp": "26", "threads": "1"}
_AAC_FRAME = 1024
_BT709 = 1
_LIMITED_RANGE = 1


class Painter(Protocol):
    """Draws frames."""

    def draw(self, planes: Planes, frame: int) -> None:
        """Draw frame number `frame`, from 0."""


def encode(scene: Scene, path: Path) -> None:
    """Write the video of a scene to `path`, over whatever is there."""
    painter: Painter = Still(scene) if scene.pictures else Slate(scene)
    with av.open(path, "w", format="mp4", options={"movflags": "+faststart"}) as container:
        video = _video_stream(container, scene)
        sound = _Sound(container, scene) if scene.audio else None
        for number in range(scene.frames):
            frame = av.VideoFrame(scene.width_px, scene.height_px, "yuv420p")
            painter.draw(planes_of(frame), number)
            frame.pts = number
            frame.time_base = Fraction(1, FPS)
            container.mux(video.encode(frame))
            if sound is not None:
                sound.write_until((number + 1) / FPS)
        container.mux(video.encode(None))
        if sound is not None:
            sound.finish()


def _video_stream(container: OutputContainer, scene: Scene) -> VideoStream:
    stream = container.add_stream("libx264", rate=FPS, options=dict(_X264))
    stream.width, stream.height, stream.pix_fmt = scene.width_px, scene.height_px, "yuv420p"
    context = stream.codec_context
    context.colorspace = context.color_primaries = context.color_trc = _BT709
    context.color_range = _LIMITED_RANGE
    return stream


class _Sound:
    """The audio track, written in step with the picture so that the file is interleaved."""

    def __init__(self, container: OutputContainer, scene: Scene) -> None:
        self._container = container
        self._stream: AudioStream = container.add_stream("aac", rate=SAMPLE_RATE_HZ, layout="stereo")
        self._samples = chord(scene.prompt, scene.frames * SAMPLE_RATE_HZ // FPS)
        self._written = 0

    def write_until(self, moment_s: float) -> None:
        """Write whole AAC frames up to a moment of the clip, in seconds."""
        while self._written + _AAC_FRAME <= min(self._samples.shape[1], round(moment_s * SAMPLE_RATE_HZ)):
            self._write(_AAC_FRAME)

    def finish(self) -> None:
        """Write what is left."""
        while self._written < self._samples.shape[1]:
            self._write(min(_AAC_FRAME, self._samples.shape[1] - self._written))
        self._container.mux(self._stream.encode(None))

    def _write(self, count: int) -> None:
        piece = self._samples[:, self._written : self._written + count]
        frame = av.AudioFrame.from_ndarray(piece.copy(), format="fltp", layout="stereo")
        frame.sample_rate = SAMPLE_RATE_HZ
        frame.pts = self._written
        frame.time_base = Fraction(1, SAMPLE_RATE_HZ)
        self._container.mux(self._stream.encode(frame))
        self._written += count
