"""Where a run stands, in one line: its jobs by state, its money and the nearest cap."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from callsheet.ledger import Account, Ledger, Run, State, Tally, queries
from callsheet.ledger.activity import DONE
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


@dataclass(frozen=True, slots=True)
class Before:
    """The jobs of a run's manifest that are not its own: `made` by earlier runs, or `left` to other runs.

    `left` has the number of jobs by run. It is known of a run without jobs of its own only.
    """

    made: int = 0
    left: Mapping[str, int] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.made or self.left)

    def in_words(self) -> str:
        """Say what became of them: `all 12 already made`, `10 left to run spring-1`."""
        left = [f"{count} left to run {run_id}" for run_id, count in self.left.items()]
        made = [f"{self.made} already made"] if self.made else []
        return ", ".join([*made, *left]) if left else f"all {self.made} already made"


NOTHING_BEFORE = Before()


def in_words(
    tally: Tally,
    cap: Account | None,
    *,
    before: Before = NOTHING_BEFORE,
    position: int | None = None,
) -> str:
    """Say where a run stands: done, rendering, queued at fal, waiting, failed; spent, held, the nearest cap.

    `position` is that of the first job that fal has queued, where it is known.
    """
    counts = tally.counts
    done = counts.get(State.SUCCEEDED, 0) + counts.get(State.ALREADY_MADE, 0)
    waiting = counts.get(State.PENDING, 0) + counts.get(State.HELD, 0)
    parts = [before.in_words()]
    if tally.jobs or not before:
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


def before_run(ledger: Ledger, run: Run, tally: Tally) -> Before:
    """Return what became of the jobs of a run's manifest that are not its own; nothing without its folder."""
    manifest = Path(run.out) / "manifest.parquet"
    if not manifest.exists():
        return NOTHING_BEFORE
    import pyarrow as pa  # noqa: PLC0415 -- only where there is a file to read
    import pyarrow.parquet as pq  # noqa: PLC0415 -- as above

    try:
        others = int(pq.read_metadata(manifest).num_rows) - tally.jobs
        left = _left(ledger, run) if others and not tally.jobs else {}
    except (OSError, pa.ArrowInvalid):
        return NOTHING_BEFORE
    return Before(others - sum(left.values()), left)


def _left(ledger: Ledger, run: Run) -> dict[str, int]:
    """Count the jobs of a run's manifest that unfinished runs are to make, by run."""
    from manifests.plan_file import (  # noqa: PLC0415 -- only for a run without jobs of its own
        ROWS_FILE,
        fingerprints_in,
    )

    rows_file = Path(run.out) / ROWS_FILE
    if not rows_file.is_file():
        return {}
    prints = list(fingerprints_in(rows_file))
    found = ledger.do(queries.paid_for, run.campaign, prints)
    there = (found[each] for each in prints if each in found)
    return dict(Counter(row.run_id for row in there if row.state not in DONE))
