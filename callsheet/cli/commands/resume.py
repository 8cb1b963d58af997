"""`callsheet resume`."""

from __future__ import annotations

from callsheet.cli.options import Json, RunId, Sandbox
from callsheet.cli.running import early_server, run_flow
from callsheet.cli.runs import chosen_run, run_settings
from callsheet.engine.session import settings_for


def resume(run_id: RunId = None, *, sandbox: Sandbox = False, json: Json = False) -> int:
    """Go on with a run that was interrupted. Nothing is bought a second time.

    Example: callsheet resume spring-launch-20261121-142530-3f9a
    """
    run = chosen_run(run_settings(sandbox=sandbox), run_id)
    request = run.request
    settings = settings_for(request)
    return run_flow(request, settings, early_server(settings), as_json=json)
