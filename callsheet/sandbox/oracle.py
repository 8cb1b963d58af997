"""The oracle: what was really accepted, rendered and billed, for tests and reports to compare with."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from callsheet.sandbox.faults import FaultBook
from callsheet.sandbox.record import Record


def account_of(records: list[Record], faults: FaultBook) -> dict[str, Any]:
    """Return the whole truth as a JSON document. Money in nano-dollars, times in Unix seconds."""
    return {
        "accepted": [{**asdict(record), "status": record.status} for record in records],
        "accepted_count": len(records),
        "cost_nano": sum(record.cost_nano for record in records),
        "open_max": most_at_once((record.submitted_at, record.completed_at) for record in records),
        "in_progress_max": most_at_once(
            (record.started_at, record.completed_at) for record in records if record.started_at is not None
        ),
        "faults": [fault.describe() for fault in faults.armed],
        "fired": dict(faults.fired),
    }


def most_at_once(spans: Iterable[tuple[float | None, float | None]]) -> int:
    """Return how many of the spans [start, end) overlap at most; an end of None is still to come."""
    edges = [(moment, step) for start, end in spans for moment, step in ((start, 1), (end, -1))]
    dated = [(moment, step) for moment, step in edges if moment is not None]
    level = highest = 0
    # At one instant ends come before starts: the place that was given back is the one that is taken.
    for _, step in sorted(dated):
        level += step
        highest = max(highest, level)
    return highest
