"""Writes MP4s: H.264 or H.265 in yuv420p, AAC where there is sound, the index in front."""

from __future__ import annotations

import hashlib
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.video.stream import VideoStream
from numpy.typing import NDArray

from callsheet.sandbox.drawing import drawn
from callsheet.sandbox.scene import Scene

SAMPLE_RATE_HZ = 48_000

# Constant quantiser and one thread: the cheapest that still looks clean, and the same bytes each time.
_X264 = {"preset": "ultrafast", "qp": "28", "threads": "1"}
_X265 = {"preset": "ultrafast", "x265-params": "qp=28:pools=none:frame-threads=1:log-level=none"}
_BT709 = 1
_LIMITED_RANGE = 1


def encode(scene: Scene, path: Path) -> None:
    """Write the video of a scene to `path`, over whatever is there."""
    with av.open(path, "w", format="mp4", options={"movflags": "+faststart"}) as container:
        video = _video_stream(container, scene)
        audio: AudioStream | None = None
        if scene.audio:
            audio = container.add_stream("aac", rate=SAMPLE_RATE_HZ, layout="stereo")
        for number, frame in enumerate(drawn(scene)):
            frame.pts = number
            frame.time_base = Fraction(1, scene.fps)
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        if audio is not None:
            sound = tone(scene.prompt, scene.frames * SAMPLE_RATE_HZ // scene.fps)
            piece = av.AudioFrame.from_ndarray(sound, format="fltp", layout="stereo")
            piece.sample_rate, piece.pts, piece.time_base = SAMPLE_RATE_HZ, 0, Fraction(1, SAMPLE_RATE_HZ)
            container.mux(audio.encode(piece))
            container.mux(audio.encode(None))


def _video_stream(container: OutputContainer, scene: Scene) -> VideoStream:
    if scene.codec == "H265":
        stream = container.add_stream("libx265", rate=scene.fps, options=dict(_X265))
        stream.codec_context.codec_tag = "hvc1"
    else:
        options = _X264 | ({"qp": "20"} if scene.high_bitrate else {})
        stream = container.add_stream("libx264", rate=scene.fps, options=options)
    stream.width, stream.height, stream.pix_fmt = scene.width_px, scene.height_px, "yuv420p"
    context = stream.codec_context
    context.colorspace = context.color_primaries = context.color_trc = _BT709
    context.color_range = _LIMITED_RANGE
    return stream


def tone(prompt: str, samples: int) -> NDArray[np.float32]:
    """Return a soft stereo tone, (2, samples) at 48 kHz, at most 0.35; the prompt chooses its pitch."""
    pitch_hz = 110.0 * 2 ** (hashlib.sha256(prompt.encode()).digest()[2] % 12 / 12)
    time_s = np.arange(samples) / SAMPLE_RATE_HZ
    fade = np.clip(np.minimum(time_s / 0.6, (samples / SAMPLE_RATE_HZ - time_s) / 0.9), 0.0, 1.0)
    left, right = (
        sum(np.sin(2 * np.pi * pitch_hz * detune * step * time_s) / (3 * step) for step in (1.0, 1.5, 2.0))
        for detune in (0.9988, 1.0012)
    )
    sound: NDArray[np.float32] = (0.35 * fade * np.clip(np.stack([left, right]), -1, 1)).astype(np.float32)
    return sound
