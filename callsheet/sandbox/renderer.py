"""Renders off the event loop, each picture once: a small cache of files on disk."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, TypeVar

from callsheet.sandbox.endpoints import Shot
from callsheet.sandbox.images import ImageLoader
from callsheet.sandbox.pixels import nearest_ratio, size_of

if TYPE_CHECKING:
    from PIL.Image import Image

KEPT_RENDERS = 64
_DRAWING = "2"
"""Part of the cache's key: change it with the drawing."""

_T = TypeVar("_T")


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

    @property
    def key(self) -> str:
        """A hash of all of it: scenes with one key are one file."""
        size = (self.width_px, self.height_px, self.frames)
        words = (_DRAWING, self.title, self.prompt, *size, self.audio, self.camera_fixed, self.seed_text)
        digest = hashlib.sha256(json.dumps(words).encode())
        for picture in (*self.pictures, self.end_picture):
            digest.update(b"|" if picture is None else repr(picture.size).encode() + picture.tobytes())
        return digest.hexdigest()


def scene_of(shot: Shot, loader: ImageLoader, *, draw_seed: bool) -> Scene:
    """Load the pictures of a shot and choose its size; `auto` follows the first picture. Raises BadInput."""
    name = "reference_image_urls" if shot.montage else "image_url"
    pictures = tuple(
        loader.load(url, (name, index) if shot.montage else (name,)) for index, url in enumerate(shot.images)
    )
    ratio = shot.ratio
    if ratio == "auto":
        ratio = nearest_ratio(*pictures[0].size) if pictures else "16:9"
    width_px, height_px = size_of(shot.endpoint.version, shot.resolution, ratio)
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
        end_picture=loader.load(shot.end_image, ("end_image_url",)) if shot.end_image else None,
    )


@dataclass(frozen=True, slots=True)
class Rendered:
    """A finished file and its hash."""

    path: Path
    sha256: str


class VideoRenderer:
    """Encodes in a few threads (PyAV releases the interpreter lock) and keeps the last files it made."""

    def __init__(
        self, folder: Path, loader: ImageLoader, *, threads: int = 2, draw_seed: bool = True
    ) -> None:
        self._folder = folder
        self._folder.mkdir(parents=True, exist_ok=True)
        self._loader = loader
        self._draw_seed = draw_seed
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="render")
        self._guard = Lock()
        self._locks: dict[str, Lock] = {}

    def close(self) -> None:
        """Drop what has not begun and wait for what has."""
        self._pool.shutdown(cancel_futures=True)

    async def prepare(self, shot: Shot) -> Scene:
        """Load the pictures and choose the size. Raises BadInput."""
        return await self._in_thread(lambda: scene_of(shot, self._loader, draw_seed=self._draw_seed))

    async def render(self, scene: Scene) -> Rendered:
        """Encode the video, or use the equal one that is there."""
        return await self._in_thread(lambda: self._render(scene))

    async def _in_thread(self, work: Callable[[], _T]) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._pool, work)

    def _render(self, scene: Scene) -> Rendered:
        # Imported with the first shot: the server starts a third of a second sooner without the encoder.
        from callsheet.sandbox.video import encode  # noqa: PLC0415

        path = self._folder / f"{scene.key}.mp4"
        with self._guard:
            lock = self._locks.setdefault(scene.key, Lock())
        with lock:
            if not path.exists():
                part = path.with_suffix(".part")
                encode(scene, part)
                part.rename(path)
            os.utime(path)
            rendered = Rendered(path, hashlib.sha256(path.read_bytes()).hexdigest())
        self._remove_oldest()
        return rendered

    def _remove_oldest(self) -> None:
        """Keep the files used last; the queue is about to link the one just made."""
        with self._guard:
            files = sorted(self._folder.glob("*.mp4"), key=lambda path: path.stat().st_mtime)
            for path in files[: max(0, len(files) - KEPT_RENDERS)]:
                path.unlink(missing_ok=True)
                self._locks.pop(path.stem, None)
