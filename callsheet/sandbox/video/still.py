"""Image to video: the picture itself, moved by the camera, with the prompt as a caption."""

from __future__ import annotations

import numpy as np
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageOps

from callsheet.sandbox.video.camera import Move, move_of
from callsheet.sandbox.video.hud import Hud
from callsheet.sandbox.video.palette import palette_of
from callsheet.sandbox.video.planes import BLACK_Y, NEUTRAL, WHITE_Y, Plane, Planes, frame_of, planes_of
from callsheet.sandbox.video.scene import Scene
from callsheet.sandbox.video.slate import margin_px, unit_px
from callsheet.sandbox.video.type import Block, fitted, font

FADE_FROM = 0.6
"""Where in the clip the cross-fade to the end image begins, from 0 to 1."""


class Still:
    """Draws the frames of a scene that has pictures."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._move = move_of(scene.prompt, fixed=scene.camera_fixed)
        first = _montage(scene) if len(scene.pictures) > 1 else scene.pictures[0]
        self._first = _Source(first, scene, self._move)
        self._last = _Source(scene.end_picture, scene, self._move) if scene.end_picture else None
        self._bands = [_header(scene), _caption(scene)]
        unit, margin = unit_px(scene), margin_px(scene)
        self._hud = Hud(
            scene.width_px,
            scene.height_px,
            scene.frames,
            accent=palette_of(scene.prompt, scene.seed_text).accent,
            right_px=scene.width_px - margin,
            top_px=round(unit * 5),
        )

    def draw(self, planes: Planes, frame: int) -> None:
        """Draw one frame."""
        t = frame / max(1, self._scene.frames - 1)
        planes.copy_from(self._first.view(t))
        if self._last is not None and t > FADE_FROM:
            _mix(planes, self._last.view(t), (t - FADE_FROM) / (1 - FADE_FROM))
        for band in self._bands:
            band.draw(planes)
        self._hud.draw(planes, frame)


class _Source:
    """A picture cropped to the frame's ratio, large enough for the move's closest view."""

    def __init__(self, picture: Image.Image, scene: Scene, move: Move) -> None:
        self._size = (scene.width_px, scene.height_px)
        self._move = move
        large = self._scaled(move.max_zoom)
        # Center crop to the frame's ratio, no bars: BytePlus, "Image cropping logic".
        self._frame = frame_of(ImageOps.fit(picture, large, Image.Resampling.BILINEAR))
        self._reformatter = VideoReformatter()
        self._shown = self._frame

    def view(self, t: float) -> Planes:
        """Return what the camera sees at t from 0 to 1; valid until the next call."""
        zoom, across, down = self._move.at(t)
        width_px, height_px = self._scaled(zoom)
        if (self._shown.width, self._shown.height) != (width_px, height_px):
            self._shown = self._reformatter.reformat(
                self._frame, width_px, height_px, "yuv420p", interpolation="FAST_BILINEAR"
            )
        x = round((width_px - self._size[0]) * (1 + across) / 2)
        y = round((height_px - self._size[1]) * (1 + down) / 2)
        return planes_of(self._shown).window(x, y, *self._size)

    def _scaled(self, zoom: float) -> tuple[int, int]:
        return round(self._size[0] * zoom / 2) * 2, round(self._size[1] * zoom / 2) * 2


class _Band:
    """Type and shade over a strip of the picture: every value becomes (value * keep + add) / 256."""

    def __init__(self, top_px: int, shade: NDArray[np.float64], type_mask: Plane) -> None:
        cover = type_mask.astype(np.float64) / 255
        keep = (1 - cover) * (1 - shade[:, None])
        self._top_px = top_px
        self._keep = np.rint(keep * 256).astype(np.uint16)
        black = (1 - cover) * shade[:, None] * BLACK_Y
        self._add = np.rint((cover * WHITE_Y + black) * 256).astype(np.uint16)
        # Shade pulls chroma towards grey as it pulls luma towards black.
        self._chroma_keep = np.ascontiguousarray(self._keep[::2, ::2])
        self._chroma_add = NEUTRAL * (256 - self._chroma_keep)

    def draw(self, planes: Planes) -> None:
        """Lay the band over a frame."""
        half_px = self._top_px // 2
        _apply(planes.y[self._top_px : self._top_px + len(self._keep)], self._keep, self._add)
        for chroma in (planes.u, planes.v):
            strip = chroma[half_px : half_px + len(self._chroma_keep)]
            _apply(strip, self._chroma_keep, self._chroma_add)


def _apply(strip: Plane, keep: NDArray[np.uint16], add: NDArray[np.uint16]) -> None:
    value = strip.astype(np.uint16)
    value *= keep
    value += add
    value >>= 8
    strip[:] = value


def _mix(planes: Planes, other: Planes, share: float) -> None:
    weight = round(256 * min(1.0, share))
    for mine, theirs in ((planes.y, other.y), (planes.u, other.u), (planes.v, other.v)):
        blend = mine.astype(np.uint16)
        blend *= 256 - weight
        blend += theirs.astype(np.uint16) * np.uint16(weight)
        blend >>= 8
        mine[:] = blend


def _header(scene: Scene) -> _Band:
    """What the clip is, in small type along the upper edge."""
    unit, margin = unit_px(scene), margin_px(scene)
    height_px = round(unit * 14) // 2 * 2
    mask = Image.new("L", (scene.width_px, height_px))
    words = [scene.title, f"{scene.width_px} x {scene.height_px}"]
    words += [f"seed {scene.seed_text}"] if scene.seed_text else []
    room_px = scene.width_px - 2 * margin - round(unit * 32)
    size_px = max(8, round(unit * 2.6))
    while len(words) > 1 and font(size_px).getlength("   ".join(words)) > room_px:
        words.pop()
    ImageDraw.Draw(mask).text((margin, round(unit * 5)), "   ".join(words), fill=235, font=font(size_px))
    return _Band(0, np.linspace(0.55, 0.0, height_px), np.asarray(mask))


def _caption(scene: Scene) -> _Band:
    """The prompt, up to four lines, on a soft shade along the lower edge."""
    unit, margin = unit_px(scene), margin_px(scene)
    sizes = tuple(max(9, round(unit * size)) for size in (4.6, 4.0, 3.5, 3.0))
    block: Block = fitted(scene.prompt, scene.width_px - 2 * margin, round(unit * 17), sizes)
    foot_px = round(unit * 6)
    height_px = min(scene.height_px // 2, block.height_px + foot_px + round(unit * 12)) // 2 * 2
    top_px = (scene.height_px - height_px) // 2 * 2
    mask = Image.new("L", (scene.width_px, scene.height_px - top_px))
    block.draw(ImageDraw.Draw(mask), margin, mask.size[1] - foot_px - block.height_px, 250)
    shade = np.minimum(0.78, np.linspace(0.0, 1.15, mask.size[1]))
    return _Band(top_px, shade, np.asarray(mask))


def _montage(scene: Scene) -> Image.Image:
    """References side by side (above each other in portrait), with a thin gap in the palette's dark."""
    gap_px = max(2, round(unit_px(scene) * 0.8))
    sheet = Image.new(
        "RGB", (scene.width_px, scene.height_px), palette_of(scene.prompt, scene.seed_text).deep
    )
    wide = scene.width_px >= scene.height_px
    count = len(scene.pictures)
    length_px = scene.width_px if wide else scene.height_px
    for index, picture in enumerate(scene.pictures):
        start_px = index * (length_px + gap_px) // count
        end_px = (index + 1) * (length_px + gap_px) // count - gap_px
        across_px = end_px - start_px if wide else scene.width_px
        down_px = scene.height_px if wide else end_px - start_px
        tile = ImageOps.fit(picture, (across_px, down_px), Image.Resampling.BILINEAR)
        sheet.paste(tile, (start_px, 0) if wide else (0, start_px))
    return sheet
