"""The one who settles unknown submissions between the lives of the workers."""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass

from callsheet.errors import IllegalTransition
from callsheet.falqueue.messages import ticket_for
from callsheet.ledger import JobRow, Ledger, State, Ticket
from callsheet.settings import Settings
from tests.rig.provider import Provider, silence


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a request may stay out of the history before it counts as absent, in seconds."""

    absent_after_s: float


def settle_unknown(settings: Settings, patience: Patience, _bug: Callable[[], None] | None = None) -> None:
    """Look every unknown submission up in the provider's history: adopt it, or wait, or declare it absent."""
    silence()
    with Ledger.open(settings.ledger) as ledger:
        rows = ledger.open_jobs(states={State.UNKNOWN})
        if not rows:
            return
        seen_at = time.time()
        history = _history(settings, {row.endpoint for row in rows})
        for row in rows:
            try:
                _settle(ledger, settings, row, history, seen_at - patience.absent_after_s)
            except IllegalTransition:
                continue  # somebody else was quicker


def _settle(
    ledger: Ledger, settings: Settings, row: JobRow, history: list[dict], absent_before: float
) -> None:
    attempt = row.submission
    assert attempt is not None
    prompt = json.loads(row.payload)["prompt"]
    found = [
        item["request_id"]
        for item in history
        if item["json_input"]["prompt"] == prompt and item["json_input"].get("seed") == attempt.seed
    ]
    if found:
        there = ticket_for(settings.queue_url, row.endpoint, found[0])
        ledger.find(
            row.job_id,
            Ticket(there.request_id, there.status_url, there.response_url, there.cancel_url),
            why="found in the history",
        )
    elif (attempt.sent_ms or 0) / 1000 < absent_before:
        ledger.declare_absent(row.job_id, why="not in the history, and too late to turn up")


def _history(settings: Settings, endpoints: set[str]) -> list[dict]:
    """Read every page."""
    there, items, cursor = Provider(settings.queue_url, 0), [], ""
    ids = "&".join(f"endpoint_id={endpoint}" for endpoint in sorted(endpoints))
    while True:
        path = f"/v1/models/requests/by-endpoint?{ids}&limit=100&expand=payloads&cursor={cursor}"
        page = there.call("GET", path)
        items += page["items"]
        if not page["has_more"]:
            return items
        cursor = page["next_cursor"]
