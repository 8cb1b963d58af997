"""The sandbox as a server: TCP, TLS where asked for, one per state folder."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import signal
import socket
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette
from uvicorn.protocols.http.h11_impl import H11Protocol

from callsheet.errors import UsageError
from callsheet.files import write_atomically
from callsheet.sandbox.app import create_app
from callsheet.sandbox.config import OWN_CATALOG, SandboxAddress, SandboxConfig
from callsheet.sandbox.faults import FaultBook
from callsheet.sandbox.own_endpoints import own_endpoints

ADDRESS_FILE = "server.json"
LOCK_FILE = "lock"
_GOODBYE_S = 1
"""How long open connections may take to end when the server stops."""


class _Protocol(H11Protocol):
    """HTTP with the connection in every request's state, for the faults that close or reset it."""

    def connection_made(self, transport: Any) -> None:
        """Remember the connection."""
        super().connection_made(transport)
        self.app_state = {**self.app_state, "transport": transport}


class _Server(uvicorn.Server):
    """Calls `on_ready` when it listens, and stops by itself after a while without work."""

    def __init__(self, config: SandboxConfig, app: Starlette, on_ready: Callable[[], None]) -> None:
        super().__init__(_uvicorn_config(config, app, self._stop_when_idle))
        self._idle_timeout_s = config.idle_timeout_s
        self._app = app
        self._on_ready = on_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, then call `on_ready`."""
        await super().startup(sockets)
        if self.started:
            self._on_ready()

    async def _stop_when_idle(self) -> None:
        """Called about once a second."""
        if self._idle_timeout_s is not None and self._app.state.services.idle_s >= self._idle_timeout_s:
            self.should_exit = True


def serve(config: SandboxConfig, announce: Callable[[SandboxAddress], None] = lambda _address: None) -> None:
    """Serve until SIGTERM, SIGINT or the idle timeout; prints one line on stdout when it listens.

    Then `announce` is called. Endpoints of CALLSHEET_CATALOG are served too.

    Raises UsageError where another sandbox has the state folder, or the port is taken.
    """
    if own := os.environ.get(OWN_CATALOG, "").strip():
        config = replace(config, own=tuple(own_endpoints(Path(own))))
    # uvicorn raises the signals it caught again once it has stopped; then they must do nothing.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    with _state_lock(config.state_dir), _listening(config) as listener:
        address = _address(config, listener)

        def ready() -> None:
            if config.state_dir is not None:
                _write_address(config.state_dir, address)
            print(f"sandbox ready at {address.url}", flush=True)  # noqa: T201 - the one line of the contract
            announce(address)

        _Server(config, create_app(config), ready).run(sockets=[listener])


@contextmanager
def running_sandbox(config: SandboxConfig, *, faults: FaultBook | None = None) -> Iterator[SandboxAddress]:
    """Serve in a thread of this process for the length of a `with` block; for tests and short demos."""
    ready = threading.Event()
    with _state_lock(config.state_dir), _listening(config) as listener:
        server = _Server(config, create_app(config, faults=faults), ready.set)
        thread = threading.Thread(target=server.run, args=([listener],), name="sandbox")
        thread.start()
        try:
            if not ready.wait(10):
                raise UsageError("the sandbox did not start within 10 seconds")
            yield _address(config, listener)
        finally:
            server.should_exit = True
            thread.join()


def _uvicorn_config(
    config: SandboxConfig, app: Starlette, every_second: Callable[[], Awaitable[None]]
) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http=_Protocol,
        ws="none",
        loop="asyncio",
        lifespan="on",
        log_level="warning",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        callback_notify=every_second,
        timeout_notify=1,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=_GOODBYE_S,
        ssl_certfile=config.certfile,
        ssl_keyfile=config.keyfile,
    )


def _address(config: SandboxConfig, listener: socket.socket) -> SandboxAddress:
    host, port = listener.getsockname()[:2]
    scheme = "https" if config.certfile else "http"
    return SandboxAddress(f"{scheme}://{host}:{port}", config.key, os.getpid(), config.speed)


def _write_address(state_dir: Path, address: SandboxAddress) -> None:
    document = {"url": address.url, "pid": address.pid, "key": address.key, "speed": address.speed}
    write_atomically(state_dir / ADDRESS_FILE, json.dumps(document, indent=1).encode(), mode=0o600)


@contextmanager
def _listening(config: SandboxConfig) -> Iterator[socket.socket]:
    # Named as TCP, or asyncio leaves out TCP_NODELAY and each reply waits 40 ms for the client's ACK.
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((config.host, config.port))
        except OSError as error:
            if error.errno != errno.EADDRINUSE or not config.any_port:
                raise UsageError(f"{config.host}:{config.port} cannot be used: {error.strerror}") from error
            listener.bind((config.host, 0))
        listener.listen(512)
        yield listener


@contextmanager
def _state_lock(state_dir: Path | None) -> Iterator[None]:
    """Hold the folder's lock; the kernel gives it back however the process ends."""
    if state_dir is None:
        yield
        return
    state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (state_dir / LOCK_FILE).open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UsageError(
                f"another sandbox is running on {state_dir}; stop it or use another folder"
            ) from error
        yield
