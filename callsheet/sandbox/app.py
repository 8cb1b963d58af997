"""The ASGI application: the routes, what lives as long as they do, and the faults around them."""

from __future__ import annotations

import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.types import ASGIApp, Receive, Scope, Send

from callsheet.sandbox import routes_control, routes_files, routes_platform, routes_queue
from callsheet.sandbox.config import SandboxConfig
from callsheet.sandbox.faults import FaultBook
from callsheet.sandbox.misbehaviour import Misbehaviour
from callsheet.sandbox.room import open_room
from callsheet.sandbox.state import State


class _LastCall:
    """Notes when the last call came, for the idle timeout."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Note the time and pass the call on."""
        if scope["type"] == "http":
            scope["app"].state.room.last_call_at = time.monotonic()
        await self._app(scope, receive, send)


def create_app(
    config: SandboxConfig, *, faults: FaultBook | None = None, clock: Callable[[], float] = time.time
) -> Starlette:
    """Build the server's application. `clock` gives Unix seconds.

    `faults` may be kept by the caller to arm faults without a call. The state is opened when the server
    starts and closed when it stops; `app.state.room` holds it in between.
    """
    book = faults or FaultBook()

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            folder = config.state_dir or Path(stack.enter_context(tempfile.TemporaryDirectory()))
            state = State(folder)
            stack.callback(state.close)
            room = app.state.room = open_room(config, state, book, clock)
            stack.callback(room.renderer.close)
            stack.push_async_callback(room.queue.stop)
            await room.queue.resume()
            yield

    parts = (routes_control, routes_platform, routes_files, routes_queue)
    return Starlette(
        routes=[route for part in parts for route in part.routes()],
        middleware=[Middleware(_LastCall), Middleware(Misbehaviour, book=book)],
        lifespan=lifespan,
    )
