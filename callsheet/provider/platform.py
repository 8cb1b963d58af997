"""The client of fal's platform API: history, billing events and prices, read whole or not at all.

Nothing here costs money or changes anything, so every read is tried again. The key goes to the configured
platform host alone, without redirects.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from typing import Any, Self, TypeVar

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
from pricing.units import ListedPrice

TRIES = 4
READ_TIMEOUT_S = 30.0
CONNECT_TIMEOUT_S = 10.0
PAGE_DEADLINE_S = 120.0
MAX_PAGE_BYTES = 64 * 2**20
"""A page of the history holds other people's inputs too, and they may have sent pictures as text."""

MAX_IDS = 50
"""Endpoints in one question (fal's Platform OpenAPI)."""

MAX_PAGES = 2000
"""200,000 requests; a longer history is read in vain, and so it counts as not read."""


@dataclass(frozen=True, slots=True)
class History:
    """What fal remembers, whole. `server_ms` is fal's own time when it was read, or None."""

    items: tuple[HistoryItem, ...]
    server_ms: int | None


_Named = TypeVar("_Named", HistoryItem, BillingEvent, ListedPrice)


def _pieces(names: Sequence[str]) -> Iterator[Sequence[str]]:
    """Yield so many names at a time as fal takes in one question."""
    for start in range(0, len(names), MAX_IDS):
        yield names[start : start + MAX_IDS]


class FalPlatform:
    """fal's platform API: `async with FalPlatform(settings) as platform`.

    `canonical` gives the id of an endpoint by each of its other names: fal may list it under any of them.
    `transport` replaces the network (tests), `sleep` waits, `jitter` returns numbers in [0, 1).
    """

    def __init__(
        self,
        settings: Settings,
        *,
        canonical: Mapping[str, str] | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._settings = settings
        self._canonical = canonical or {}
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
        """Return every request to these endpoints since `start_ms` (Unix milliseconds), once each.

        `sort_by` is "ended_at" or "duration". Raises Unavailable where any part of the list could not be
        read, AccountError where the key may not read it.
        """
        pages = await self._of_all_names(
            endpoint_ids,
            "/models/requests/by-endpoint",
            lambda ids: history_query(ids, start_ms=start_ms, request_id=request_id, sort_by=sort_by),
            (HISTORY, "items"),
            self._key(),
        )
        found: dict[str, HistoryItem] = {}
        for item in (self._named(parse_item(each)) for each in pages.items):
            # The list moves while it is read: a request may be on two pages, the later time in a later state.
            if item.request_id not in found or item.ended_ms is not None:
                found[item.request_id] = item
        return History(tuple(found.values()), pages.server_ms)

    async def billing_events(self, endpoint_ids: Sequence[str], *, start_ms: int) -> list[BillingEvent]:
        """Return every billing event of these endpoints since `start_ms` (at most 90 days ago).

        Raises Unavailable where any part of the list could not be read, AccountError without an admin key.
        """
        pages = await self._of_all_names(
            endpoint_ids,
            "/models/billing-events",
            lambda ids: billing_query(ids, start_ms=start_ms),
            (BILLS, "billing_events"),
            self._settings.admin_key or self._key(),
        )
        return [self._named(parse_event(item)) for item in pages.items]

    async def prices(self, endpoint_ids: Sequence[str], *, tries: int = TRIES) -> list[ListedPrice]:
        """Return what fal asks for these endpoints, a line each; some may be missing.

        Raises Unavailable where the list could not be read in `tries`, AccountError where the key may not.
        """
        lines: list[ListedPrice] = []
        for ids in _pieces(endpoint_ids):
            lines += await self._listed(ids, tries)
        return lines

    async def _listed(self, ids: Sequence[str], tries: int) -> list[ListedPrice]:
        """Read the lines of these endpoints. fal answers 404 where it no longer has one of them."""
        query = [("endpoint_id", each) for each in ids]
        try:
            pages = await self._pages("/models/pricing", query, (PRICES, "prices"), self._key(), tries=tries)
        except Unavailable as error:
            if not error.gone:
                raise
            half = len(ids) // 2
            parts = (ids[:half], ids[half:]) if half else ()
            return [line for part in parts for line in await self._listed(part, tries)]
        return [self._named(parse_price(item)) for item in pages.items]

    async def credits_nano(self) -> int:
        """Return the account's balance in nano-dollars.

        Raises AccountError without an admin key, Unavailable where it could not be read in one try.
        """
        key = self._settings.admin_key or self._key()
        return parse_credits(await self._read("/account/billing", [("expand", "credits")], key_auth(key)))

    def _named(self, item: _Named) -> _Named:
        """Return an entry under the id that the catalog has for its endpoint."""
        return replace(item, endpoint_id=self._canonical.get(item.endpoint_id, item.endpoint_id))

    async def _of_all_names(
        self,
        endpoint_ids: Sequence[str],
        path: str,
        query_of: Callable[[Sequence[str]], list[tuple[str, str]]],
        names: tuple[str, str],
        key: ApiKey,
    ) -> _Pages:
        """Read a list for endpoints under their ids, and then under their other names.

        A name that fal does not know answers 404; an id must be known.
        """
        found = _Pages()
        for ids in _pieces(endpoint_ids):
            found.add(await self._pages(path, query_of(ids), names, key))
        others = [name for name, own in self._canonical.items() if own in endpoint_ids]
        for ids in _pieces(others):
            try:
                found.add(await self._pages(path, query_of(ids), names, key))
            except Unavailable as error:
                if not error.gone:
                    raise
        return found

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

    def add(self, pages: _Pages) -> None:
        """Add all pages of another question, asked later."""
        self.take(pages.items, pages.server_ms)

    def take(self, items: Sequence[Mapping[str, Any]], server_ms: int | None) -> None:
        """Add a page."""
        self.items.extend(items)
        if self._is_first:
            self.server_ms, self._is_first = server_ms, False
