"""What every route works with: the state, the queue, the renderer and the faults of one server."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import cast

from starlette.requests import Request
from starlette.responses import JSONResponse

from callsheet.sandbox.config import SandboxConfig
from callsheet.sandbox.faults import FaultBook
from callsheet.sandbox.images import ImageLoader
from callsheet.sandbox.prices import PriceList
from callsheet.sandbox.queue import RenderQueue
from callsheet.sandbox.renderer import VideoRenderer
from callsheet.sandbox.state import State


@dataclass(slots=True)
class Room:
    """One server's parts. `last_call_at` is by the monotonic clock, in seconds."""

    config: SandboxConfig
    state: State
    renderer: VideoRenderer
    queue: RenderQueue
    faults: FaultBook
    clock: Callable[[], float]
    prices: PriceList
    last_call_at: float = field(default_factory=time.monotonic)

    @property
    def idle_s(self) -> float:
        """Seconds since the last call; 0 while anything waits or renders."""
        busy = self.queue.waiting or self.queue.rendering
        return 0.0 if busy else time.monotonic() - self.last_call_at


class _OwnFiles:
    """Reads this server's files. Paths come from the table of files, so no URL can name another path."""

    def __init__(self, state: State) -> None:
        self._state = state

    def read(self, name: str) -> bytes | None:
        """Return the bytes of a file by its path below /files/, or None."""
        path = self._state.files_dir / name
        inside = path.resolve().is_relative_to(self._state.files_dir.resolve())
        return path.read_bytes() if inside and path.is_file() else None


def open_room(config: SandboxConfig, state: State, faults: FaultBook, clock: Callable[[], float]) -> Room:
    """Put the parts together; the queue does nothing until `resume`."""
    loader = ImageLoader(_OwnFiles(state), allow_fetch=config.allow_fetch)
    renderer = VideoRenderer(
        state.folder / "renders", loader, threads=config.render_threads, draw_seed=config.draw_seed
    )
    prices = PriceList()
    queue = RenderQueue(
        state,
        renderer,
        slots=config.slots,
        speed=config.speed,
        clock=clock,
        noise_seed=config.noise_seed,
        render_fault=faults.on_render,
        prices=prices,
    )
    return Room(config, state, renderer, queue, faults, clock, prices)


def room_of(request: Request) -> Room:
    """Return the room of the server that a request came to."""
    return cast("Room", request.app.state.room)


def base_url(request: Request) -> str:
    """Return the address the caller used, so that URLs in replies lead back the same way."""
    return f"{request.url.scheme}://{request.headers.get('host', request.url.netloc)}"


def key_of(request: Request) -> str | None:
    """Return the key of `Authorization: Key ...`, or None where there is none that opens anything."""
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    config = room_of(request).config
    known = scheme.lower() == "key" and key in (config.key, config.limited_key)
    return key if known else None


def unauthorized(app: str) -> JSONResponse:
    """What fal answers to a missing or wrong key."""
    detail = f'Cannot access application "{app}". Authentication is required to access this application.'
    return JSONResponse({"detail": detail}, 401)
