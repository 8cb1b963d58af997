"""The MP4 of a scene: H.264 or H.265 in yuv420p, AAC where there is sound, the index in front.

For each instruction in [brackets] the frames show a shot with its caption and its camera. Text to
video moves over a backdrop in colours of the prompt, image to video over the image itself, and ends on the
end image.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.video.stream import VideoStream
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageOps

from callsheet.sandbox.scene import Scene
from callsheet.sandbox.served_endpoints import INSTRUCTION
from callsheet.sandbox.text import fitted, font_for

SAMPLE_RATE_HZ = 48_000

# Constant quantiser and one thread: the cheapest that still looks clean, and the same bytes each time.
_X264 = {"preset": "ultrafast", "qp": "28", "threads": "1"}
_X265 = {"preset": "ultrafast", "x265-params": "qp=28:pools=none:frame-threads=1:log-level=none"}
_BT709 = 1
_LIMITED_RANGE = 1
_BLACK, _GREY, _WHITE = 16, 128, 235

Move = tuple[str, str, str]
"""A camera movement as expressions of zoompan, a filter of FFmpeg: the zoom, 1 or above, and the view's place
from left to right and from top to bottom, each from 0 to 1. `on/duration` goes from 0 to 1 in a shot."""

STATIC, SLOW_PUSH = ("1", "0.5", "0.5"), ("1+0.1*on/duration", "0.5", "0.5")
MOVES: dict[str, Move] = {
    "in": ("1+0.22*on/duration", "0.5", "0.5"),
    "out": ("1.22-0.22*on/duration", "0.5", "0.5"),
    "left": ("1.1", "1-on/duration", "0.5"),
    "right": ("1.1", "on/duration", "0.5"),
    "up": ("1.1", "0.5", "1-on/duration"),
    "down": ("1.1", "0.5", "on/duration"),
    "static": STATIC,
}
"""By the word that tells Seedance's instructions apart: push and zoom in, pan and truck left, tilt up."""


def encode(scene: Scene, path: Path) -> None:
    """Write the video of a scene to `path`, over whatever is there."""
    with av.open(path, "w", format="mp4", options={"movflags": "+faststart"}) as container:
        video = _video_stream(container, scene)
        audio: AudioStream | None = None
        if scene.order.audio:
            audio = container.add_stream("aac", rate=SAMPLE_RATE_HZ, layout="stereo")
        for number, frame in enumerate(drawn(scene)):
            frame.pts = number
            frame.time_base = Fraction(1, scene.order.endpoint.fps)
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        if audio is not None:
            sound = tone(scene.order.prompt, scene.order.frames * SAMPLE_RATE_HZ // scene.order.endpoint.fps)
            piece = av.AudioFrame.from_ndarray(sound, format="fltp", layout="stereo")
            piece.sample_rate, piece.pts, piece.time_base = SAMPLE_RATE_HZ, 0, Fraction(1, SAMPLE_RATE_HZ)
            container.mux(audio.encode(piece))
            container.mux(audio.encode(None))


def _video_stream(container: OutputContainer, scene: Scene) -> VideoStream:
    if scene.order.codec == "H265":
        stream = container.add_stream("libx265", rate=scene.order.endpoint.fps, options=dict(_X265))
        stream.codec_context.codec_tag = "hvc1"
    else:
        options = _X264 | ({"qp": "20"} if scene.order.high_bitrate else {})
        stream = container.add_stream("libx264", rate=scene.order.endpoint.fps, options=options)
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
    sides = [np.sin(2 * np.pi * pitch_hz * detune * time_s) for detune in (0.9988, 1.0012)]
    sound: NDArray[np.float32] = (0.35 * fade * np.stack(sides)).astype(np.float32)
    return sound


class Shot(NamedTuple):
    """One shot: the instruction as it is written (or empty), what is said of the shot, and the camera."""

    instruction: str
    caption: str
    move: Move


def shots_of(prompt: str, *, fixed: bool = False) -> list[Shot]:
    """Cut a prompt into shots, one at least. An instruction that names no movement is a slow push in.

    What stands before the first instruction belongs to the first shot; a shot without words has those of the
    one before.
    """
    opening, *parts = INSTRUCTION.split(prompt)
    shots: list[Shot] = []
    for instruction, text in zip(parts[::2] or [""], parts[1::2] or [""], strict=True):
        caption = " ".join((text if shots else f"{opening} {text}").split())
        named = (MOVES[word] for word in instruction.lower().split() if word in MOVES)
        move = STATIC if fixed else next(named, SLOW_PUSH)
        caption = caption or (shots[-1].caption if shots else "")
        shots.append(Shot(" ".join(instruction.split()), caption, move))
    return shots


def drawn(scene: Scene) -> Iterator[av.VideoFrame]:
    """Yield the frames of a scene in yuv420p, with captions and a bar that grows along the lower edge."""
    order, number = scene.order, 0
    end = _still(_beside([scene.end_picture], scene)) if scene.end_picture else None
    shots = shots_of(order.prompt, fixed=order.camera_fixed)[: order.frames]
    for index, shot in enumerate(shots):
        count = -(-order.frames * (index + 1) // len(shots)) - number
        pictures = scene.pictures or [backdrop(order.prompt, scene.seed_text, index)]
        text, bands = _captions(scene, shots, index)
        for frame in _moved(_beside(pictures, scene), shot.move, count, scene):
            number += 1
            share = 1 - (order.frames - number) / (count * 0.4)
            if end is not None and index == len(shots) - 1 and share > 0:
                for plane, last in zip(_planes(frame), _planes(end), strict=True):
                    plane[:] = plane * (1 - share) + last * share
            luma, *colours = _planes(frame)
            for rows in bands:
                luma[rows] = text[rows]
                for plane in colours:
                    plane[rows.start // 2 : rows.stop // 2] = _GREY
            luma[-round(scene.unit_px) :, : scene.width_px * number // order.frames] = _WHITE
            yield frame


def _still(picture: Image.Image) -> av.VideoFrame:
    frame = av.VideoFrame.from_ndarray(np.array(picture), format="rgb24")
    return frame.reformat(format="yuv420p", dst_colorspace="ITU709", dst_color_range="MPEG")


def _planes(frame: av.VideoFrame) -> list[NDArray[np.uint8]]:
    """Return brightness and both colours of a frame, to be changed in place."""
    return [
        np.frombuffer(memoryview(plane), np.uint8).reshape(plane.height, -1)[:, : plane.width]
        for plane in frame.planes
    ]


def _moved(picture: Image.Image, move: Move, count: int, scene: Scene) -> Iterator[av.VideoFrame]:
    """Yield what a moving camera sees of a picture."""
    zoom, x, y = move
    size = f"d={count}:s={scene.width_px}x{scene.height_px}:fps={scene.order.endpoint.fps}"
    frame, graph = _still(picture), av.filter.Graph()
    frame.pts, frame.time_base = 0, Fraction(1, scene.order.endpoint.fps)
    graph.link_nodes(
        graph.add_buffer(None, frame.width, frame.height, frame.format, None, frame.time_base),
        graph.add("zoompan", f"z={zoom}:x=(iw-iw/zoom)*({x}):y=(ih-ih/zoom)*({y}):{size}"),
        graph.add("buffersink"),
    ).configure()
    graph.vpush(frame)
    graph.vpush(None)
    yield from (graph.vpull() for _ in range(count))


def _captions(scene: Scene, shots: list[Shot], index: int) -> tuple[NDArray[np.uint8], list[slice]]:
    """Return what is written in a shot, white on black, and the bands of rows in which it stands."""
    order, shot, unit, size = scene.order, shots[index], scene.unit_px, (scene.width_px, scene.height_px)
    seconds = (order.frames - 1) / order.endpoint.fps
    header = f"Sandbox · {order.endpoint.short_name} · {size[0]} x {size[1]} · {seconds:.4g} s"
    header += f" · seed {scene.seed_text}" if scene.seed_text else ""
    caption = f"{index + 1}/{len(shots)} [{shot.instruction}] " if shot.instruction else ""
    caption += shot.caption
    caption += "" if font_for(shot.caption)[1] else " (no font here has all of these letters)"
    canvas, margin, bands = Image.new("L", size, _BLACK), round(unit * 6), []
    most = 15 if scene.pictures else 50
    for text, high, sizes in ((header, 9, (3,)), (caption, most, (9, 8, 7, 6, 5, 4.4, 3.8, 3.2))):
        box = (size[0] - 2 * margin, round(unit * high))
        block = fitted(text, *box, [max(9, round(unit * each)) for each in sizes])
        # Even numbers of rows: a row of colours is two of brightness.
        height = (block.height_px + round(unit * 2)) // 2 * 2
        top = 0 if text is header else (size[1] - height - round(unit * 4)) // 2 * 2
        bands.append(slice(top, top + height))
        for number, line in enumerate(block.lines):
            y = top + unit + block.height_px * number // len(block.lines)
            ImageDraw.Draw(canvas).text((margin, y), line, _WHITE, block.face)
    return np.asarray(canvas), bands


def backdrop(prompt: str, seed_text: str, shot: int) -> Image.Image:
    """Return a gradient; a prompt keeps its family of colours with every seed and shot."""
    hue, spread, *_ = hashlib.sha256(prompt.encode()).digest()
    hue = hue * 360 // 256 + shot * 40 + hashlib.sha256(seed_text.encode()).digest()[0] // 9
    warm, dark = f"hsl({hue % 360}, 58%, 55%)", f"hsl({(hue + 36 + spread // 7) % 360}, 58%, 18%)"
    return ImageOps.colorize(Image.radial_gradient("L"), warm, dark)


def _beside(pictures: Sequence[Image.Image], scene: Scene) -> Image.Image:
    """Fill the view with pictures beside each other, or above each other in portrait."""
    wide, count = scene.width_px >= scene.height_px, len(pictures)
    size = (scene.width_px // (count if wide else 1), scene.height_px // (1 if wide else count))
    # Cropped at the centre, without bars: BytePlus, "Image cropping logic".
    parts = [np.asarray(ImageOps.fit(picture, size, Image.Resampling.BILINEAR)) for picture in pictures]
    return Image.fromarray(np.concatenate(parts, axis=int(wide)))
