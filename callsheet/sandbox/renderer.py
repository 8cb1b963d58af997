"""Renders off the event loop, each picture once: a small cache of files on disk."""

from __future__ import annotations

import asyncio
import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import Lock

from callsheet.sandbox.scene import InputLoader, Scene, scene_of
from callsheet.sandbox.served_endpoints import ClipOrder

KEPT_RENDERS = 64


@dataclass(frozen=True, slots=True)
class RenderedFile:
    """A finished file and its hash."""

    path: Path
    sha256: str


class VideoRenderer:
    """Encodes in a few threads (PyAV releases the interpreter lock) and keeps the last files it made."""

    def __init__(self, folder: Path, loader: InputLoader, *, threads: int, draw_seed: bool) -> None:
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

    async def prepare(self, order: ClipOrder) -> Scene:
        """Load the pictures and choose the size. Raises BadInput."""
        work = partial(scene_of, order, self._loader, draw_seed=self._draw_seed)
        return await asyncio.get_running_loop().run_in_executor(self._pool, work)

    async def render(self, scene: Scene) -> RenderedFile:
        """Encode the video, or use the equal one that is there."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, self._render, scene)

    def _render(self, scene: Scene) -> RenderedFile:
        # Imported with the first shot: the server starts a third of a second sooner without the encoder.
        from callsheet.sandbox.video import encode

        path = self._folder / f"{scene.key}.mp4"
        with self._guard:
            lock = self._locks.setdefault(scene.key, Lock())
        with lock:
            if not path.exists():
                part = path.with_suffix(".part")
                encode(scene, part)
                part.rename(path)
            os.utime(path)
            rendered = RenderedFile(path, hashlib.sha256(path.read_bytes()).hexdigest())
        self._remove_oldest()
        return rendered

    def _remove_oldest(self) -> None:
        """Keep the files used last; the queue is about to link the one just made."""
        with self._guard:
            files = sorted(self._folder.glob("*.mp4"), key=lambda path: path.stat().st_mtime)
            for path in files[: max(0, len(files) - KEPT_RENDERS)]:
                path.unlink(missing_ok=True)
                self._locks.pop(path.stem, None)
