"""The client of fal's platform API: history, billing events and prices, read whole or not at all.

Nothing here costs money or changes anything, so every read is tried again. The key goes to the configured
platform host alone, without redirects.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Self, TypeVar

import httpx

from callsheet.errors import Unavailable
from callsheet.provider.hosts import Hosts
from callsheet.provider.platform_messages import (
    BILLS,
    HISTORY,
    LISTS,
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
from callsheet.provider.replies import Reply
from callsheet.provider.transport import SecretAuth, key_auth, open_client, read, retried
from callsheet.settings import ApiKey, Settings
from pricing.units import ListedPrice

TRIES = 4
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
        self._client: httpx.AsyncClient | None = None

    async def __aenter__(self) -> Self:
        urls = (self._settings.platform_url,)
        self._client = open_client(transport=self._transport, keep_alive=True, urls=urls)
        return self

    async def __aexit__(self, *raised: object) -> None:
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

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
        query = partial(history_query, start_ms=start_ms, request_id=request_id, sort_by=sort_by)
        pages = await self._of_all_names(HISTORY, endpoint_ids, query, self._settings.key)
        found: dict[str, HistoryItem] = {}
        for item in (self._named(parse_item(each)) for each in _items(pages)):
            # The list moves while it is read: a request may be on two pages, the later time in a later state.
            if item.request_id not in found or item.ended_ms is not None:
                found[item.request_id] = item
        # The time is that of the first page: nothing later is certain.
        return History(tuple(found.values()), pages[0].server_ms if pages else None)

    async def billing_events(self, endpoint_ids: Sequence[str], *, start_ms: int) -> list[BillingEvent]:
        """Return every billing event of these endpoints since `start_ms` (at most 90 days ago).

        An event that comes on two pages is one: the list, newest first, moves while it is read, and an
        endpoint may answer under several names. Equal ones on the same page are several.

        Raises Unavailable where any part of the list could not be read, AccountError without an admin key.
        """
        query = partial(billing_query, start_ms=start_ms)
        pages = await self._of_all_names(BILLS, endpoint_ids, query, self._admin_key)
        found: Counter[BillingEvent] = Counter()
        for page in pages:
            found |= Counter(self._named(parse_event(item)) for item in page.items)
        return list(found.elements())

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
            pages = await self._pages(PRICES, query, self._settings.key, tries=tries)
        except Unavailable as error:
            if not error.gone:
                raise
            half = len(ids) // 2
            parts = (ids[:half], ids[half:]) if half else ()
            return [line for part in parts for line in await self._listed(part, tries)]
        return [self._named(parse_price(item)) for item in _items(pages)]

    async def credits_nano(self) -> int:
        """Return the account's balance in nano-dollars.

        Raises AccountError without an admin key, Unavailable where it could not be read in one try.
        """
        auth = key_auth(self._admin_key)
        return parse_credits(await self._read("/account/billing", [("expand", "credits")], auth))

    def _named(self, item: _Named) -> _Named:
        """Return an entry under the id that the catalog has for its endpoint."""
        return replace(item, endpoint_id=self._canonical.get(item.endpoint_id, item.endpoint_id))

    async def _of_all_names(
        self,
        what: str,
        endpoint_ids: Sequence[str],
        query_of: Callable[[Sequence[str]], list[tuple[str, str]]],
        key: ApiKey | None,
    ) -> list[Page]:
        """Read a list for endpoints under their ids, and then under their other names.

        A name that fal does not know answers 404; an id must be known.
        """
        found: list[Page] = []
        for ids in _pieces(endpoint_ids):
            found += await self._pages(what, query_of(ids), key)
        others = [name for name, own in self._canonical.items() if own in endpoint_ids]
        for ids in _pieces(others):
            try:
                found += await self._pages(what, query_of(ids), key)
            except Unavailable as error:
                if not error.gone:
                    raise
        return found

    async def _pages(
        self, what: str, query: Sequence[tuple[str, str]], key: ApiKey | None, *, tries: int = TRIES
    ) -> list[Page]:
        """Read every page of a list, each in at most `tries`."""
        path, name = LISTS[what]
        auth = key_auth(key)

        async def page(cursor: str | None) -> Page:
            asked = [*query, ("cursor", cursor)] if cursor else query
            return parse_page(await self._read(path, asked, auth), what, name)

        pages: list[Page] = []
        cursors: list[str | None] = [None]
        while len(pages) < MAX_PAGES:
            once = partial(page, cursors[-1])
            pages.append(await retried(once, tries=tries, sleep=self._sleep, jitter=self._jitter))
            if pages[-1].cursor is None:
                return pages
            if pages[-1].cursor in cursors:
                raise Unavailable(f"{what} could not be read whole: its {name!r} go round in a circle")
            cursors.append(pages[-1].cursor)
        raise Unavailable(f"{what} could not be read whole: it has more than {MAX_PAGES} pages")

    async def _read(self, path: str, query: Sequence[tuple[str, str]], auth: SecretAuth) -> Reply:
        if self._client is None:
            raise RuntimeError("FalPlatform is used outside its `async with` block")
        url = self._hosts.is_platform(f"{self._settings.platform_url}{path}")
        request = self._client.build_request("GET", url, params=list(query))
        who = "fal's platform API"
        return await read(
            self._client, request, auth, who=who, deadline_s=PAGE_DEADLINE_S, max_bytes=MAX_PAGE_BYTES
        )

    @property
    def _admin_key(self) -> ApiKey | None:
        return self._settings.admin_key or self._settings.key


def _items(pages: Sequence[Page]) -> Iterator[Mapping[str, Any]]:
    return (item for page in pages for item in page.items)
