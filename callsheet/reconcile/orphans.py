"""Paid requests that no job claims: declared absent, bought again, and at fal after all."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace

from callsheet.errors import AccountError, QueueError, RenderFailed
from callsheet.ledger import JobRow, Submission, announcements, history, queries
from callsheet.provider.platform_messages import HistoryItem, result_of
from callsheet.reconcile.account import AccountSession, attempt_of, sent_ms
from callsheet.reconcile.findings import Finding, finding
from callsheet.reconcile.matching import Attempt, fitting

logger = logging.getLogger(__name__)

KEPT_MS = 30 * 86_400_000
"""How long fal's history shows a request, in milliseconds (fal.ai/docs, headers)."""

LOOK_BACK_MS = 3_600_000


async def find_orphans(account: AccountSession) -> list[Finding]:
    """Name fal's requests that hold what a submission sent which was declared absent in the last 30 days.

    Any key may read them. Without such a submission this is one question to the ledger and none to fal. Where
    the history cannot be read, they are those that fal's webhooks have reported.
    """
    since_ms = account.now_ms() - KEPT_MS
    absent = await account.do(queries.declared_absent, since_ms=since_ms)
    if not absent:
        return []
    seen = await _searched(account, absent, since_ms)
    named = {request_id for each in seen for request_id in each.request_ids}
    return [*seen, *(each for each in await _reported(account) if each.request_ids[0] not in named)]


async def _reported(account: AccountSession) -> list[Finding]:
    """Name the requests that fal's webhooks have reported too late, whatever its history shows."""
    reported = await account.do(announcements.unclaimed)
    claimed = await account.do(history.known_requests, [request_id for _, _, request_id in reported])
    return [
        finding(
            "orphan",
            await account.do(queries.job, job_id),
            f"fal's webhook reported it after attempt {attempt} had been declared absent, and no job claims "
            "it: fal may have billed it",
            request_ids=(request_id,),
        )
        for job_id, attempt, request_id in reported
        if request_id not in claimed
    ]


async def _searched(account: AccountSession, absent: Sequence[Submission], since_ms: int) -> list[Finding]:
    rows = [replace(await account.do(queries.job, each.job_id), submission=each) for each in absent]
    attempts = [await attempt_of(account, row) for row in rows]
    start_ms = max(since_ms, min(map(sent_ms, absent)) - LOOK_BACK_MS)
    try:
        found = await account.platform.history(sorted({row.endpoint for row in rows}), start_ms=start_ms)
    except (QueueError, AccountError) as error:
        logger.warning("fal's history was not searched for requests that no job claims: %s", error)
        return []
    claimed = await account.do(history.known_requests, [item.request_id for item in found.items])
    free = [item for item in found.items if item.request_id not in claimed]
    return [_orphan(_sender(attempts, rows, item), item) for item in fitting(attempts, free)]


def _sender(attempts: Sequence[Attempt], rows: Sequence[JobRow], item: HistoryItem) -> JobRow:
    return next(row for attempt, row in zip(attempts, rows, strict=True) if fitting([attempt], [item]))


def _orphan(row: JobRow, item: HistoryItem) -> Finding:
    why = "fal made and billed it, although it was declared absent, and no job claims it"
    try:
        why += f"; its video: {result_of(item).video_url}"
    except (RenderFailed, QueueError) as error:
        why += f"; {error}"
    return finding("orphan", row, why, request_ids=(item.request_id,))
