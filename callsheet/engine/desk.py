"""The ledger, fal's queue and fal's records, opened together for one piece of work."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from contextvars import ContextVar

from callsheet.engine.books import Books
from callsheet.ledger import Ledger
from callsheet.provider.client import FalQueue, quiet_http_logs
from callsheet.provider.platform import FalPlatform
from callsheet.reconcile.desk import Desk
from callsheet.settings import Settings
from pricing.catalog import load_catalog

current_desk: ContextVar[Desk] = ContextVar("current_desk")
"""The desk of the flow that is running: Prefect's tasks take plain values only."""


@asynccontextmanager
async def open_desk(settings: Settings) -> AsyncIterator[Desk]:
    """Open everything that the settings name, and close it again."""
    quiet_http_logs()
    ledger = await asyncio.to_thread(Ledger.open, settings.ledger)
    books = Books(ledger, is_near=settings.ledger.startswith("sqlite:"))
    try:
        async with FalQueue(settings) as queue, FalPlatform(settings) as platform:
            yield Desk(
                settings=settings,
                catalog=load_catalog(),
                ledger=ledger,
                books=books,
                queue=queue,
                platform=platform,
            )
    finally:
        books.close()
        ledger.close()
