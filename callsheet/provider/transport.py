"""One HTTP exchange: the key put in at the last moment, the body bounded, the departure watched.

Free calls are repeated by `retried`, all with the same backoff. The paid POST is never repeated.
"""

from __future__ import annotations

import asyncio
import logging
import os
import ssl
import time
from collections.abc import Awaitable, Callable, Generator, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeVar

import httpx

from callsheet.errors import AccountError, NotSent, Unavailable
from callsheet.provider.replies import Reply, clean
from callsheet.settings import ApiKey

logger = logging.getLogger(__name__)

T = TypeVar("T")

MAX_BODY_BYTES = 4 * 2**20
"""How much of a JSON reply is read: fal's are a few kB. What is longer is cut, and so unreadable."""

LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
"""This machine: no proxy may stand between two programs on it."""


CONNECT_TIMEOUT_S = 10.0
READ_TIMEOUT = httpx.Timeout(30.0, connect=CONNECT_TIMEOUT_S)

READ_FAILURES = (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, OSError)
"""What a free exchange fails with when the network does (a time-out is an OSError)."""


class SecretAuth(httpx.Auth):
    """Writes one Authorization header into one request. No client holds the secret, so none can leak it."""

    def __init__(self, header: str) -> None:
        self._header = header

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """Add the Authorization header."""
        request.headers["Authorization"] = self._header
        yield request

    def masked(self, text: bytes) -> bytes:
        """Return the bytes with the secret replaced wherever it stands: the key, or the secret half of it."""
        whole = self._header.partition(" ")[2]
        for secret in (whole, whole.partition(":")[2]):
            if len(secret) >= 8:
                text = text.replace(secret.encode(), b"[key]")
        return text

    def masked_headers(self, headers: httpx.Headers) -> dict[str, str]:
        """Return a reply's headers, their names in lower case, with the secret replaced in each value."""
        if not headers:
            return {}
        lines = "\n".join(headers.values()).encode("utf-8", "replace")  # no value has a line break
        values = self.masked(lines).decode("utf-8", "replace").split("\n")
        return {name.lower(): value for name, value in zip(headers, values, strict=True)}


def key_auth(key: ApiKey | None) -> SecretAuth:
    """Return fal's own scheme: `Authorization: Key <key>`. Raises AccountError without a key."""
    if key is None:
        raise AccountError("there is no key for fal: set FAL_KEY, or use --sandbox, which needs none")
    return SecretAuth(f"Key {key.reveal()}")


@dataclass(slots=True)
class Departure:
    """Watches one request on its way out (httpcore's `trace` extension).

    `left` is None while nothing was seen, False from when a connection is being made, True from just before
    the first byte of the request is written. A connection that is ready only after `latest_s` (on the clock
    `now`) raises NotSent instead of writing: a process that was stopped in between must not send what
    another process may have taken over.
    """

    latest_s: float
    now: Callable[[], float]
    left: bool | None = None

    async def __call__(self, event: str, info: Mapping[str, Any]) -> None:
        """Take one of httpcore's events. Raises NotSent when it is too late to send."""
        if event.startswith("connection.") and self.left is None:
            self.left = False
        request = info.get("request")
        if event.endswith(".send_request_headers.started") and getattr(request, "method", b"") != b"CONNECT":
            if self.now() > self.latest_s:
                raise NotSent("the connection was ready too late to send the job; nothing was sent")
            self.left = True


@dataclass(slots=True)
class Hearing:
    """The reply's head as soon as it is there: what remains when the body does not arrive whole."""

    head: Reply | None = None


async def exchange(
    client: httpx.AsyncClient,
    request: httpx.Request,
    auth: SecretAuth,
    hearing: Hearing | None = None,
    *,
    max_bytes: int = MAX_BODY_BYTES,
) -> Reply:
    """Send one request, without redirects, and read the reply's body up to `max_bytes`.

    The secret never stands in what is returned, even where a reply repeats it. Raises httpx's exceptions.
    """
    response = await client.send(request, auth=auth, stream=True, follow_redirects=False)
    logger.debug(
        "%s %s: %d, request id %s",
        request.method,
        request.url.path,
        response.status_code,
        clean(response.headers.get("x-fal-request-id", "none"), 80),
    )
    try:
        headers = auth.masked_headers(response.headers)
        if hearing is not None:
            hearing.head = Reply(response.status_code, headers, b"")
        return Reply(response.status_code, headers, auth.masked(await _body(response, max_bytes)))
    finally:
        await response.aclose()


async def read(
    client: httpx.AsyncClient,
    request: httpx.Request,
    auth: SecretAuth,
    *,
    who: str,
    deadline_s: float = 60.0,
    max_bytes: int = MAX_BODY_BYTES,
) -> Reply:
    """Do a free exchange within `deadline_s`, however slowly its bytes drip in.

    Raises Unavailable, which names `who`, where the network fails.
    """
    request.extensions["timeout"] = READ_TIMEOUT.as_dict()
    try:
        async with asyncio.timeout(deadline_s):
            return await exchange(client, request, auth, max_bytes=max_bytes)
    except READ_FAILURES as error:
        raise Unavailable(f"{who} could not be read ({type(error).__name__})") from error


def backoff_s(attempt: int, advice_s: float | None, jitter: float) -> float:
    """Return the seconds to wait after failed attempt `attempt` (from 1): 1, 2, 4 ... 30, less or more 30 %.

    The server's own advice goes first. `jitter` is in [0, 1).
    """
    return advice_s if advice_s is not None else min(30.0, 2.0 ** (attempt - 1)) * (0.7 + 0.6 * jitter)


async def retried(
    call: Callable[[], Awaitable[T]],
    *,
    tries: int,
    sleep: Callable[[float], Awaitable[None]],
    jitter: Callable[[], float],
) -> T:
    """Do a free call until it brings something, at most `tries` times.

    Only Unavailable is tried again, and not where it says that the thing is gone; the last one is raised.
    """
    for attempt in range(1, tries + 1):
        try:
            return await call()
        except Unavailable as error:
            if attempt == tries or error.gone:
                raise
            logger.debug("attempt %d of %d failed: %s", attempt, tries, error)
            wait_s = backoff_s(attempt, error.retry_after_s, jitter())
        await sleep(wait_s)
    raise AssertionError("the last try returns or raises")


KEPT_ALIVE = 8
"""Connections that are kept open. Each request looks at every one of them; a question takes milliseconds."""


def open_client(
    *,
    transport: httpx.AsyncBaseTransport | None,
    keep_alive: bool,
    urls: Iterable[str],
) -> httpx.AsyncClient:
    """Return a client without a key, without redirects, on HTTP/1.1.

    Without `keep_alive` every request gets a connection of its own, so that a request fails before it left
    or not at all for reasons of an earlier one. A proxy of the environment is used, but never between two
    programs on this machine: `urls` are the configured addresses.
    """
    parsed = [httpx.URL(url) for url in urls]
    loopback = {f"all://{url.netloc.decode()}": None for url in parsed if url.host in LOOPBACK}
    kept = KEPT_ALIVE if keep_alive else 0
    return httpx.AsyncClient(
        verify=_trusted(os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR")),
        transport=transport,
        mounts=loopback,
        http1=True,
        http2=False,
        follow_redirects=False,
        headers={"User-Agent": "callsheet", "Accept-Encoding": "identity", "Accept": "application/json"},
        limits=httpx.Limits(max_connections=None, max_keepalive_connections=kept, keepalive_expiry=30.0),
    )


@cache
def _trusted(_file: str | None, _folder: str | None) -> ssl.SSLContext:
    """Return whom to trust, as the environment says. Reading the certificates takes 25 ms."""
    return httpx.create_ssl_context()


async def _body(response: httpx.Response, max_bytes: int) -> bytes:
    chunks: list[bytes] = []
    size = 0
    async for chunk in response.aiter_raw():
        chunks.append(chunk)
        size += len(chunk)
        if size > max_bytes:
            break
    return b"".join(chunks)[:max_bytes]


def since_boot_s() -> float:
    """Seconds since the machine started, those in which it was suspended included.

    The monotonic clock stands still while a laptop's lid is closed; the world does not. Where there is no
    other (macOS), it is the monotonic one.
    """
    if hasattr(time, "CLOCK_BOOTTIME"):
        return time.clock_gettime(time.CLOCK_BOOTTIME)
    return time.monotonic()
