"""Draws the frames of a video: shot by shot a picture under a moving camera, with its caption.

Text to video moves over a backdrop whose colours come from the prompt, image to video over the image itself,
and ends on the end image. Frames are numpy planes: luma at full size, chroma at half size (yuv420p).
"""

from __future__ import annotations

import colorsys
import hashlib
from dataclasses import dataclass
from functools import lru_cache
from math import ceil

import av
import numpy as np
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter, ImageOps

from callsheet.sandbox.pixels import FPS
from callsheet.sandbox.scene import Scene
from callsheet.sandbox.storyboard import STATIC, Move, shots_of
from callsheet.sandbox.text import fitted, font, font_for

Plane = NDArray[np.uint8]
Planes = tuple[Plane, Plane, Plane]
RGB = tuple[int, int, int]

WHITE_Y = 232
FADE_FROM = 0.6
"""Where in the last shot the cross-fade to the end image begins, from 0 to 1."""


@dataclass(frozen=True, slots=True)
class Colours:
    """Two dark neighbours for the backdrop and a light accent."""

    dark: RGB
    warm: RGB
    accent: RGB


def colours_of(prompt: str, seed_text: str, shot: int = 0) -> Colours:
    """Choose colours; one prompt keeps its family of colours with every seed and in every shot."""
    by_prompt = hashlib.sha256(prompt.encode()).digest()
    by_seed = hashlib.sha256(f"{prompt}|{seed_text}".encode()).digest()
    hue = by_prompt[0] / 256 + (by_seed[0] / 256 - 0.5) * 0.08 + shot * 0.07
    distance = 0.10 + by_prompt[1] / 256 * 0.10
    return Colours(_rgb(hue, 0.18, 0.60), _rgb(hue + distance, 0.38, 0.55), _rgb(hue + distance, 0.74, 0.58))


def _rgb(hue: float, lightness: float, saturation: float) -> RGB:
    red, green, blue = colorsys.hls_to_rgb(hue % 1.0, lightness, saturation)
    return (round(red * 255), round(green * 255), round(blue * 255))


def timecode(frame: int) -> str:
    """Return HH:MM:SS:FF at 24 frames a second."""
    seconds, frames = divmod(frame, FPS)
    minutes, seconds = divmod(seconds, 60)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{seconds:02d}:{frames:02d}"


def planes_of(frame: av.VideoFrame) -> Planes:
    """Return views of a yuv420p frame: writing to them writes the frame."""
    views: list[Plane] = []
    for index, plane in enumerate(frame.planes):
        half = 2 if index else 1
        whole: Plane = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)
        views.append(whole[: -(-frame.height // half), : -(-frame.width // half)])
    return views[0], views[1], views[2]


def _frame_of(picture: Image.Image) -> av.VideoFrame:
    """Convert an RGB picture to a yuv420p frame in the colours of HD video (BT.709, limited range)."""
    rgb = av.VideoFrame.from_ndarray(np.asarray(picture), format="rgb24")
    return rgb.reformat(format="yuv420p", dst_colorspace="ITU709", dst_color_range="MPEG")


class Drawing:
    """Draws the frames of one scene, in order."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._shots = shots_of(scene.prompt, fixed=scene.camera_fixed)[: scene.frames]
        self._unit = min(scene.width_px, scene.height_px) / 100
        self._index = -1
        accent = Image.new("RGB", (2, 2), colours_of(scene.prompt, scene.seed_text).accent)
        self._accent = [int(plane[0, 0]) for plane in planes_of(_frame_of(accent))]
        self._end = _View(scene.end_picture, scene, STATIC) if scene.end_picture else None
        self._bar_px = max(2, round(self._unit * 0.9) // 2 * 2)

    def draw(self, planes: Planes, frame: int) -> None:
        """Draw one frame, numbered from 0."""
        scene, count = self._scene, len(self._shots)
        index = frame * count // scene.frames
        if index != self._index:
            self._index = index
            self._open()
        first, after = -(-index * scene.frames // count), -(-(index + 1) * scene.frames // count)
        t = (frame - first) / max(1, after - first - 1)
        for plane, seen in zip(planes, self._view.at(t), strict=True):
            plane[:] = seen
        if self._end is not None and index == count - 1 and t > FADE_FROM:
            _mix(planes, self._end.at(t), (t - FADE_FROM) / (1 - FADE_FROM))
        for top_px, text in self._bands:
            _caption(planes, top_px, text)
        self._draw_time(planes, frame)

    def _open(self) -> None:
        """Prepare a shot: its picture, and its text."""
        scene, shot = self._scene, self._shots[self._index]
        pictures = scene.pictures
        if not pictures:
            picture = _backdrop(colours_of(scene.prompt, scene.seed_text, self._index), shot.caption)
        else:
            picture = _side_by_side(scene) if len(pictures) > 1 else pictures[0]
        self._view = _View(picture, scene, shot.move)
        seconds = f"{(scene.frames - 1) / FPS:.2f}".rstrip("0").rstrip(".")
        words = ["Sandbox", scene.title, f"{scene.width_px} x {scene.height_px}", f"{seconds} s"]
        words += [f"seed {scene.seed_text}"] if scene.seed_text else []
        label = f"{self._index + 1}/{len(self._shots)}  {shot.instruction}" if shot.instruction else ""
        if not font_for(shot.caption)[1]:
            label += "  (no font here has all of these letters)"
        large = (9, 8, 7, 6, 5, 4.4, 3.8, 3.2) if not pictures else (4.6, 4.0, 3.5, 3.0)
        header, named = self._block(" · ".join(words), 9, (3,), 22), self._block(label, 8, (3.4,))
        caption = self._block(shot.caption, 50 if not pictures else 17, large)
        height_px = named.shape[0] + caption.shape[0]
        low_px = scene.height_px - height_px - round(self._unit * 5)
        top_px = (low_px if pictures else (scene.height_px - height_px) // 2) // 2 * 2
        texts = [
            (round(self._unit * 6) // 2 * 2, header),
            (top_px, named),
            (top_px + named.shape[0], caption),
        ]
        self._bands = [(top_px, text) for top_px, text in texts if text.any()]

    def _block(self, text: str, height: float, sizes: tuple[float, ...], right: float = 0) -> Plane:
        """Return text as luma, as wide as the frame, for a box of `height` hundredths of the shorter side."""
        unit, margin = self._unit, round(self._unit * 6)
        width_px = self._scene.width_px - 2 * margin - round(unit * right)
        sizes_px = tuple(max(9, round(unit * size)) for size in sizes)
        block = fitted(text, width_px, round(unit * height), sizes_px)
        mask = Image.new("L", (self._scene.width_px, (block.height_px + round(unit * 1.5)) // 2 * 2))
        block.draw(ImageDraw.Draw(mask), margin, round(unit * 0.5), WHITE_Y)
        return np.asarray(mask)

    def _draw_time(self, planes: Planes, frame: int) -> None:
        scene, luma, x = self._scene, planes[0], self._scene.width_px
        margin, text = round(self._unit * 6), timecode(frame)
        for part in (text[-2:], text[:-2]):  # from the right: few frame numbers, few seconds
            stamp = _stamp(part, max(8, round(self._unit * 3.2)))
            x -= stamp.shape[1] + (margin if x == scene.width_px else 0)
            place = luma[margin : margin + stamp.shape[0], x : x + stamp.shape[1]]
            np.maximum(place, stamp, out=place)
        top_px = scene.height_px - self._bar_px
        done_px = max(2, round(scene.width_px * (frame + 1) / scene.frames / 2) * 2)
        luma[top_px:] >>= 1
        for index, (plane, value) in enumerate(zip(planes, self._accent, strict=True)):
            half = 2 if index else 1
            plane[top_px // half :, : done_px // half] = value


@lru_cache(maxsize=256)
def _stamp(text: str, size_px: int) -> Plane:
    """Return a part of a time code as luma."""
    width_px = ceil(font(size_px).getlength(text))
    stamp = Image.new("L", (width_px, round(size_px * 1.3)))
    ImageDraw.Draw(stamp).text((0, 0), text, fill=WHITE_Y, font=font(size_px))
    return np.asarray(stamp)


class _View:
    """A picture cropped to the frame's ratio, seen by a camera that moves."""

    def __init__(self, picture: Image.Image, scene: Scene, move: Move) -> None:
        self._size = (scene.width_px, scene.height_px)
        self._move = move
        # Center crop to the frame's ratio, no bars: BytePlus, "Image cropping logic".
        fitted_picture = ImageOps.fit(picture, self._scaled(move.max_zoom), Image.Resampling.BICUBIC)
        self._frame = self._shown = _frame_of(fitted_picture)
        self._reformatter = VideoReformatter()

    def at(self, t: float) -> Planes:
        """Return what the camera sees at t from 0 to 1; valid until the next call."""
        zoom, across, down = self._move.at(t)
        width_px, height_px = self._scaled(zoom)
        if (self._shown.width, self._shown.height) != (width_px, height_px):
            self._shown = self._reformatter.reformat(
                self._frame, width_px, height_px, "yuv420p", interpolation="FAST_BILINEAR"
            )
        x = round((width_px - self._size[0]) * (1 + across) / 2)
        y = round((height_px - self._size[1]) * (1 + down) / 2)
        return tuple(  # type: ignore[return-value]  # three planes in, three out
            plane[y // half : y // half + -(-self._size[1] // half)][
                :, x // half : x // half + -(-self._size[0] // half)
            ]
            for plane, half in zip(planes_of(self._shown), (1, 2, 2), strict=True)
        )

    def _scaled(self, zoom: float) -> tuple[int, int]:
        """Return the size of the zoomed picture, in steps of a 180th: scaling is half of the work."""
        step = round((zoom - 1) * 180) / 180 + 1
        return round(self._size[0] * step / 2) * 2, round(self._size[1] * step / 2) * 2


def _mix(planes: Planes, other: Planes, share: float) -> None:
    weight = round(256 * min(1.0, share))
    for mine, theirs in zip(planes, other, strict=True):
        mine[:] = (mine.astype(np.uint16) * (256 - weight) + theirs.astype(np.uint16) * weight) >> 8


def _caption(planes: Planes, top_px: int, text: Plane) -> None:
    """Put white text on a band that is darkened, and half as colourful, so that it can be read."""
    rows = slice(top_px, top_px + text.shape[0])
    planes[0][rows] >>= 1
    np.maximum(planes[0][rows], text, out=planes[0][rows])
    for plane in planes[1:]:
        half = plane[rows.start // 2 : rows.stop // 2]
        half >>= 1
        half += 64


def _backdrop(colours: Colours, caption: str) -> Image.Image:
    """A diagonal between two colours with a few soft lights, placed by the caption; small, to be enlarged."""
    width_px, height_px = 320, 180
    share = np.linspace(0, 1, height_px)[:, None, None] + np.linspace(0, 1, width_px)[None, :, None]
    blend = np.asarray(colours.dark) * (1 - share / 2) + np.asarray(colours.warm) * share / 2
    backdrop = Image.fromarray(np.rint(blend).astype(np.uint8), "RGB")
    lights = Image.new("L", backdrop.size)
    pen, places = ImageDraw.Draw(lights), hashlib.sha256(caption.encode()).digest()
    for number, (radius, level) in enumerate(((52, 60), (30, 48), (12, 70))):
        centre = (width_px * places[number] / 256, height_px * places[number + 3] / 256)
        pen.circle(centre, radius, fill=level)
    lights = lights.filter(ImageFilter.GaussianBlur(9))
    return Image.composite(Image.new("RGB", backdrop.size, colours.accent), backdrop, lights)


def _side_by_side(scene: Scene) -> Image.Image:
    """Put references beside each other (above each other in portrait), with thin gaps."""
    width_px, height_px, count = scene.width_px, scene.height_px, len(scene.pictures)
    sheet = Image.new("RGB", (width_px, height_px), colours_of(scene.prompt, scene.seed_text).dark)
    wide, gap_px = width_px >= height_px, max(2, min(width_px, height_px) // 125)
    length_px = max(width_px, height_px) + gap_px
    for index, picture in enumerate(scene.pictures):
        start_px, end_px = (length_px * number // count for number in (index, index + 1))
        size = (end_px - start_px - gap_px, height_px) if wide else (width_px, end_px - start_px - gap_px)
        tile = ImageOps.fit(picture, size, Image.Resampling.BILINEAR)
        sheet.paste(tile, (start_px, 0) if wide else (0, start_px))
    return sheet
