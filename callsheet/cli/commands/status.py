"""`callsheet status`: where one run stands. It loads the ledger and little else."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Annotated

from callsheet.cli.options import Json, Sandbox, UnfinishedRunId, option, run_settings
from callsheet.cli.output import document, result, show_line
from callsheet.cli.views.run_line import before_run, in_words
from callsheet.errors import PricesChanged
from callsheet.ledger import (
    JobRow,
    Ledger,
    State,
    admission,
    finishing,
    parts,
    queries,
    wall_clock_ms,
)
from callsheet.report.rows import iso_utc, minute_utc
from callsheet.wording import command, number_of
from pricing.money import usd_text
from pricing.quotes import DRAFT_KEPT_MS

NAMED = 20

Follow = Annotated[bool, option("STATUS_WATCH", "Show it until the run ends or Ctrl-C", "--watch", "-w")]


def status(
    run_id: UnfinishedRunId = None, *, watch: Follow = False, sandbox: Sandbox = False, json: Json = False
) -> int:
    """Show the state of a run (default: the latest unfinished run, or the latest).

    With --watch until the run ends or Ctrl-C, from any machine that reaches
    the ledger.

    Example: callsheet status --json
    """
    if watch:
        from callsheet.cli.views.progress import watch_run  # noqa: PLC0415 -- loads the engine

        watch_run(run_settings(sandbox=sandbox), run_id)
    with Ledger.open(run_settings(sandbox=sandbox).ledger) as ledger:
        run = ledger.shown_run(run_id)
        others = [
            each.run_id
            for each in ledger.do(queries.runs)
            if each.closed_ms is None and each.run_id != run.run_id
        ]
        tally = ledger.do(queries.tally, run.run_id)
        stopped_by = ledger.do(parts.stops, [run.run_id]).get(run.run_id, "")
        rendered = ledger.do(queries.jobs, run.run_id, states={State.RENDERED})
        queued = ledger.do(queries.jobs, run.run_id, states={State.IN_QUEUE})
        accounts = ledger.do(admission.balances, scope="run", key=run.run_id)
        before = before_run(ledger, run, tally)
        drafts = {
            each: [at_ms + DRAFT_KEPT_MS for at_ms in sent]
            for each, sent in ledger.do(finishing.open_drafts).items()
        }
    position = _position(queued, sandbox=sandbox) if queued else None
    if json:
        document(
            {
                "run_id": run.run_id,
                "dir": run.out,
                "queue_position": position,
                "finished": run.closed_ms is not None,
                "statuses": {state.value: count for state, count in tally.counts.items()},
                "held_usd": usd_text(tally.held_nano),
                "spent_usd": usd_text(tally.spent_nano),
                "frozen": tally.frozen,
                "stopped_by": stopped_by,
                "waits_for": [
                    {"custom_id": row.custom_id, "request_id": _request(row), "why": _why(row)}
                    for row in rendered
                ],
                "other_unfinished": others,
                "drafts_until": {each: iso_utc(min(until)) for each, until in drafts.items()},
            }
        )
        return 0
    result(f"{run.run_id}, folder {run.out}")
    show_line(in_words(tally, next(iter(accounts), None), before=before, position=position))
    if stopped_by:
        show_line(f"stopped: {stopped_by}")
    for row in rendered[:NAMED]:
        show_line(f"waiting for {row.label}, request {_request(row)}: {_why(row)}")
    resume = f"`{command('resume', run.run_id, sandbox=sandbox)}`"
    if rendered:
        more = f"and {len(rendered) - NAMED} more; " if len(rendered) > NAMED else ""
        result(f"{more}if no process is working on it, {resume} downloads what is available")
    elif run.closed_ms is None:
        if stopped_by.startswith(PricesChanged.says):
            resume = f"`{command('resume', run.run_id, '--accept-prices', sandbox=sandbox)}`"
        result(f"not finished; if no process is working on it, {resume} continues it")
    for line in clock_lines(drafts, wall_clock_ms(), sandbox=sandbox):
        show_line(line)
    for other in others:
        result(f"also unfinished: {other}")
    return 0


def _request(row: JobRow) -> str:
    return row.ticket.request_id if row.ticket else ""


def _why(row: JobRow) -> str:
    """Say what a rendered job waits for: the last error, else the next step."""
    if row.error:
        return row.error
    return "paid for, not downloaded yet" if row.booked else "rendered, its result was not read yet"


def _position(queued: list[JobRow], *, sandbox: bool) -> int | None:
    from callsheet.cli.views.watch import first_position  # noqa: PLC0415 -- loads the client

    return asyncio.run(first_position(queued, sandbox=sandbox))


def clock_lines(clocks: Mapping[str, list[int]], now_ms: int, *, sandbox: bool = False) -> list[str]:
    """Say of each run how many drafts can be finished and until when, and how many cannot any more.

    `clocks` has the deadlines (Unix milliseconds) of every run's drafts that were not finished.
    """
    lines = []
    for run_id, deadlines in clocks.items():
        left = [each for each in deadlines if each > now_ms]
        if left:
            finish = command("finish", run_id, "--keep", "FILE", sandbox=sandbox)
            lines.append(
                f"{number_of(len(left), 'draft')} can be finished, "
                f"the first until {minute_utc(min(left))}: `{finish}`"
            )
        if late := len(deadlines) - len(left):
            lines.append(
                f"{number_of(late, 'draft')} of {run_id} can no longer be finished: "
                "fal keeps a draft for seven days"
            )
    return lines
