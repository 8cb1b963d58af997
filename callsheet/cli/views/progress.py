"""A run's progress on standard error: a live display in a terminal, a line now and then elsewhere.

The figures come from the ledger, so they include what other processes did. What keeps jobs from being sent
comes from the run.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from callsheet.cli.logs import printable
from callsheet.cli.output import note, say
from callsheet.engine.context import RunContext
from callsheet.errors import CallsheetError
from callsheet.ledger import AT_FAL, Ledger, Run, State, Tally, admission, queries
from pricing.money import usd_rounded_up

REFRESH_S = 0.25
QUIET_LINE_EVERY_S = 10.0
LOOK_S = 1.0
BAR_WIDTH = 40
ALSO = {
    State.SUBMITTING: "being sent",
    State.RENDERED: "to fetch",
    State.UNKNOWN: "unknown",
    State.CANCELLED: "cancelled",
    State.SKIPPED_BUDGET: "skipped",
}
"""Said only where there are some."""


@dataclass(frozen=True, slots=True)
class View:
    """A run as it is being looked at, since `begun_s` of the monotonic clock with `before` jobs finished.

    `made` jobs of its manifest were made by earlier runs.
    """

    tally: Callable[[], Tally]
    trouble: Callable[[], str]
    cap_nano: int | None
    before: int = 0
    made: int = 0
    begun_s: float = field(default_factory=time.monotonic)

    def line(self, now: Tally) -> str:
        """Say how it goes now."""
        elapsed_s = time.monotonic() - self.begun_s
        return in_words(now, self.cap_nano, elapsed_s, before=self.before, made=self.made)


@contextmanager
def show_progress(ctx: RunContext) -> Iterator[None]:
    """Show the run's progress while inside; a last line is always written."""
    ended = threading.Event()
    thread = threading.Thread(target=_watch, args=(ctx, ended), daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        # Waiting without the event loop would hold up the last commits of the run.
        thread.join(timeout=5)


def _watch(ctx: RunContext, ended: threading.Event) -> None:
    is_live = sys.stderr.isatty() and os.environ.get("TERM", "dumb") not in {"dumb", "unknown", ""}
    run_id = ctx.run.run_id
    try:
        with Ledger.open(ctx.settings.ledger) as ledger:
            view = View(
                lambda: ledger.do(queries.tally, run_id),
                lambda: ctx.state.trouble,
                _cap(ledger, run_id),
                before=ledger.do(queries.tally, run_id).finished,
                made=made_before(ctx.run, ledger.do(queries.tally, run_id)),
            )
            (_paint_live if is_live else paint_lines)(view, ended)
    except CallsheetError as error:
        say(f"cannot show the progress: {error}")


def _cap(ledger: Ledger, run_id: str) -> int | None:
    mine = (cap.limit_nano for cap in ledger.do(admission.caps) if (cap.scope, cap.key) == ("run", run_id))
    return next(mine, None)


def paint_lines(view: View, ended: threading.Event) -> None:
    """Write a line every ten seconds where something has moved, and a last one."""
    last = ""
    due_s = view.begun_s + QUIET_LINE_EVERY_S
    while True:
        over = ended.wait(LOOK_S)
        if not over and time.monotonic() < due_s:
            continue
        due_s = time.monotonic() + QUIET_LINE_EVERY_S
        if (line := view.line(view.tally())) != last:
            note(line)
            last = line
        if over:
            return


def _paint_live(view: View, ended: threading.Event) -> None:
    console = Console(stderr=True)

    def picture() -> Table:
        now = view.tally()
        width = min(BAR_WIDTH, console.width - 1)
        table = Table.grid(padding=(0, 1))
        table.add_row(ProgressBar(total=max(1, now.jobs), completed=now.finished, width=width))
        table.add_row(Text(view.line(now)))
        if view.trouble() and not ended.is_set():
            table.add_row(Text(printable(view.trouble())))
        return table

    with Live(picture(), console=console, refresh_per_second=4, transient=False) as live:
        while not ended.wait(REFRESH_S):
            live.update(picture())
        live.update(picture())


def made_before(run: Run, tally: Tally) -> int:
    """Return how many jobs of a run's manifest earlier runs made; 0 where its folder is gone."""
    try:
        return int(pq.read_metadata(Path(run.out) / "manifest.parquet").num_rows) - tally.jobs
    except (OSError, pa.ArrowInvalid):
        return 0


def in_words(tally: Tally, cap_nano: int | None, elapsed_s: float, *, before: int = 0, made: int = 0) -> str:
    """Say where a run stands: done, running at fal, waiting, failed; spent, held, cap; time left.

    `before` jobs were finished when the `elapsed_s` seconds began: the pace is that of the others.
    """
    counts = tally.counts
    done = counts.get(State.SUCCEEDED, 0) + counts.get(State.ALREADY_MADE, 0)
    running = sum(counts.get(state, 0) for state in AT_FAL)
    waiting = counts.get(State.PENDING, 0) + counts.get(State.HELD, 0)
    parts = [f"all {made} already made"]
    if tally.jobs or not made:
        failed = counts.get(State.FAILED, 0)
        parts = [f"{done}/{tally.jobs} done", f"{running} running", f"{waiting} waiting", f"{failed} failed"]
    parts += [
        *(f"{counts[state]} {word}" for state, word in ALSO.items() if counts.get(state)),
        f"spent {usd_rounded_up(tally.spent_nano)}",
        f"held {usd_rounded_up(tally.held_nano)}",
    ]
    if tally.frozen:
        parts.append("FROZEN by a bill above its hold")
    if cap_nano is not None:
        parts.append(f"cap {usd_rounded_up(cap_nano)}")
    if (left_s := time_left_s(tally, elapsed_s, before=before)) is not None:
        parts.append(f"about {left_s / 60:.0f} min left" if left_s > 90 else f"about {left_s:.0f} s left")
    return ", ".join(parts)


def time_left_s(tally: Tally, elapsed_s: float, *, before: int = 0) -> float | None:
    """Estimate the seconds that are left from the pace so far; None before anything is finished or after."""
    finished, left = tally.finished - before, tally.jobs - tally.finished
    return None if finished <= 0 or not left or not elapsed_s else elapsed_s / finished * left
