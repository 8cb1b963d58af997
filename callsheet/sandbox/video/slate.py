"""Text to video: a slate. Two colours, drifting light, the prompt in large type, and what a slate says."""

from __future__ import annotations

import math

import av
import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFilter

from callsheet.sandbox.pixels import FPS
from callsheet.sandbox.video.hud import Hud
from callsheet.sandbox.video.palette import PAPER, RGB, Palette, palette_of
from callsheet.sandbox.video.planes import Plane, Planes, frame_of, planes_of
from callsheet.sandbox.video.scene import Scene
from callsheet.sandbox.video.type import LEADING, fitted, font

LIGHT_Y = 30
"""How much the drifting light adds at its brightest; type stays below white."""

_SPREAD = 1.5
"""The light's plate is this much larger than the frame, so that it can drift."""


class Slate:
    """Draws the frames of a text-to-video scene."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        palette = palette_of(scene.prompt, scene.seed_text)
        # The frame owns the memory that the planes show.
        self._plate: av.VideoFrame = frame_of(_plate(scene, palette))
        self._base = planes_of(self._plate)
        self._light = _light(scene.width_px, scene.height_px)
        self._turn = palette.turn
        unit, margin = unit_px(scene), margin_px(scene)
        self._hud = Hud(
            scene.width_px,
            scene.height_px,
            scene.frames,
            accent=palette.accent,
            right_px=scene.width_px - margin,
            top_px=round(unit * 4.6) + margin // 2,
        )

    def draw(self, planes: Planes, frame: int) -> None:
        """Draw one frame."""
        height_px, width_px = planes.y.shape
        x, y = self._drift(frame)
        np.add(self._base.y, self._light[y : y + height_px, x : x + width_px], out=planes.y)
        planes.u[:] = self._base.u
        planes.v[:] = self._base.v
        self._hud.draw(planes, frame)

    def _drift(self, frame: int) -> tuple[int, int]:
        """Where the frame lies on the light's plate: a slow arc, a third of a turn in five seconds."""
        angle = 2 * math.pi * (self._turn + frame / FPS / 15)
        room_y = self._light.shape[0] - self._scene.height_px
        room_x = self._light.shape[1] - self._scene.width_px
        return round(room_x * (0.5 + 0.5 * math.cos(angle))), round(room_y * (0.5 + 0.5 * math.sin(angle)))


def unit_px(scene: Scene) -> float:
    """One hundredth of the shorter side."""
    return min(scene.width_px, scene.height_px) / 100


def margin_px(scene: Scene) -> int:
    """The safe margin on every side."""
    return round(unit_px(scene) * 7)


def _light(width_px: int, height_px: int) -> Plane:
    """A broad glow and a few discs out of focus, as luma to be added."""
    across, down = round(width_px * _SPREAD), round(height_px * _SPREAD)
    small = (256, max(64, round(256 * down / across)))
    glow = Image.new("L", small)
    pen = ImageDraw.Draw(glow)
    scale = min(small) / 100
    for x, y, radius, level in ((0.44, 0.40, 30, 170), (0.66, 0.66, 17, 110)):
        centre = (small[0] * x, small[1] * y)
        pen.circle(centre, radius * scale, fill=level)
    glow = glow.filter(ImageFilter.GaussianBlur(13 * scale)).resize((across, down), Image.Resampling.BILINEAR)
    discs = Image.new("L", (across // 4, down // 4))
    pen = ImageDraw.Draw(discs)
    size = min(discs.size) / 100
    for x, y, radius, level in (
        (0.30, 0.64, 8, 60),
        (0.56, 0.30, 12, 46),
        (0.72, 0.54, 5, 74),
        (0.46, 0.80, 4, 60),
    ):
        pen.circle((discs.size[0] * x, discs.size[1] * y), radius * size, fill=level)
    discs = discs.filter(ImageFilter.GaussianBlur(0.7)).resize((across, down), Image.Resampling.BILINEAR)
    both = ImageChops.add(glow, discs).point(lambda level: level * LIGHT_Y // 255)
    return np.asarray(both)


def _plate(scene: Scene, palette: Palette) -> Image.Image:
    """Everything that stands still."""
    plate = _gradient(scene.width_px, scene.height_px, palette.deep, palette.warm)
    unit, margin = unit_px(scene), margin_px(scene)
    _stripes(plate, round(unit * 4.6), palette.deep)
    pen = ImageDraw.Draw(plate)
    top_px = round(unit * 4.6) + margin // 2
    _spaced(pen, (margin, top_px), "CALLSHEET  SANDBOX", round(unit * 2.4), palette.accent)
    facts_top_px = _facts(pen, scene, palette)
    box_top_px = top_px + round(unit * 7)
    room_px = facts_top_px - round(unit * 4) - box_top_px
    sizes = tuple(max(9, round(unit * size)) for size in (9, 8, 7, 6.2, 5.4, 4.8, 4.2, 3.6, 3.0))
    block = fitted(scene.prompt, scene.width_px - 2 * margin, room_px, sizes)
    block.draw(pen, margin, box_top_px + (room_px - block.height_px) // 2, PAPER)
    return plate


def _gradient(width_px: int, height_px: int, start: RGB, end: RGB) -> Image.Image:
    """A diagonal from the upper left to the lower right."""
    down = np.linspace(0, 1, 64)[:, None]
    across = np.linspace(0, 1, 64)[None, :]
    share = (down + across)[..., None] / 2
    colours = np.asarray(start) * (1 - share) + np.asarray(end) * share
    small = Image.fromarray(np.rint(colours).astype(np.uint8), "RGB")
    return small.resize((width_px, height_px), Image.Resampling.BICUBIC)


def _stripes(plate: Image.Image, height_px: int, dark: RGB) -> None:
    """The stick of a clapperboard along the upper edge, drawn four times too large and taken down."""
    width_px = plate.size[0]
    big_height_px, step_px = height_px * 4, height_px * 8
    stick = Image.new("RGB", (width_px * 4, big_height_px), dark)
    pen = ImageDraw.Draw(stick)
    for left in range(-step_px, width_px * 4 + step_px, step_px):
        right = left + step_px // 2
        foot = left - big_height_px
        pen.polygon(
            [(left, 0), (right, 0), (right - big_height_px, big_height_px), (foot, big_height_px)], fill=PAPER
        )
    plate.paste(stick.resize((width_px, height_px), Image.Resampling.BOX), (0, 0))


def _spaced(pen: ImageDraw.ImageDraw, corner: tuple[int, int], text: str, size_px: int, fill: RGB) -> None:
    """Small capitals with air between them."""
    x: float = corner[0]
    for letter in text:
        pen.text((x, corner[1]), letter, fill=fill, font=font(size_px))
        x += font(size_px).getlength(letter) + size_px * 0.16


def _facts(pen: ImageDraw.ImageDraw, scene: Scene, palette: Palette) -> int:
    """The row at the foot of the slate; returns where it begins, in pixels from the top."""
    unit, margin = unit_px(scene), margin_px(scene)
    cells = _cells(scene)
    label_px, value_px = max(8, round(unit * 2.0)), max(10, round(unit * 3.4))
    columns = _columns(cells, scene.width_px - 2 * margin, value_px)
    rows = math.ceil(len(cells) / columns)
    row_px = round(label_px * LEADING + value_px * LEADING + unit * 2)
    top_px = scene.height_px - margin - rows * row_px
    pen.line(
        (margin, top_px, scene.width_px - margin, top_px), fill=palette.accent, width=max(1, round(unit / 5))
    )
    step_px = (scene.width_px - 2 * margin) / columns
    for index, (label, value) in enumerate(cells):
        x = round(margin + (index % columns) * step_px)
        y = round(top_px + unit * 2 + (index // columns) * row_px)
        _spaced(pen, (x, y), label, label_px, palette.accent)
        pen.text((x, y + round(label_px * LEADING)), value, fill=PAPER, font=font(value_px))
    return top_px


def _columns(cells: list[tuple[str, str]], width_px: int, value_px: int) -> int:
    widest = max(font(value_px).getlength(value) for _, value in cells) * 1.08
    return len(cells) if widest * len(cells) <= width_px else 2


def _cells(scene: Scene) -> list[tuple[str, str]]:
    seconds = f"{(scene.frames - 1) / FPS:.2f}".rstrip("0").rstrip(".")
    cells = [
        ("MODEL", scene.title.removeprefix("Seedance ")),
        ("PICTURE", f"{scene.width_px} x {scene.height_px}"),
        ("LENGTH", f"{seconds} s, {scene.frames} frames"),
    ]
    return [*cells, ("SEED", scene.seed_text)] if scene.seed_text else cells
