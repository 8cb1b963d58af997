"""Where a run stands, in one line: its jobs by state, its money and the nearest cap."""

from __future__ import annotations

from pathlib import Path

from callsheet.ledger import Account, Run, State, Tally
from pricing.budgets import scope_label
from pricing.money import usd_rounded_up

ALSO = {
    State.SUBMITTING: "being sent",
    State.RENDERED: "to fetch",
    State.UNKNOWN: "unknown",
    State.CANCELLED: "cancelled",
    State.SKIPPED_BUDGET: "skipped",
}
"""Said only where there are some."""


def in_words(tally: Tally, cap: Account | None, *, made: int = 0, position: int | None = None) -> str:
    """Say where a run stands: done, rendering, queued at fal, waiting, failed; spent, held, the nearest cap.

    `position` is that of the first job that fal has queued, where it is known.
    """
    counts = tally.counts
    done = counts.get(State.SUCCEEDED, 0) + counts.get(State.ALREADY_MADE, 0)
    waiting = counts.get(State.PENDING, 0) + counts.get(State.HELD, 0)
    parts = [f"all {made} already made"]
    if tally.jobs or not made:
        failed = counts.get(State.FAILED, 0)
        parts = [f"{done}/{tally.jobs} done", f"{counts.get(State.IN_PROGRESS, 0)} rendering"]
        if queued := counts.get(State.IN_QUEUE, 0):
            where = "" if position is None else f" (the first at position {position:,})"
            parts.append(f"{queued} queued at fal{where}")
        parts += [f"{waiting} waiting", f"{failed} failed"]
    parts += [
        *(f"{counts[state]} {word}" for state, word in ALSO.items() if counts.get(state)),
        f"spent {usd_rounded_up(tally.spent_nano)}",
        f"held {usd_rounded_up(tally.held_nano)}",
    ]
    if tally.frozen:
        parts.append("FROZEN by a bill above its hold")
    if cap is not None and cap.limit_nano is not None:
        left = usd_rounded_up(max(0, cap.left_nano or 0))
        parts.append(f"{left} left of the {usd_rounded_up(cap.limit_nano)} of {cap_label(cap)}")
    return ", ".join(parts)


def cap_label(cap: Account) -> str:
    """Name whose cap it is: `this run`, `campaign spring per day`."""
    if cap.ref.scope == "run":
        return "this run"
    kind = cap.ref.window_kind
    label = scope_label(cap.ref.scope, cap.ref.key)
    return label if kind == "total" else f"{label} per {kind}"


def made_before(run: Run, tally: Tally) -> int:
    """Return how many jobs of a run's manifest earlier runs made; 0 where its folder is gone."""
    manifest = Path(run.out) / "manifest.parquet"
    if not manifest.exists():
        return 0
    import pyarrow as pa  # noqa: PLC0415 -- only where there is a file to read
    import pyarrow.parquet as pq  # noqa: PLC0415 -- as above

    try:
        return int(pq.read_metadata(manifest).num_rows) - tally.jobs
    except (OSError, pa.ArrowInvalid):
        return 0
