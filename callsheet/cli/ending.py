"""The last words of a run: what was bought, what is left, and the command that goes on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

AT_FAL = ("submitting", "in_queue", "in_progress")
"""Where a job may still end well or badly: fal did not say in time."""

NOT_SENT = ("pending", "held")
NOT_BOUGHT = frozenset({*NOT_SENT, "skipped_budget", "already_made"})


def last_words(summary: Mapping[str, Any]) -> list[str]:
    """Say what is not finished, from the summary of a run."""
    statuses = {status: count for status, count in summary["statuses"].items() if count}
    again = f"`callsheet resume {summary['run_id']}{' --sandbox' if summary['sandbox'] else ''}`"
    waiting = sum(statuses.get(status, 0) for status in NOT_SENT)
    at_fal = sum(statuses.get(status, 0) for status in AT_FAL)
    rendered = statuses.get("rendered", 0)
    lines = []
    if at_fal:
        lines.append(f"{at_fal} at fal, which goes on with them and is paid for it; {again} collects them")
    if rendered:
        lines.append(f"{rendered} rendered and paid for; {again} fetches the files")
    if waiting:
        nothing = "nothing was bought; " if not statuses.keys() - NOT_BOUGHT else ""
        lines.append(f"{nothing}{waiting} not sent; {again} goes on with them")
    return lines
