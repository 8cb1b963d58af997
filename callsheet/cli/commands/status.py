"""`callsheet status`."""

from __future__ import annotations

from callsheet.cli.options import Json, Sandbox, UnfinishedRunId
from callsheet.cli.output import document, result, show_line
from callsheet.cli.runs import run_settings
from callsheet.cli.views.progress import in_words, made_before
from callsheet.engine.request import command
from callsheet.engine.run import run_in
from callsheet.ledger import JobRow, Ledger, State, admission, queries
from pricing.money import usd_text

NAMED = 20


def status(run_id: UnfinishedRunId = None, *, sandbox: Sandbox = False, json: Json = False) -> int:
    """Show the state of a run (default: the latest unfinished run, or the latest).

    Example: callsheet status --json
    """
    with Ledger.open(run_settings(sandbox=sandbox).ledger) as ledger:
        unfinished = ledger.do(queries.latest_unfinished) if run_id is None else None
        run = run_in(ledger, unfinished.run_id if unfinished else run_id, latest_of_all=True)
        others = [
            each.run_id
            for each in ledger.do(queries.runs)
            if each.closed_ms is None and each.run_id != run.run_id
        ]
        tally = ledger.do(queries.tally, run.run_id)
        rendered = (
            ledger.do(queries.jobs, run.run_id, states={State.RENDERED})
            if State.RENDERED in tally.counts
            else []
        )
        accounts = ledger.do(admission.balances, scope="run", key=run.run_id)
    cap_nano = accounts[0].limit_nano if accounts else None
    if json:
        document(
            {
                "run_id": run.run_id,
                "dir": run.out,
                "finished": run.closed_ms is not None,
                "statuses": {state.value: count for state, count in tally.counts.items()},
                "held_usd": usd_text(tally.held_nano),
                "spent_usd": usd_text(tally.spent_nano),
                "frozen": tally.frozen,
                "waits_for": [
                    {"custom_id": row.custom_id, "request_id": _request(row), "why": _why(row)}
                    for row in rendered
                ],
                "other_unfinished": others,
            }
        )
        return 0
    result(f"{run.run_id}, folder {run.out}")
    show_line(in_words(tally, cap_nano, 0.0, made=made_before(run, tally)))
    for row in rendered[:NAMED]:
        show_line(f"waiting for {row.custom_id} (request {_request(row)}): {_why(row)}")
    resume = f"`{command('resume', run.run_id, sandbox=sandbox)}`"
    if rendered:
        more = f"and {len(rendered) - NAMED} more; " if len(rendered) > NAMED else ""
        result(f"{more}{resume} downloads what is available")
    elif run.closed_ms is None:
        result(f"not finished; if no process is working on it, {resume} continues it")
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
