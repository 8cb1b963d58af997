"""The sandbox as a server: its app, TCP, TLS with a certificate of its own, one per state folder."""

from __future__ import annotations

import datetime as dt
import fcntl
import ipaddress
import json
import os
import re
import signal
import socket
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import uvicorn
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.middleware import Middleware
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from callsheet.errors import UsageError
from callsheet.files import write_atomically
from callsheet.listener import listening, place_of
from callsheet.sandbox import (
    routes_catalog,
    routes_control,
    routes_files,
    routes_platform,
    routes_queue,
)
from callsheet.sandbox.config import FAL_NAMES, SandboxConfig
from callsheet.sandbox.fault_replies import FaultMiddleware
from callsheet.sandbox.faults import FaultBook
from callsheet.sandbox.launcher import ADDRESS_FILE, OWN_CATALOG, SandboxAddress
from callsheet.sandbox.own_endpoints import own_endpoints
from callsheet.sandbox.services import Declined, declined, open_services
from callsheet.sandbox.store import Store

MAX_BODY = 256 * 2**20
"""Bytes of one request: enough for any upload, and a bound on memory."""


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
                raise Declined(413, {"detail": "Request is too large"})
            return message

        try:
            await self._app(scope, bounded, send)
        except Declined as error:
            await error.reply(scope, receive, send)

    def _is_own(self, host: str) -> bool:
        """Say whether a Host header names this server: a known name or any IP address, with any port."""
        match = re.fullmatch(r"(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]+)(:\d{1,5})?", host)
        return match is not None and self._config.owns(match[1].strip("[]"))


def create_app(config: SandboxConfig, faults: FaultBook) -> Starlette:
    """Build the server's application.

    A caller that keeps `faults` can arm faults without a call. The state is opened when the server starts
    and closed when it stops; `app.state.services` holds it in between.
    """

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            folder = config.state_dir or Path(stack.enter_context(tempfile.TemporaryDirectory()))
            state = Store(folder)
            stack.callback(state.close)
            services = app.state.services = open_services(config, state, faults)
            stack.callback(services.renderer.close)
            stack.push_async_callback(services.queue.stop)
            await services.queue.resume()
            yield

    parts = (routes_control, routes_catalog, routes_platform, routes_files, routes_queue)
    return Starlette(
        routes=[route for part in parts for route in part.routes()],
        exception_handlers={Declined: declined},
        middleware=[Middleware(_Gate, config=config), Middleware(FaultMiddleware, book=faults)],
        lifespan=lifespan,
    )


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
        settings = uvicorn.Config(
            app,
            http=_Protocol,
            ws="none",
            loop="asyncio",
            lifespan="on",
            log_level="warning",
            access_log=False,
            proxy_headers=False,
            server_header=False,
            callback_notify=self._stop_when_idle,
            timeout_notify=1,
            timeout_keep_alive=30,
            timeout_graceful_shutdown=_GOODBYE_S,
            ssl_certfile=config.certfile,
            ssl_keyfile=config.keyfile,
        )
        super().__init__(settings)
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
                document = json.dumps(asdict(address), indent=1)
                write_atomically(config.state_dir / ADDRESS_FILE, document.encode(), mode=0o600)
            print(f"sandbox ready at {address.url}", flush=True)  # noqa: T201 - the one line of the contract
            announce(address)

        _Server(config, create_app(config, FaultBook()), ready).run(sockets=[listener])


@contextmanager
def running_sandbox(config: SandboxConfig, *, faults: FaultBook | None = None) -> Iterator[SandboxAddress]:
    """Serve in a thread of this process for the length of a `with` block; for tests and short demos."""
    ready = threading.Event()
    with _state_lock(config.state_dir), _listening(config) as listener:
        server = _Server(config, create_app(config, faults or FaultBook()), ready.set)
        thread = threading.Thread(target=server.run, args=([listener],), name="sandbox")
        thread.start()
        try:
            if not ready.wait(10):
                raise UsageError("the sandbox did not start within 10 seconds")
            yield _address(config, listener)
        finally:
            server.should_exit = True
            thread.join()


def _address(config: SandboxConfig, listener: socket.socket) -> SandboxAddress:
    scheme = "https" if config.certfile else "http"
    return SandboxAddress(f"{scheme}://{place_of(listener)}", config.key, os.getpid(), config.speed)


def _listening(config: SandboxConfig) -> AbstractContextManager[socket.socket]:
    return listening(config.host, config.port, any_port=config.any_port)


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


LIFE = dt.timedelta(days=365)


def own_certificate(folder: Path, *names: str) -> tuple[Path, Path]:
    """Return certificate and key below `folder`; made anew each time, for `names` beside the usual ones."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    certfile, keyfile = folder / "certificate.pem", folder / "private-key.pem"
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Callsheet sandbox")])
    now = dt.datetime.now(dt.UTC)
    every = sorted({"localhost", "127.0.0.1", "::1", *FAL_NAMES, *names})
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + LIFE)
        .add_extension(x509.SubjectAlternativeName([_general(name) for name in every]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    write_atomically(keyfile, pem, mode=0o600)
    write_atomically(certfile, certificate.public_bytes(serialization.Encoding.PEM))
    return certfile, keyfile


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)
