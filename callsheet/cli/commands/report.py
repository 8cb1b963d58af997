"""`callsheet report`."""

from __future__ import annotations

from pathlib import Path

from callsheet.cli.options import Json, RunId, Sandbox
from callsheet.cli.output import document, result
from callsheet.cli.runs import run_settings
from callsheet.engine.results import write_report
from callsheet.engine.run import find_run
from callsheet.ledger import Ledger


def report(run_id: RunId = None, *, sandbox: Sandbox = False, json: Json = False) -> int:
    """Write a run's results, summary and report page again from the ledger.

    Example: callsheet report spring-20261121-090000-a1b2
    """
    settings = run_settings(sandbox=sandbox)
    run = find_run(settings, run_id, latest_of_all=True)
    with Ledger.open(settings.ledger) as ledger:
        summary = write_report(ledger, run)
    if json:
        document(summary)
    else:
        result(str(Path(run.out) / "report.html"))
    return 0
