"""The socket that one of our servers listens on. It is ours before its address is announced."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator
from contextlib import contextmanager

from callsheet.errors import UsageError

BACKLOG = 512
"""Connections that may wait to be accepted."""


@contextmanager
def listening(host: str, port: int, *, any_port: bool = False) -> Iterator[socket.socket]:
    """Listen at an address of this machine while the context is entered; port 0 picks a free one.

    `any_port` picks a free one also where `port` is taken. Raises UsageError where the address cannot be
    used.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # Named as TCP, or asyncio leaves out TCP_NODELAY and each reply waits 40 ms for the client's ACK.
    with socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
        except OSError as error:
            if error.errno != errno.EADDRINUSE or not any_port:
                raise UsageError(
                    f"{_place(host, port)} cannot be used: {error.strerror}. --host and --port name another "
                    "address (port 0 picks a free one)"
                ) from error
            listener.bind((host, 0))
        listener.listen(BACKLOG)
        yield listener


def place_of(listener: socket.socket) -> str:
    """Return where a socket listens, as an address is written: `127.0.0.1:8791`, `[::1]:8791`."""
    host, port = listener.getsockname()[:2]
    return _place(host, port)


def _place(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
