"""ETags of images at their addresses: a cheap sign that another image is there now.

A look is one HEAD without a key, to public addresses only, of a limited number of addresses and within a few
seconds. What fails, redirects or names no strong ETag says nothing (RFC 9110, 8.8.3).
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from itertools import islice
from queue import Empty, SimpleQueue
from typing import Any
from urllib.parse import urlsplit

from callsheet.errors import UsageError
from manifests.readers.remote import PublicOnly, header

MOST = 500
"""Distinct addresses that are asked at one time. The others say nothing."""

WITHIN_S = 5.0
AT_ONCE = 16

_OK = 200
_STRONG = re.compile(r'"[!#-~]{1,200}"', re.ASCII)


def etags_of(addresses: Iterable[str], *, allow_private: bool = False) -> dict[str, str]:
    """Return, by address, the strong ETags of images. Takes WITHIN_S seconds at most and raises nothing."""
    wanted: SimpleQueue[str] = SimpleQueue()
    for address in islice(dict.fromkeys(addresses), MOST):
        wanted.put(address)
    if wanted.empty():
        return {}
    found: dict[str, str] = {}
    ends_s = time.monotonic() + WITHIN_S
    # Daemons: a name that is being resolved cannot be given up, and must not keep the process.
    looking = [
        threading.Thread(target=_look, args=(wanted, found, ends_s, allow_private), daemon=True)
        for _ in range(min(AT_ONCE, wanted.qsize()))
    ]
    for each in looking:
        each.start()
    for each in looking:
        each.join(max(0.0, ends_s - time.monotonic()))
    return found.copy()


def _look(wanted: SimpleQueue[str], found: dict[str, str], ends_s: float, allow_private: bool) -> None:  # noqa: FBT001 -- a thread's arguments
    import httpcore
    import httpx

    backend: Any = PublicOnly(httpcore.SyncBackend(), allow_private=allow_private)
    failures = (httpcore.NetworkError, httpcore.ProtocolError, httpcore.TimeoutException, OSError, ValueError)
    with httpcore.ConnectionPool(network_backend=backend, ssl_context=httpx.create_ssl_context()) as pool:
        while (left_s := ends_s - time.monotonic()) > 0:
            try:
                address = wanted.get_nowait()
            except Empty:
                return
            with suppress(*failures, httpcore.UnsupportedProtocol, UsageError):
                reply = pool.request(
                    "HEAD",
                    address.partition("#")[0],
                    headers=[("Host", urlsplit(address).netloc), ("Accept-Encoding", "identity")],
                    extensions={"timeout": dict.fromkeys(("connect", "read", "write", "pool"), left_s)},
                )
                etag = header(reply, b"etag")
                if reply.status == _OK and _STRONG.fullmatch(etag):
                    found[address] = etag
