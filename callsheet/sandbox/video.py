"""The MP4 of a scene: H.264 or H.265 in yuv420p, AAC where there is sound, the index in front.

For each instruction in [brackets] the frames show a shot with its caption and its camera. Text to
video moves over a backdrop in colours of the prompt, image to video over the image itself, and ends on the
end image. The camera moves with every second frame, as in drawn films, and the time code with each.
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
from PIL import Image, ImageDraw, ImageFilter, ImageOps

from callsheet.sandbox.scene import Scene
from callsheet.sandbox.served_endpoints import INSTRUCTION
from callsheet.sandbox.text import fitted, font, font_for

SAMPLE_RATE_HZ = 48_000

# Constant quantiser and one thread: the cheapest that still looks clean, and the same bytes each time.
_X264 = {"preset": "ultrafast", "qp": "28", "threads": "1"}
_X265 = {"preset": "ultrafast", "x265-params": "qp=28:pools=none:frame-threads=1:log-level=none"}
_BT709 = 1
_LIMITED_RANGE = 1

Move = tuple[str, str, str]
"""A camera movement as expressions of {t}, from 0 to 1: the zoom, 1 or above, and the view's place from left
to right and from top to bottom, each from 0 to 1."""

_SLIDES, _MIDDLE = (("pan", "1.16"), ("truck", "1.2"), ("tilt", "1.16"), ("pedestal", "1.2")), "0.5"
STATIC, SLOW_PUSH = ("1", _MIDDLE, _MIDDLE), ("1+0.1*{t}", _MIDDLE, _MIDDLE)
# Seedance's own words for camera movement (https://fal.ai/models/fal-ai/bytedance/seedance/v1/lite/image-to-video).
MOVES: dict[str, Move] = {
    "push in": ("1+0.18*{t}", _MIDDLE, _MIDDLE),
    "zoom in": ("1+0.26*{t}", _MIDDLE, _MIDDLE),
    "pull out": ("1.18-0.18*{t}", _MIDDLE, _MIDDLE),
    "zoom out": ("1.26-0.26*{t}", _MIDDLE, _MIDDLE),
    **{f"{word} left": (zoom, "1-{t}", _MIDDLE) for word, zoom in _SLIDES[:2]},
    **{f"{word} right": (zoom, "{t}", _MIDDLE) for word, zoom in _SLIDES[:2]},
    **{f"{word} up": (zoom, _MIDDLE, "1-{t}") for word, zoom in _SLIDES[2:]},
    **{f"{word} down": (zoom, _MIDDLE, "{t}") for word, zoom in _SLIDES[2:]},
    "tracking shot": ("1.2", "{t}", _MIDDLE),
    "shake": ("1.06", "0.5+0.45*sin(61*{t})", "0.5+0.45*sin(53*{t}+2)"),
    "static": STATIC,
}


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
        named = (move for name, move in MOVES.items() if name in instruction.lower())
        move = STATIC if fixed else next(named, SLOW_PUSH)
        caption = caption or (shots[-1].caption if shots else "")
        shots.append(Shot(" ".join(instruction.split()), caption, move))
    return shots


_WHITE_Y = 232


def drawn(scene: Scene) -> Iterator[av.VideoFrame]:
    """Yield the frames of a scene in yuv420p. Each holds until the next is taken: both may be one buffer."""
    shots, unit, number = shots_of(scene.prompt, fixed=scene.camera_fixed)[: scene.frames], scene.unit_px, 0
    top, right, face = round(unit * 6), scene.width_px - round(unit * 6), font(max(8, round(unit * 3.2)))
    for index in range(len(shots)):
        after = -(-scene.frames * (index + 1) // len(shots))
        for look in _looks(scene, shots, index, (after - number + 1) // 2):
            rows = np.frombuffer(memoryview(look.planes[0]), np.uint8).reshape(scene.height_px, -1)
            corner = rows[top : top + round(unit * 5), right - round(unit * 22) : right]
            dark = corner.copy()
            for _ in range(min(2, after - number)):
                code = Image.new("L", (corner.shape[1], corner.shape[0]))
                seconds, frame = divmod(number, scene.fps)
                clock = f"00:{seconds // 60:02d}:{seconds % 60:02d}:{frame:02d}"
                ImageDraw.Draw(code).text((code.width, 0), clock, _WHITE_Y, face, "ra")
                corner[:] = dark | np.asarray(code)
                number += 1
                rows[-round(unit) :, : scene.width_px * number // scene.frames] = _WHITE_Y
                yield look


def _looks(scene: Scene, shots: list[Shot], index: int, count: int) -> Iterator[av.VideoFrame]:
    """Yield what the camera sees in a shot: its picture, the end picture faded in, and the captions."""
    shot, size = shots[index], f"d={count}:s={scene.width_px}x{scene.height_px}:fps={scene.fps}"
    zoom, x, y = (each.format(t=f"(on/{max(1, count - 1)})") for each in shot.move)
    move = f"z={zoom}:x=(iw-iw/zoom)*({x}):y=(ih-ih/zoom)*({y}):{size}"
    pictures = scene.pictures or (backdrop(scene.prompt, scene.seed_text, index),)
    layers = [(_beside(pictures, scene), "yuv420p", [("zoompan", move)])]
    if scene.end_picture and index == len(shots) - 1:
        begins = count * 3 // 5
        fade = ("fade", f"in:{begins}:{max(1, count - 1 - begins)}:alpha=1")
        layers.append((_beside((scene.end_picture,), scene), "yuva420p", [("zoompan", size), fade]))
    layers.append((_captions(scene, shots, index), "yuva420p", []))
    graph, frames, seen = av.filter.Graph(), [], []
    for at, (picture, layout, filters) in enumerate(layers):
        packed = "rgba" if picture.mode == "RGBA" else "rgb24"
        frame = av.VideoFrame.from_numpy_buffer(np.array(picture), packed)
        frame = frame.reformat(format=layout, dst_colorspace="ITU709", dst_color_range="MPEG")
        frame.pts, frame.time_base = 0, Fraction(1, scene.fps)
        frames.append(frame)
        steps = [graph.add_buffer(None, frame.width, frame.height, frame.format, None, frame.time_base)]
        steps += [graph.add(name, options) for name, options in filters]
        graph.link_nodes(*steps)
        seen.append(steps[-1])
        if at:
            seen.append(both := graph.add("overlay"))
            seen[-3].link_to(both, 0, 0)
            seen[-2].link_to(both, 0, 1)
    graph.link_nodes(seen[-1], graph.add("buffersink")).configure()
    for at, frame in enumerate(frames):
        graph.vpush(frame, at)
    graph.vpush(None)
    yield from (graph.vpull() for _ in range(count))


def _captions(scene: Scene, shots: list[Shot], index: int) -> Image.Image:
    """Return what is written in a shot, in white on half transparent bands, as RGBA."""
    shot, unit, width_px = shots[index], scene.unit_px, scene.width_px
    seed, length_s = f" · seed {scene.seed_text}" if scene.seed_text else "", (scene.frames - 1) / scene.fps
    header = f"Sandbox · {scene.title} · {width_px} x {scene.height_px} · {length_s:.4g} s{seed}"
    missing = "" if font_for(shot.caption)[1] else "  (no font here has all of these letters)"
    label = (f"{index + 1}/{len(shots)}  {shot.instruction}" if shot.instruction else "") + missing
    large = (17, 4.6, 4, 3.5, 3) if scene.pictures else (50, 9, 8, 7, 6, 5, 4.4, 3.8, 3.2)
    margin, pad, top = round(unit * 6), round(unit * 0.8), scene.height_px - round(unit * 5)
    draw = ImageDraw.Draw(canvas := Image.new("RGBA", (width_px, scene.height_px)))
    for text, (most, *sizes) in ((shot.caption, large), (label, (8, 3.4)), (header, (9, 3))):
        width = width_px - 2 * margin - (round(unit * 22) if text is header else 0)
        block = fitted(text, width, round(unit * most), [max(9, round(unit * size)) for size in sizes])
        height = block.height_px + 2 * pad
        top = margin - pad if text is header else top - height
        if text:
            draw.rectangle((0, top, width_px, top + height - 1), (0, 0, 0, 128))
        for number, line in enumerate(block.lines):
            y = top + pad + block.height_px * number // len(block.lines)
            draw.text((margin, y), line, "white", block.face)
    return canvas


def backdrop(prompt: str, seed_text: str, shot: int) -> Image.Image:
    """Return a gradient with soft lights; a prompt keeps its family of colours with every seed and shot."""
    first, spread, *places = hashlib.sha256(prompt.encode()).digest()
    hue = (first + shot * 18) * 360 / 256 + hashlib.sha256(f"{prompt}|{seed_text}".encode()).digest()[0] / 9
    hues = ((hue, 18), (hue + 36 + spread / 7, 38), (hue + 36 + spread / 7, 74))
    dark, warm, accent = (f"hsl({each % 360:.1f}, 58%, {light}%)" for each, light in hues)
    picture, lights = Image.linear_gradient("L").resize((320, 180)), Image.new("L", (320, 180))
    for at, (radius, level) in enumerate(((52, 60), (30, 48), (12, 70)), shot):
        centre = (places[at % 30] * 1.25, places[(at + 3) % 30] * 0.7)
        ImageDraw.Draw(lights).circle(centre, radius, level)
    picture = ImageOps.colorize(picture, dark, warm)
    picture.paste(accent, mask=lights.filter(ImageFilter.GaussianBlur(9)))
    return picture


def _beside(pictures: Sequence[Image.Image], scene: Scene) -> Image.Image:
    """Fill the view with pictures beside each other, or above each other in portrait."""
    wide, count = scene.width_px >= scene.height_px, len(pictures)
    size = (scene.width_px // (count if wide else 1), scene.height_px // (1 if wide else count))
    # Cropped at the centre, without bars: BytePlus, "Image cropping logic".
    parts = [np.asarray(ImageOps.fit(picture, size, Image.Resampling.BILINEAR)) for picture in pictures]
    return Image.fromarray(np.concatenate(parts, axis=int(wide)))
