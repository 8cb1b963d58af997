"""A run's progress on standard error: a live display in a terminal, a line now and then elsewhere."""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from rich.console import Console, Group
from rich.live import Live

from callsheet.cli.logs import MESSAGES, writes_json
from callsheet.cli.output import note, say
from callsheet.cli.views.live import live_lines
from callsheet.cli.views.run_line import before_run, in_words
from callsheet.cli.views.watch import Moment, Watch
from callsheet.engine.context import RunContext
from callsheet.engine.request import RunRequest
from callsheet.errors import CallsheetError
from callsheet.ledger import Ledger, Run, queries
from callsheet.settings import Settings
from pricing import render_times

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
            watch = _watching(ledger, ctx.run, ctx.request, ctx.settings)
            watch.polled, watch.trouble = ctx.state.polled, lambda: ctx.state.trouble
            _paint(watch.look, ended)
    except CallsheetError as error:
        say(f"cannot show the progress: {error}")


def watch_run(settings: Settings, run_id: str | None) -> None:
    """Show a run of the ledger until it ends, or until Ctrl-C, whoever carries it out.

    Without an id it is the latest unfinished run, else the latest. Raises UsageError where there is none.
    """
    ended = threading.Event()
    with Ledger.open(settings.ledger) as ledger:
        run = ledger.shown_run(run_id)
        watch = _watching(ledger, run, RunRequest.of(run), settings)

        def look() -> Moment:
            if ledger.do(queries.run, run.run_id).closed_ms is not None:
                ended.set()
            return watch.look()

        with suppress(KeyboardInterrupt):
            look()  # a run that has ended already is shown at once
            _paint(look, ended)


def _watching(ledger: Ledger, run: Run, request: RunRequest, settings: Settings) -> Watch:
    return Watch(
        ledger,
        run,
        slots=settings.concurrency,
        speed=request.speed if request.sandbox else 1.0,
        before=before_run(ledger, run, ledger.do(queries.tally, run.run_id)),
    )


def _paint(look: Callable[[], Moment], ended: threading.Event) -> None:
    """Draw a display where one can be drawn: not for JSON lines, nor where the cursor cannot be moved."""
    can_move = os.environ.get("TERM", "dumb") not in {"dumb", "unknown", ""}
    is_live = sys.stderr.isatty() and can_move and not writes_json()
    (_paint_live if is_live else paint_lines)(look, ended)


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


def line_of(now: Moment) -> str:
    """Say in one line where a run stands, how fast it goes and how long the rest takes."""
    line = in_words(now.tally, now.cap, before=now.before, position=now.position)
    if now.rate_per_min is not None:
        line += f", {now.rate_per_min:.3g}/min"
    return line if now.left_s is None else f"{line}, about {render_times.in_words(now.left_s)} left"
