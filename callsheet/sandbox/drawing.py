"""Draws the frames of a video: shot by shot a picture under a moving camera, with its caption.

Text to video moves over a backdrop whose colours come from the prompt, image to video over the image itself,
and ends on the end image. Frames are numpy planes: luma at full size, chroma at half size (yuv420p). The
camera moves with every second frame, as in drawn films, and the time code with each.
"""

from __future__ import annotations

import colorsys
import hashlib
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
from callsheet.sandbox.text import LINE_HEIGHT, fitted, font, font_for

Plane = NDArray[np.uint8]
RGB = tuple[int, int, int]
WHITE_Y, FADE_FROM = 232, 0.6
"""White as luma; where in the last shot the cross-fade to the end image begins, from 0 to 1."""


def colours_of(prompt: str, seed_text: str, shot: int = 0) -> tuple[RGB, RGB, RGB]:
    """Return two dark neighbours and a light accent: a prompt keeps its family with every seed and shot."""
    by_prompt = hashlib.sha256(prompt.encode()).digest()
    by_seed = hashlib.sha256(f"{prompt}|{seed_text}".encode()).digest()
    hue = by_prompt[0] / 256 + (by_seed[0] / 256 - 0.5) * 0.08 + shot * 0.07
    beside = hue + 0.10 + by_prompt[1] / 256 * 0.10
    return _rgb(hue, 0.18), _rgb(beside, 0.38), _rgb(beside, 0.74)


def _rgb(hue: float, lightness: float) -> RGB:
    red, green, blue = (round(each * 255) for each in colorsys.hls_to_rgb(hue % 1.0, lightness, 0.58))
    return red, green, blue


def timecode(frame: int) -> str:
    """Return HH:MM:SS:FF at 24 frames a second."""
    seconds, frames = divmod(frame, FPS)
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}:{frames:02d}"


def planes_of(frame: av.VideoFrame) -> list[Plane]:
    """Return views of a yuv420p frame: writing to them writes the frame."""
    return [
        np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)[:, : plane.width]
        for plane in frame.planes
    ]


class _View:
    """A picture cropped to the frame's ratio, seen by a camera that moves."""

    def __init__(self, picture: Image.Image, scene: Scene, move: Move) -> None:
        self._size, self._move = (scene.width_px, scene.height_px), move
        # Center crop to the frame's ratio, no bars: BytePlus, "Image cropping logic".
        whole = ImageOps.fit(picture, self._scaled(max(move.start, move.end)), Image.Resampling.BILINEAR)
        rgb = av.VideoFrame.from_ndarray(np.asarray(whole), format="rgb24")
        self._whole = rgb.reformat(format="yuv420p", dst_colorspace="ITU709", dst_color_range="MPEG")
        self._scaler, self._shown = VideoReformatter(), self._whole

    def at(self, t: float) -> list[Plane]:
        """Return what the camera sees at t from 0 to 1."""
        zoom, *slides = self._move.at(t)
        if (size := self._scaled(zoom)) != (self._shown.width, self._shown.height):
            self._shown = self._scaler.reformat(self._whole, *size, "yuv420p", interpolation="FAST_BILINEAR")
        x, y = (
            round((all_ - own) * (1 + at) / 4) for all_, own, at in zip(size, self._size, slides, strict=True)
        )
        width, height = self._size
        luma, *chroma = planes_of(self._shown)
        half = [plane[y : y + -(-height // 2), x : x + -(-width // 2)] for plane in chroma]
        return [luma[2 * y : 2 * y + height, 2 * x : 2 * x + width], *half]

    def _scaled(self, zoom: float) -> tuple[int, int]:
        zoom = round(zoom * 180) / 180  # scaling is dear, and few frames need a size of their own
        width, height = (round(side * zoom / 2) * 2 for side in self._size)
        return max(width, self._size[0]), max(height, self._size[1])


class Drawing:
    """Draws the frames of one scene, in order."""

    def __init__(self, scene: Scene) -> None:
        self._scene, self._unit = scene, min(scene.width_px, scene.height_px) / 100
        self._shots = shots_of(scene.prompt, fixed=scene.camera_fixed)[: scene.frames]
        self._end = _View(scene.end_picture, scene, STATIC) if scene.end_picture else None
        self._index, self._seen = -1, [np.zeros(0, np.uint8)]

    def draw(self, planes: list[Plane], frame: int) -> None:
        """Draw one frame, numbered from 0."""
        scene, count = self._scene, len(self._shots)
        index = frame * count // scene.frames
        first, after = (-(-number * scene.frames // count) for number in (index, index + 1))
        if index != self._index:
            self._index = index
            self._open()
        if (frame - first) % 2 == 0 or frame == scene.frames - 1:
            self._look((frame - first) / max(1, after - first - 1), is_last=index == count - 1)
        for plane, seen in zip(planes, self._seen, strict=True):
            plane[:] = seen
        margin, bar = round(self._unit * 6), round(self._unit)
        stamp = np.hstack([_letter(each, max(8, round(self._unit * 3.2))) for each in timecode(frame)])
        right = scene.width_px - margin
        planes[0][margin : margin + stamp.shape[0], right - stamp.shape[1] : right] |= stamp
        planes[0][-bar:, : scene.width_px * (frame + 1) // scene.frames] = WHITE_Y

    def _look(self, t: float, *, is_last: bool) -> None:
        """Keep what the camera sees, darker and half as colourful where there is text."""
        self._seen = [plane.copy() for plane in self._view.at(t)]
        if self._end is not None and is_last and t > FADE_FROM:
            share = (t - FADE_FROM) / (1 - FADE_FROM)
            pairs = zip(self._seen, self._end.at(t), strict=True)
            self._seen = [(one * (1 - share) + other * share).astype(np.uint8) for one, other in pairs]
        for rows in self._bands:
            self._seen[0][rows] >>= 1
            for chroma in self._seen[1:]:
                half = chroma[rows.start // 2 : rows.stop // 2]
                half[:] = half // 2 + 64
        np.maximum(self._seen[0], self._text, out=self._seen[0])

    def _open(self) -> None:
        """Prepare a shot: its picture, and its text."""
        scene, shot, unit = self._scene, self._shots[self._index], self._unit
        colours = colours_of(scene.prompt, scene.seed_text, self._index)
        picture = _side_by_side(scene) if scene.pictures else _backdrop(colours, shot.caption)
        self._view = _View(picture, scene, shot.move)
        length = f"{(scene.frames - 1) / FPS:.4g} s"
        words = ["Sandbox", scene.title, f"{scene.width_px} x {scene.height_px}", length]
        header = " · ".join([*words, *([f"seed {scene.seed_text}"] if scene.seed_text else [])])
        label = f"{self._index + 1}/{len(self._shots)}  {shot.instruction}" if shot.instruction else ""
        if not font_for(shot.caption)[1]:
            label += "  (no font here has all of these letters)"
        large = (4.6, 4, 3.5, 3) if scene.pictures else (9, 8, 7, 6, 5, 4.4, 3.8, 3.2)
        margin, pad, bottom = round(unit * 6), round(unit * 0.8), scene.height_px - round(unit * 5)
        canvas, self._bands = Image.new("L", (scene.width_px, scene.height_px)), []
        for text, height, sizes in (
            (shot.caption, 17 if scene.pictures else 50, large),
            (label, 8, (3.4,)),
            (header, 9, (3,)),
        ):
            width = scene.width_px - 2 * margin - (round(unit * 22) if text is header else 0)
            sizes_px = tuple(max(9, round(unit * size)) for size in sizes)
            block = fitted(text, width, round(unit * height), sizes_px)
            top = margin - pad if text is header else bottom - block.height_px - 2 * pad
            bottom = top
            if text:
                self._bands.append(slice(top, top + block.height_px + 2 * pad))
            for number, line in enumerate(block.lines):
                place = (margin, top + pad + round(number * block.size_px * LINE_HEIGHT))
                ImageDraw.Draw(canvas).text(place, line, WHITE_Y, font(block.size_px, block.path))
        self._text = np.asarray(canvas)


@lru_cache(maxsize=256)
def _letter(letter: str, size_px: int) -> Plane:
    """Return a letter of a time code as luma."""
    picture = Image.new("L", (ceil(font(size_px).getlength(letter)), round(size_px * 1.3)))
    ImageDraw.Draw(picture).text((0, 0), letter, WHITE_Y, font(size_px))
    return np.asarray(picture)


def _backdrop(colours: tuple[RGB, RGB, RGB], caption: str) -> Image.Image:
    """A gradient between two colours with a few soft lights, placed by the caption; small, to be enlarged."""
    size, places = (320, 180), hashlib.sha256(caption.encode()).digest()
    dark, warm, accent = colours
    backdrop = ImageOps.colorize(Image.linear_gradient("L").resize(size), dark, warm)
    lights = Image.new("L", size)
    for number, (radius, level) in enumerate(((52, 60), (30, 48), (12, 70))):
        centre = (size[0] * places[number] / 256, size[1] * places[number + 3] / 256)
        ImageDraw.Draw(lights).circle(centre, radius, fill=level)
    return Image.composite(
        Image.new("RGB", size, accent), backdrop, lights.filter(ImageFilter.GaussianBlur(9))
    )


def _side_by_side(scene: Scene) -> Image.Image:
    """Put references beside each other, above each other in portrait; one picture stays as it is."""
    count, (width, height) = len(scene.pictures), (scene.width_px, scene.height_px)
    sheet = Image.new("RGB", (width, height))
    for index, picture in enumerate(scene.pictures if count > 1 else ()):
        start, end = (max(width, height) * number // count for number in (index, index + 1))
        box = (start, 0, end, height) if width >= height else (0, start, width, end)
        sheet.paste(ImageOps.fit(picture, (box[2] - box[0], box[3] - box[1])), box[:2])
    return sheet if count > 1 else scene.pictures[0]
