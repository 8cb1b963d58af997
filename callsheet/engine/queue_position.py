"""How many requests are ahead of a job in fal's queue, for people who look at a run from another process."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable

from callsheet.engine.request import at_sandbox
from callsheet.errors import CallsheetError
from callsheet.ledger import JobRow
from callsheet.provider.client import FalQueue
from callsheet.provider.messages import InQueue
from callsheet.sandbox.launcher import running_address
from callsheet.settings import Settings, settings_from
from callsheet.ticket import Ticket

ANSWER_WITHIN_S = 3.0


async def first_position(queued: Iterable[JobRow], *, sandbox: bool) -> int | None:
    """Ask fal about the job that has been queued longest.

    Returns how many requests are ahead of it; None where there is no such job, no key, or no answer in time.
    """
    tickets = sorted(
        ((row.submission.submitted_ms or 0, row.ticket) for row in queued if row.submission and row.ticket),
        key=lambda pair: pair[0],
    )
    settings = _settings(sandbox=sandbox)
    if not tickets or settings is None:
        return None
    try:
        async with asyncio.timeout(ANSWER_WITHIN_S), FalQueue(settings) as queue:
            return await _position(queue, tickets[0][1])
    except (CallsheetError, TimeoutError):
        return None


async def _position(queue: FalQueue, ticket: Ticket) -> int | None:
    seen = await queue.status(ticket)
    return seen.position if isinstance(seen, InQueue) else None


def _settings(*, sandbox: bool) -> Settings | None:
    """Return settings with a key; None without one, or where no sandbox is running."""
    settings = settings_from(os.environ)
    if not sandbox:
        return settings if settings.key is not None else None
    address = running_address(settings.data_dir / "sandbox")
    return None if address is None else at_sandbox(settings, address)
