"""What one video shows and sounds like: a shot with its images loaded and its size chosen."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from callsheet.sandbox.endpoints import ClipOrder, Source
from callsheet.sandbox.inputs import InputLoader
from callsheet.sandbox.pixels import nearest_ratio

if TYPE_CHECKING:
    from PIL.Image import Image

_DRAWING = "5"
"""Part of the cache's key: change it with the drawing."""


@dataclass(frozen=True, slots=True)
class Scene:
    """Everything that can be seen or heard in one video. `seed_text` is empty where it is not drawn."""

    title: str
    prompt: str
    width_px: int
    height_px: int
    frames: int
    audio: bool
    camera_fixed: bool
    seed_text: str
    pictures: tuple[Image, ...]
    end_picture: Image | None
    codec: str = "H264"
    high_bitrate: bool = False
    video_frames: int = 0

    @property
    def unit_px(self) -> float:
        """A hundredth of the shorter side: what is drawn is measured in it."""
        return min(self.width_px, self.height_px) / 100

    @property
    def key(self) -> str:
        """A hash of all of it: scenes with one key are one file."""
        size = (self.width_px, self.height_px, self.frames)
        sound_and_code = (self.audio, self.codec, self.high_bitrate)
        words = (_DRAWING, self.title, self.prompt, *size, *sound_and_code, self.camera_fixed, self.seed_text)
        digest = hashlib.sha256(json.dumps(words).encode())
        for picture in (*self.pictures, self.end_picture):
            digest.update(b"|" if picture is None else repr(picture.size).encode() + picture.tobytes())
        return digest.hexdigest()


def scene_of(shot: ClipOrder, loader: InputLoader, *, draw_seed: bool) -> Scene:
    """Load the pictures of a shot and choose its size; `auto` follows the first picture. Raises BadInput."""
    loaded = [loader.picture(source) for source in shot.sources]
    pictures = tuple(picture for picture, _ in loaded if picture is not None)
    end = loader.picture(Source("image", ("end_image_url",), shot.end_image))[0] if shot.end_image else None
    ratio = shot.ratio
    if ratio == "auto":
        ratio = nearest_ratio(*pictures[0].size) if pictures else "16:9"
    width_px, height_px = shot.endpoint.size(shot.resolution, ratio)
    return Scene(
        title=shot.endpoint.short_name,
        prompt=shot.prompt,
        width_px=width_px,
        height_px=height_px,
        frames=shot.frames,
        audio=shot.audio,
        camera_fixed=shot.camera_fixed,
        seed_text=str(shot.seed) if draw_seed else "",
        pictures=pictures,
        end_picture=end,
        codec=shot.codec,
        high_bitrate=shot.high_bitrate,
        video_frames=sum(frames for _, frames in loaded),
    )
