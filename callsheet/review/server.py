"""The review as a server on this machine, until Ctrl-C."""

from __future__ import annotations

import errno
import ipaddress
import secrets
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import uvicorn
from starlette.applications import Starlette

from callsheet.errors import UsageError
from callsheet.ledger import Ledger, Run, queries
from callsheet.review.app import create_app
from callsheet.review.session import ReviewSession

DEFAULT_PORT = 8791
"""The same one each time, so that a browser keeps a person's name."""

_GOODBYE_S = 1
"""How long open connections may take to end when the server stops."""


class _Server(uvicorn.Server):
    """Calls `on_ready` when it listens."""

    def __init__(self, app: Starlette, on_ready: Callable[[], None]) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                ws="none",
                loop="asyncio",
                lifespan="off",
                log_level="warning",
                access_log=False,
                proxy_headers=False,
                server_header=False,
                timeout_graceful_shutdown=_GOODBYE_S,
            )
        )
        self._on_ready = on_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, then call `on_ready`."""
        await super().startup(sockets)
        if self.started:
            self._on_ready()


def serve_review(
    ledger_url: str, run: Run, *, host: str, port: int | None, announce: Callable[[str], None]
) -> Path | None:
    """Serve the review of a run until SIGTERM or SIGINT; `announce` is called with its address.

    `port` None takes `DEFAULT_PORT`, or a free one where that is taken. Then the run's results are written
    again. Returns selection.csv, None where nothing was judged. Raises UsageError for an address that cannot
    be used.
    """
    # uvicorn raises the signals it caught again once it has stopped; then they must do nothing.
    numbers = (signal.SIGTERM, signal.SIGINT)
    before = [signal.signal(number, lambda *_: None) for number in numbers]
    try:
        with _serving(ledger_url, run, host, port) as (app, listener, url, finish):
            _Server(app, lambda: announce(url)).run(sockets=[listener])
            return finish()
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


@contextmanager
def running_review(ledger_url: str, run_id: str) -> Iterator[str]:
    """Serve in a thread of this process for the length of a `with` block; yields the address. For tests."""
    with Ledger.open(ledger_url) as ledger:
        run = ledger.do(queries.run, run_id)
    ready = threading.Event()
    with _serving(ledger_url, run, "127.0.0.1", 0) as (app, listener, url, finish):
        server = _Server(app, ready.set)
        thread = threading.Thread(target=server.run, args=([listener],), name="review")
        thread.start()
        try:
            if not ready.wait(10):
                raise UsageError("the review did not start within 10 seconds")
            yield url
        finally:
            server.should_exit = True
            thread.join()
            finish()


Served = tuple[Starlette, socket.socket, str, Callable[[], Path | None]]


@contextmanager
def _serving(ledger_url: str, run: Run, host: str, port: int | None) -> Iterator[Served]:
    """Open the ledger on the one thread that uses it, and listen."""
    token = secrets.token_urlsafe(24)
    with _listening(host, port) as listener, ThreadPoolExecutor(1, "review") as work:
        name = f"[{host}]" if ":" in host else host
        here = f"{name}:{listener.getsockname()[1]}"
        names = {here, f"localhost:{listener.getsockname()[1]}"} if _is_loopback(host) else {here}
        ledger = work.submit(Ledger.open, ledger_url).result()
        try:
            session = work.submit(ReviewSession, ledger, run).result()
            app = create_app(session, token=token, hosts=frozenset(names), work=work)
            yield app, listener, f"http://{here}/{token}/", lambda: work.submit(session.finish).result()
        finally:
            work.submit(ledger.close).result()


def _is_loopback(host: str) -> bool:
    return ipaddress.ip_address(host).is_loopback


@contextmanager
def _listening(host: str, port: int | None) -> Iterator[socket.socket]:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        raise UsageError(f"--host is {host!r}; use an IP address of this machine") from None
    if address.is_unspecified:
        raise UsageError(f"--host is {host}; name the one address by which the others reach this machine")
    family = socket.AF_INET6 if address.version == 6 else socket.AF_INET
    # Named as TCP, or asyncio leaves out TCP_NODELAY and each reply waits 40 ms for the client's ACK.
    with socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        wanted = DEFAULT_PORT if port is None else port
        try:
            listener.bind((host, wanted))
        except OSError as error:
            if error.errno != errno.EADDRINUSE or port is not None:
                raise UsageError(f"{host}:{wanted} cannot be used: {error.strerror}") from error
            listener.bind((host, 0))
        listener.listen(64)
        yield listener
