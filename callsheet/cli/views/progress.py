"""A run's progress on standard error: a live display in a terminal, a line now and then elsewhere."""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console, Group
from rich.live import Live

from callsheet.cli.logs import MESSAGES, writes_json
from callsheet.cli.output import note, say
from callsheet.cli.views.live import ALSO, cap_label, live_lines
from callsheet.cli.views.watch import Moment, Watch
from callsheet.engine.context import RunContext
from callsheet.engine.request import RunRequest
from callsheet.engine.run import run_in
from callsheet.errors import CallsheetError
from callsheet.ledger import Account, Ledger, Run, State, Tally, queries
from callsheet.settings import Settings
from pricing import render_times
from pricing.money import usd_rounded_up

REFRESH_S = 1.0
QUIET_LINE_EVERY_S = 10.0
LOOK_S = 1.0


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
    if not MESSAGES.isEnabledFor(logging.INFO):  # --quiet
        return
    try:
        with Ledger.open(ctx.settings.ledger) as ledger:
            watch = Watch(
                ledger,
                ctx.run,
                slots=ctx.settings.concurrency,
                speed=ctx.request.speed if ctx.request.sandbox else 1.0,
                made=made_before(ctx.run, ledger.do(queries.tally, ctx.run.run_id)),
                polled=ctx.state.polled,
                trouble=lambda: ctx.state.trouble,
            )
            (_paint_live if _is_terminal() else paint_lines)(watch.look, ended)
    except CallsheetError as error:
        say(f"cannot show the progress: {error}")


def watch_run(settings: Settings, run_id: str | None) -> None:
    """Show a run of the ledger until it ends, or until Ctrl-C, whoever carries it out.

    Without an id it is the latest unfinished run, else the latest. Raises UsageError where there is none.
    """
    ended = threading.Event()
    with Ledger.open(settings.ledger) as ledger:
        unfinished = ledger.do(queries.latest_unfinished) if run_id is None else None
        run = run_in(ledger, unfinished.run_id if unfinished else run_id, latest_of_all=True)
        request = RunRequest.of(run)
        watch = Watch(
            ledger,
            run,
            slots=settings.concurrency,
            speed=request.speed if request.sandbox else 1.0,
            made=made_before(run, ledger.do(queries.tally, run.run_id)),
        )

        def look() -> Moment:
            if ledger.do(queries.run, run.run_id).closed_ms is not None:
                ended.set()
            return watch.look()

        with suppress(KeyboardInterrupt):
            look()  # a run that has ended already is shown at once
            (_paint_live if _is_terminal() else paint_lines)(look, ended)


def _is_terminal() -> bool:
    """Say whether a display can be drawn: not for JSON lines, nor where the cursor cannot be moved."""
    return (
        sys.stderr.isatty()
        and not writes_json()
        and os.environ.get("TERM", "dumb") not in {"dumb", "unknown", ""}
    )


def paint_lines(look: Callable[[], Moment], ended: threading.Event) -> None:
    """Write a line every ten seconds where something has moved, and a last one."""
    last = ""
    due_s = time.monotonic() + QUIET_LINE_EVERY_S
    while True:
        over = ended.wait(LOOK_S)
        if not over and time.monotonic() < due_s:
            continue
        due_s = time.monotonic() + QUIET_LINE_EVERY_S
        if (line := line_of(look())) != last:
            note(line)
            last = line
        if over:
            return


def _paint_live(look: Callable[[], Moment], ended: threading.Event) -> None:
    console = Console(stderr=True)
    plain = console.options.ascii_only

    def picture(*, over: bool = False) -> Group:
        width, height = console.size
        return Group(*live_lines(look(), width=width - 1, height=height, plain=plain, over=over))

    with Live(picture(), console=console, auto_refresh=False) as live:
        while not ended.wait(REFRESH_S):
            live.update(picture(), refresh=True)
        live.update(picture(over=True), refresh=True)


def made_before(run: Run, tally: Tally) -> int:
    """Return how many jobs of a run's manifest earlier runs made; 0 where its folder is gone."""
    try:
        return int(pq.read_metadata(Path(run.out) / "manifest.parquet").num_rows) - tally.jobs
    except (OSError, pa.ArrowInvalid):
        return 0


def line_of(now: Moment) -> str:
    """Say in one line where a run stands, how fast it goes and how long the rest takes."""
    line = in_words(now.tally, now.cap, made=now.made, position=now.position)
    if now.rate_per_min is not None:
        line += f", {now.rate_per_min:.3g}/min"
    return line if now.left_s is None else f"{line}, about {render_times.in_words(now.left_s)} left"


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
