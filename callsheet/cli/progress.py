"""How a run goes, on standard error: a live display in a terminal, quiet lines elsewhere.

It reads the ledger beside the run, so it shows what is true, whoever did it.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from callsheet.ledger import HOLDS_SLOT, Ledger, State, Tally
from callsheet.settings import Settings
from pricing.money import usd_rounded_up

REFRESH_S = 0.25
QUIET_LINE_EVERY_S = 10.0
ALSO = {State.UNKNOWN: "unknown", State.CANCELLED: "cancelled", State.SKIPPED_BUDGET: "left out"}
"""Said only where there are some."""


@dataclass(frozen=True, slots=True)
class Progress:
    """What is watched: a run in a ledger."""

    settings: Settings
    run_id: str


@contextmanager
def show(progress: Progress) -> Iterator[None]:
    """Show the run's progress while inside; a last line is always written."""
    ended = threading.Event()
    painter = _paint_live if sys.stderr.isatty() else _paint_lines
    thread = threading.Thread(target=_watch, args=(progress, ended, painter), daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(timeout=5)


def _watch(progress: Progress, ended: threading.Event, painter: object) -> None:
    with Ledger.open(progress.settings.ledger) as ledger:
        cap_nano = _cap(ledger, progress.run_id)
        assert callable(painter)
        painter(lambda: ledger.tally(progress.run_id), cap_nano, ended)


def _cap(ledger: Ledger, run_id: str) -> int | None:
    mine = (cap.limit_nano for cap in ledger.caps() if (cap.scope, cap.key) == ("run", run_id))
    return next(mine, None)


def _paint_lines(tally: object, cap_nano: int | None, ended: threading.Event) -> None:
    assert callable(tally)
    begun, last = time.monotonic(), ""
    while True:
        over = ended.wait(QUIET_LINE_EVERY_S)
        line = in_words(tally(), cap_nano, time.monotonic() - begun)
        if line != last:
            sys.stderr.write(line + "\n")
            sys.stderr.flush()
            last = line
        if over:
            return


def _paint_live(tally: object, cap_nano: int | None, ended: threading.Event) -> None:
    from rich.console import Console  # noqa: PLC0415 -- only where there is a terminal
    from rich.live import Live  # noqa: PLC0415
    from rich.progress_bar import ProgressBar  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    assert callable(tally)
    begun = time.monotonic()

    def picture() -> Table:
        now: Tally = tally()
        table = Table.grid(padding=(0, 1))
        table.add_row(ProgressBar(total=max(1, now.jobs), completed=now.finished, width=40))
        table.add_row(in_words(now, cap_nano, time.monotonic() - begun))
        return table

    with Live(picture(), console=Console(stderr=True), refresh_per_second=4, transient=False) as live:
        while not ended.wait(REFRESH_S):
            live.update(picture())
        live.update(picture())


def in_words(tally: Tally, cap_nano: int | None, elapsed_s: float) -> str:
    """Say where a run stands: done, running, waiting, failed; spent, held, cap; time left."""
    counts = tally.counts
    done = counts.get(State.SUCCEEDED, 0) + counts.get(State.ALREADY_MADE, 0)
    running = sum(counts.get(state, 0) for state in HOLDS_SLOT - {State.UNKNOWN})
    parts = [
        f"{done}/{tally.jobs} done",
        f"{running} running",
        f"{counts.get(State.PENDING, 0)} waiting",
        f"{counts.get(State.FAILED, 0)} failed",
        *(f"{counts[state]} {word}" for state, word in ALSO.items() if counts.get(state)),
        f"spent {usd_rounded_up(tally.spent_nano)}",
        f"held {usd_rounded_up(tally.held_nano)}",
    ]
    if tally.frozen:
        parts.append("FROZEN by a bill above its hold")
    if cap_nano is not None:
        parts.append(f"cap {usd_rounded_up(cap_nano)}")
    if (left_s := time_left_s(tally, elapsed_s)) is not None:
        parts.append(f"about {left_s / 60:.0f} min left" if left_s > 90 else f"about {left_s:.0f} s left")
    return ", ".join(parts)


def time_left_s(tally: Tally, elapsed_s: float) -> float | None:
    """Estimate the seconds that are left from the pace so far; None before anything is finished or after."""
    finished, left = tally.finished, tally.jobs - tally.finished
    return None if not finished or not left or not elapsed_s else elapsed_s / finished * left
