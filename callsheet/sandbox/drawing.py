"""Draws the frames of a video: a picture that moves, the prompt, a running time code and a progress bar.

Text to video moves over a soft backdrop whose colours come from the prompt; image to video over the image
itself. Frames are numpy planes: luma at full size, the two chroma planes at half size (yuv420p).
"""

from __future__ import annotations

import colorsys
import hashlib
from dataclasses import dataclass

import av
import numpy as np
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter, ImageOps

from callsheet.sandbox.camera import DRIFT, Move, move_of
from callsheet.sandbox.pixels import FPS
from callsheet.sandbox.scene import Scene
from callsheet.sandbox.text import fitted, font

Plane = NDArray[np.uint8]
Planes = tuple[Plane, Plane, Plane]
RGB = tuple[int, int, int]

WHITE_Y, NEUTRAL = 232, 128
FADE_FROM = 0.6
"""Where in the clip the cross-fade to the end image begins, from 0 to 1."""


@dataclass(frozen=True, slots=True)
class Colours:
    """Two dark neighbours for the backdrop and a light accent."""

    dark: RGB
    warm: RGB
    accent: RGB


def colours_of(prompt: str, seed_text: str) -> Colours:
    """Choose colours; one prompt keeps its family of colours with every seed."""
    by_prompt = hashlib.sha256(prompt.encode()).digest()
    by_seed = hashlib.sha256(f"{prompt}|{seed_text}".encode()).digest()
    hue = by_prompt[0] / 256 + (by_seed[0] / 256 - 0.5) * 0.08
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
    """Draws the frames of one scene."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        colours = colours_of(scene.prompt, scene.seed_text)
        if scene.pictures:
            move = move_of(scene.prompt, fixed=scene.camera_fixed)
            first = _side_by_side(scene) if len(scene.pictures) > 1 else scene.pictures[0]
        else:
            move, first = DRIFT, _backdrop(colours)
        self._first = _View(first, scene, move)
        self._last = _View(scene.end_picture, scene, move) if scene.end_picture else None
        self._text, self._shaded = _text_of(scene)
        self._is_white = self._text[::2, ::2] > WHITE_Y // 2
        self._bar_px = max(2, round(_unit_px(scene) * 0.9) // 2 * 2)
        self._accent = [int(plane[0, 0]) for plane in planes_of(_frame_of(_filled((2, 2), colours.accent)))]

    def draw(self, planes: Planes, frame: int) -> None:
        """Draw one frame, numbered from 0."""
        t = frame / max(1, self._scene.frames - 1)
        for plane, seen in zip(planes, self._first.at(t), strict=True):
            plane[:] = seen
        if self._last is not None and t > FADE_FROM:
            _mix(planes, self._last.at(t), (t - FADE_FROM) / (1 - FADE_FROM))
        for rows in self._shaded:
            planes[0][rows] >>= 1
        np.maximum(planes[0], self._text, out=planes[0])
        for chroma in planes[1:]:
            np.copyto(chroma, NEUTRAL, where=self._is_white)
        self._draw_time(planes[0], frame)
        self._draw_bar(planes, frame)

    def _draw_time(self, luma: Plane, frame: int) -> None:
        size_px = max(8, round(_unit_px(self._scene) * 3.2))
        stamp = Image.new("L", (size_px * 6, round(size_px * 1.3)))
        ImageDraw.Draw(stamp).text((0, 0), timecode(frame), fill=WHITE_Y, font=font(size_px))
        margin = _margin_px(self._scene)
        place = luma[margin : margin + stamp.height, luma.shape[1] - margin - stamp.width :][:, : stamp.width]
        np.maximum(place, np.asarray(stamp), out=place)

    def _draw_bar(self, planes: Planes, frame: int) -> None:
        width_px, top_px = self._scene.width_px, self._scene.height_px - self._bar_px
        done_px = max(2, round(width_px * (frame + 1) / self._scene.frames / 2) * 2)
        planes[0][top_px:] >>= 1
        for index, (plane, value) in enumerate(zip(planes, self._accent, strict=True)):
            half = 2 if index else 1
            plane[top_px // half :, : done_px // half] = value


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
        luma, blue, red = planes_of(self._shown)
        rows, columns = (
            slice(y // 2, (y // 2) + self._size[1] // 2),
            slice(x // 2, x // 2 + self._size[0] // 2),
        )
        return (luma[y : y + self._size[1], x : x + self._size[0]], blue[rows, columns], red[rows, columns])

    def _scaled(self, zoom: float) -> tuple[int, int]:
        return round(self._size[0] * zoom / 2) * 2, round(self._size[1] * zoom / 2) * 2


def _mix(planes: Planes, other: Planes, share: float) -> None:
    weight = round(256 * min(1.0, share))
    for mine, theirs in zip(planes, other, strict=True):
        mine[:] = (mine.astype(np.uint16) * (256 - weight) + theirs.astype(np.uint16) * weight) >> 8


def _unit_px(scene: Scene) -> float:
    """One hundredth of the shorter side."""
    return min(scene.width_px, scene.height_px) / 100


def _margin_px(scene: Scene) -> int:
    return round(_unit_px(scene) * 6)


def _filled(size: tuple[int, int], colour: RGB) -> Image.Image:
    return Image.new("RGB", size, colour)


def _backdrop(colours: Colours) -> Image.Image:
    """A diagonal between two colours with a few soft lights; small, because it is enlarged."""
    width_px, height_px = 320, 180
    share = np.linspace(0, 1, height_px)[:, None, None] + np.linspace(0, 1, width_px)[None, :, None]
    blend = np.asarray(colours.dark) * (1 - share / 2) + np.asarray(colours.warm) * share / 2
    backdrop = Image.fromarray(np.rint(blend).astype(np.uint8), "RGB")
    lights = Image.new("L", backdrop.size)
    pen = ImageDraw.Draw(lights)
    for x, y, radius, level in ((0.42, 0.36, 52, 60), (0.70, 0.66, 30, 48), (0.22, 0.74, 12, 70)):
        pen.circle((width_px * x, height_px * y), radius, fill=level)
    lights = lights.filter(ImageFilter.GaussianBlur(9))
    return Image.composite(_filled(backdrop.size, colours.accent), backdrop, lights)


def _text_of(scene: Scene) -> tuple[Plane, list[slice]]:
    """Return the text as luma, and the rows that are darkened so that it can be read over a picture."""
    unit, margin = _unit_px(scene), _margin_px(scene)
    mask = Image.new("L", (scene.width_px, scene.height_px))
    pen = ImageDraw.Draw(mask)
    seconds = f"{(scene.frames - 1) / FPS:.2f}".rstrip("0").rstrip(".")
    words = ["Sandbox", scene.title, f"{scene.width_px} x {scene.height_px}", f"{seconds} s"]
    words += [f"seed {scene.seed_text}"] if scene.seed_text else []
    width_px = scene.width_px - 2 * margin
    size_px = max(8, round(unit * 3))
    header = fitted(" · ".join(words), width_px - round(unit * 22), size_px * 3, (size_px,))
    header.draw(pen, margin, margin, WHITE_Y)
    header_px = margin + header.height_px + round(unit * 2)
    if not scene.pictures:
        height_px = scene.height_px - header_px - margin
        sizes = tuple(max(9, round(unit * size)) for size in (9, 8, 7, 6, 5, 4.4, 3.8, 3.2))
        block = fitted(scene.prompt, width_px, height_px, sizes)
        block.draw(pen, margin, header_px + (height_px - block.height_px) // 2, WHITE_Y)
        return np.asarray(mask), []
    sizes = tuple(max(9, round(unit * size)) for size in (4.6, 4.0, 3.5, 3.0))
    block = fitted(scene.prompt, width_px, round(unit * 17), sizes)
    top_px = scene.height_px - margin - block.height_px
    block.draw(pen, margin, top_px, WHITE_Y)
    return np.asarray(mask), [slice(0, header_px), slice(top_px - round(unit * 2), scene.height_px)]


def _side_by_side(scene: Scene) -> Image.Image:
    """Put references beside each other (above each other in portrait), with thin gaps."""
    gap_px = max(2, round(_unit_px(scene) * 0.8))
    sheet = _filled((scene.width_px, scene.height_px), colours_of(scene.prompt, scene.seed_text).dark)
    wide = scene.width_px >= scene.height_px
    length_px = scene.width_px if wide else scene.height_px
    count = len(scene.pictures)
    for index, picture in enumerate(scene.pictures):
        start_px = index * (length_px + gap_px) // count
        end_px = (index + 1) * (length_px + gap_px) // count - gap_px
        size = (end_px - start_px, scene.height_px) if wide else (scene.width_px, end_px - start_px)
        tile = ImageOps.fit(picture, size, Image.Resampling.BILINEAR)
        sheet.paste(tile, (start_px, 0) if wide else (0, start_px))
    return sheet
