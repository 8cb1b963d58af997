"""The client of fal's platform API: history, billing events and prices, read whole or not at all.

Nothing here costs money or changes anything, so every read is tried again. The key goes to the configured
platform host alone, without redirects.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any, Self

import httpx

from callsheet.errors import AccountError, Unavailable
from callsheet.provider.hosts import Hosts
from callsheet.provider.platform_messages import (
    BILLS,
    HISTORY,
    PRICES,
    BillingEvent,
    HistoryItem,
    Page,
    billing_query,
    history_query,
    parse_credits,
    parse_event,
    parse_item,
    parse_page,
    parse_price,
)
from callsheet.provider.replies import Reply, server_time_ms
from callsheet.provider.transport import (
    READ_FAILURES,
    SecretAuth,
    exchange,
    key_auth,
    open_client,
    retried,
)
from callsheet.settings import ApiKey, Settings
from pricing.catalog import ListedPrice

TRIES = 4
READ_TIMEOUT_S = 30.0
CONNECT_TIMEOUT_S = 10.0
PAGE_DEADLINE_S = 120.0
MAX_PAGE_BYTES = 64 * 2**20
"""A page of the history holds other people's inputs too, and they may have sent pictures as text."""

MAX_PAGES = 2000
"""200,000 requests; a longer history is read in vain, and so it counts as not read."""


@dataclass(frozen=True, slots=True)
class History:
    """What fal remembers, whole. `server_ms` is fal's own time when it was read, or None."""

    items: tuple[HistoryItem, ...]
    server_ms: int | None


class FalPlatform:
    """fal's platform API: `async with FalPlatform(settings) as platform`.

    `transport` replaces the network (tests), `sleep` waits, `jitter` returns numbers in [0, 1).
    """

    def __init__(
        self,
        settings: Settings,
        *,
        transport: httpx.AsyncBaseTransport | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._settings = settings
        self._hosts = Hosts(settings)
        self._transport = transport
        self._sleep = sleep
        self._jitter = jitter
        self._stack = AsyncExitStack()
        self._client: httpx.AsyncClient | None = None

    async def __aenter__(self) -> Self:
        client = open_client(
            transport=self._transport,
            keep_alive=True,
            urls=(self._settings.platform_url,),
        )
        self._client = await self._stack.enter_async_context(client)
        return self

    async def __aexit__(self, *raised: object) -> None:
        self._client = None
        await self._stack.aclose()

    async def history(
        self,
        endpoint_ids: Sequence[str],
        *,
        start_ms: int,
        request_id: str | None = None,
        sort_by: str = "ended_at",
    ) -> History:
        """Return every request to these endpoints (1 to 50) since `start_ms` (Unix milliseconds), once each.

        `sort_by` is "ended_at" or "duration". Raises Unavailable where any part of the list could not be
        read, AccountError where the key may not read it.
        """
        query = history_query(endpoint_ids, start_ms=start_ms, request_id=request_id, sort_by=sort_by)
        pages = await self._pages("/models/requests/by-endpoint", query, (HISTORY, "items"), self._key())
        found: dict[str, HistoryItem] = {}
        for item in map(parse_item, pages.items):
            # The list moves while it is read: a request may be on two pages, the later time in a later state.
            if item.request_id not in found or item.ended_ms is not None:
                found[item.request_id] = item
        return History(tuple(found.values()), pages.server_ms)

    async def billing_events(self, endpoint_ids: Sequence[str], *, start_ms: int) -> list[BillingEvent]:
        """Return every billing event of these endpoints since `start_ms` (at most 90 days ago).

        Raises Unavailable where any part of the list could not be read, AccountError without an admin key.
        """
        query = billing_query(endpoint_ids, start_ms=start_ms)
        key = self._settings.admin_key or self._key()
        pages = await self._pages("/models/billing-events", query, (BILLS, "billing_events"), key)
        return [parse_event(item) for item in pages.items]

    async def prices(self, endpoint_ids: Sequence[str], *, tries: int = TRIES) -> list[ListedPrice]:
        """Return what fal asks for these endpoints (1 to 50), a line each; some may be missing.

        Raises Unavailable where the list could not be read in `tries`, AccountError where the key may not.
        """
        query = [("endpoint_id", each) for each in endpoint_ids]
        pages = await self._pages("/models/pricing", query, (PRICES, "prices"), self._key(), tries=tries)
        return [parse_price(item) for item in pages.items]

    async def credits_nano(self) -> int:
        """Return the account's balance in nano-dollars.

        Raises AccountError without an admin key, Unavailable where it could not be read in one try.
        """
        key = self._settings.admin_key or self._key()
        return parse_credits(await self._read("/account/billing", [("expand", "credits")], key_auth(key)))

    async def _pages(
        self,
        path: str,
        query: Sequence[tuple[str, str]],
        names: tuple[str, str],
        key: ApiKey,
        *,
        tries: int = TRIES,
    ) -> _Pages:
        what, name = names
        pages, seen, cursor = _Pages(), set[str](), None
        for _ in range(MAX_PAGES):
            asked = [*query, ("cursor", cursor)] if cursor else list(query)
            reply, page = await self._page(path, asked, names, key_auth(key), tries)
            pages.take(page.items, server_time_ms(reply))
            cursor = page.cursor
            if cursor is None:
                return pages
            if cursor in seen:
                raise Unavailable(f"{what} could not be read whole: its {name!r} go round in a circle")
            seen.add(cursor)
        raise Unavailable(f"{what} could not be read whole: it has more than {MAX_PAGES} pages")

    async def _page(
        self,
        path: str,
        query: Sequence[tuple[str, str]],
        names: tuple[str, str],
        auth: SecretAuth,
        tries: int,
    ) -> tuple[Reply, Page]:
        async def read() -> tuple[Reply, Page]:
            reply = await self._read(path, query, auth)
            return reply, parse_page(reply, *names)

        return await retried(read, tries=tries, sleep=self._sleep, jitter=self._jitter)

    async def _read(self, path: str, query: Sequence[tuple[str, str]], auth: SecretAuth) -> Reply:
        if self._client is None:
            raise RuntimeError("FalPlatform is used outside its `async with` block")
        url = self._hosts.is_platform(f"{self._settings.platform_url}{path}")
        timeout = httpx.Timeout(READ_TIMEOUT_S, connect=CONNECT_TIMEOUT_S)
        request = self._client.build_request("GET", url, params=list(query), timeout=timeout)
        try:
            async with asyncio.timeout(PAGE_DEADLINE_S):
                return await exchange(self._client, request, auth, max_bytes=MAX_PAGE_BYTES)
        except READ_FAILURES as error:
            raise Unavailable(f"fal's platform API could not be read ({type(error).__name__})") from error

    def _key(self) -> ApiKey:
        if self._settings.key is None:
            raise AccountError("there is no key for fal: set FAL_KEY, or use --sandbox, which needs none")
        return self._settings.key


class _Pages:
    """What has been read so far. `server_ms` is the time of the first page: nothing later is certain."""

    def __init__(self) -> None:
        self.items: list[Mapping[str, Any]] = []
        self.server_ms: int | None = None
        self._is_first = True

    def take(self, items: Sequence[Mapping[str, Any]], server_ms: int | None) -> None:
        """Add a page."""
        self.items.extend(items)
        if self._is_first:
            self.server_ms, self._is_first = server_ms, False
