"""`callsheet retry`."""

from __future__ import annotations

from callsheet.cli.console import say
from callsheet.cli.options import Json, RunId, Sandbox
from callsheet.cli.running import early_server, run_flow
from callsheet.cli.runs import chosen_run, run_settings
from callsheet.engine.session import settings_for
from callsheet.ledger import Ledger, State

AGAIN = frozenset({State.FAILED, State.CANCELLED, State.SKIPPED_BUDGET})


def retry(run_id: RunId = None, *, sandbox: Sandbox = False, json: Json = False) -> int:
    """Try the failed, cancelled and left-out jobs of a run again; each try is a new purchase under the caps.

    Example: callsheet retry spring-launch-20261121-142530-3f9a
    """
    settings = run_settings(sandbox=sandbox)
    run = chosen_run(settings, run_id, latest_of_all=True)
    with Ledger.open(settings.ledger) as ledger, ledger.claim(run.run_id):
        again = [row.job_id for row in ledger.jobs(run.run_id, states=AGAIN)]
        ledger.retry(again, why="retried by a person")
    say(f"{len(again)} to try again")
    settings = settings_for(run.request)
    return run_flow(run.request, settings, early_server(settings), as_json=json)
