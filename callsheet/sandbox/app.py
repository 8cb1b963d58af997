"""The ASGI application: the routes, what lives as long as they do, and the checks around them."""

from __future__ import annotations

import re
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.middleware import Middleware
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from callsheet.sandbox import (
    routes_catalog,
    routes_control,
    routes_files,
    routes_platform,
    routes_queue,
    routes_status,
)
from callsheet.sandbox.config import SandboxConfig
from callsheet.sandbox.fault_replies import FaultMiddleware
from callsheet.sandbox.faults import FaultBook
from callsheet.sandbox.services import open_services
from callsheet.sandbox.store import Store

MAX_BODY = 256 * 2**20
"""Bytes of one request: enough for any upload, and a bound on memory."""


class _TooLarge(Exception):
    """A request's body is larger than `MAX_BODY`."""


class _Gate:
    """Refuses calls by a foreign host name and bodies without end; notes when the last call came.

    A page in a browser whose name is rebound to this machine's address still sends its own name as Host.
    """

    def __init__(self, app: ASGIApp, config: SandboxConfig) -> None:
        self._app = app
        self._config = config

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the call on, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        scope["app"].state.services.last_call_at = time.monotonic()
        if not self._is_own(Headers(scope=scope).get("host", "")):
            await JSONResponse({"detail": "Unknown host"}, 421)(scope, receive, send)
            return
        received = 0

        async def bounded() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > MAX_BODY:
                raise _TooLarge
            return message

        try:
            await self._app(scope, bounded, send)
        except _TooLarge:
            await JSONResponse({"detail": "Request is too large"}, 413)(scope, receive, send)

    def _is_own(self, host: str) -> bool:
        """Say whether a Host header names this server: a known name or any IP address, with any port."""
        match = re.fullmatch(r"(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]+)(:\d{1,5})?", host)
        return match is not None and self._config.owns(match[1].strip("[]"))


def create_app(
    config: SandboxConfig, *, faults: FaultBook | None = None, clock: Callable[[], float] = time.time
) -> Starlette:
    """Build the server's application. `clock` gives Unix seconds.

    A caller that keeps `faults` can arm faults without a call. The state is opened when the server starts
    and closed when it stops; `app.state.services` holds it in between.
    """
    book = faults or FaultBook()

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            folder = config.state_dir or Path(stack.enter_context(tempfile.TemporaryDirectory()))
            state = Store(folder)
            stack.callback(state.close)
            services = app.state.services = open_services(config, state, book, clock)
            stack.callback(services.renderer.close)
            stack.push_async_callback(services.queue.stop)
            await services.queue.resume()
            yield

    parts = (routes_status, routes_control, routes_catalog, routes_platform, routes_files, routes_queue)
    return Starlette(
        routes=[route for part in parts for route in part.routes()],
        middleware=[Middleware(_Gate, config=config), Middleware(FaultMiddleware, book=book)],
        lifespan=lifespan,
    )
