"""Renders off the event loop, and each picture once: a small cache of files on disk."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, TypeVar

from callsheet.sandbox.endpoints import Shot
from callsheet.sandbox.images import ImageLoader
from callsheet.sandbox.queue import Rendered

if TYPE_CHECKING:
    from callsheet.sandbox.video.scene import Scene

KEPT_RENDERS = 64

_T = TypeVar("_T")


class VideoRenderer:
    """Encodes in a few threads (PyAV releases the interpreter) and remembers the last files it made."""

    def __init__(
        self,
        folder: Path,
        loader: ImageLoader,
        *,
        threads: int = 2,
        draw_seed: bool = True,
        kept: int = KEPT_RENDERS,
    ) -> None:
        self._folder = folder
        self._folder.mkdir(parents=True, exist_ok=True)
        self._loader = loader
        self._draw_seed = draw_seed
        self._kept = kept
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="render")
        self._guard = Lock()
        self._locks: dict[str, Lock] = {}

    def close(self) -> None:
        """Drop what has not begun and wait for what has."""
        self._pool.shutdown(cancel_futures=True)

    async def prepare(self, shot: Shot) -> Scene:
        """Load the pictures and settle the size. Raises BadInput."""
        return await self._in_thread(lambda: self._prepare(shot))

    async def render(self, scene: Scene) -> Rendered:
        """Encode the video, or take the equal one that is there."""
        return await self._in_thread(lambda: self._render(scene))

    async def _in_thread(self, work: Callable[[], _T]) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._pool, work)

    def _prepare(self, shot: Shot) -> Scene:
        # Loaded here, by the first shot: the server is up a third of a second sooner without them.
        from callsheet.sandbox.video.scene import scene_of  # noqa: PLC0415

        return scene_of(shot, self._loader, draw_seed=self._draw_seed)

    def _render(self, scene: Scene) -> Rendered:
        from callsheet.sandbox.video.encode import encode  # noqa: PLC0415

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
        self._forget_oldest()
        return rendered

    def _forget_oldest(self) -> None:
        """Keep the files used last, the one just made among them: the queue is about to link it."""
        with self._guard:
            files = sorted(self._folder.glob("*.mp4"), key=lambda path: path.stat().st_mtime)
            for path in files[: max(0, len(files) - self._kept)]:
                path.unlink(missing_ok=True)
                self._locks.pop(path.stem, None)
