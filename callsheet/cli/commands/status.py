"""`callsheet status`."""

from __future__ import annotations

from callsheet.cli.console import document, result
from callsheet.cli.options import Json, RunId, Sandbox
from callsheet.cli.progress import in_words
from callsheet.cli.runs import run_in, run_settings
from callsheet.cli.terminal import show_line
from callsheet.ledger import Ledger
from pricing.money import usd_text


def status(run_id: RunId = None, *, sandbox: Sandbox = False, json: Json = False) -> int:
    """Show where a run stands.

    Example: callsheet status --json
    """
    with Ledger.open(run_settings(sandbox=sandbox).ledger) as ledger:
        unfinished = ledger.latest_unfinished() if run_id is None else None
        run = run_in(ledger, unfinished.run_id if unfinished else run_id, latest_of_all=True)
        others = [
            each.run_id for each in ledger.runs() if each.closed_ms is None and each.run_id != run.run_id
        ]
        tally = ledger.tally(run.run_id)
        accounts = ledger.balances(scope="run", key=run.run_id)
    if json:
        document(
            {
                "run_id": run.run_id,
                "dir": run.run.out,
                "finished": run.run.closed_ms is not None,
                "statuses": {state.value: count for state, count in tally.counts.items()},
                "held_usd": usd_text(tally.held_nano),
                "spent_usd": usd_text(tally.spent_nano),
                "frozen": tally.frozen,
                "other_unfinished": others,
            }
        )
        return 0
    result(f"{run.run_id} in {run.run.out}")
    show_line(in_words(tally, accounts[0].limit_nano if accounts else None, 0.0))
    for other in others:
        result(f"also unfinished: {other}")
    return 0
