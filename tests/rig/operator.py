"""Somebody who calls `callsheet reconcile` whenever a worker has died."""

import asyncio
from collections.abc import Callable

from callsheet.engine.context import open_account
from callsheet.reconciliation.open_jobs import settle_ledger
from callsheet.settings import Settings
from tests.rig.provider import hurry, silence


def reconcile(settings: Settings, bug: Callable[[], None] | None = None) -> None:
    """Settle what nobody knows of the runs that nobody works on, as the command does."""
    silence()
    hurry()
    if bug is not None:
        bug()
    asyncio.run(_reconcile(settings))


async def _reconcile(settings: Settings) -> None:
    async with open_account(settings) as account:
        await settle_ledger(account)
