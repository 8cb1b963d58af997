"""`callsheet resume`."""

from __future__ import annotations

from callsheet.cli.options import AcceptPrices, Json, Sandbox, UnfinishedRunId
from callsheet.cli.running import own_server_for, run_flow
from callsheet.cli.runs import chosen_run, refuse_busy, run_settings
from callsheet.engine.surroundings import settings_for


def resume(
    run_id: UnfinishedRunId = None,
    *,
    accept_prices: AcceptPrices = False,
    sandbox: Sandbox = False,
    json: Json = False,
) -> int:
    """Go on with a run that was interrupted. Nothing is bought a second time.

    Example: callsheet resume spring-20261121-090000-a1b2
    """
    run = chosen_run(run_settings(sandbox=sandbox), run_id)
    refuse_busy(run_settings(sandbox=sandbox), run.run_id)
    request = run.request.model_copy(update={"accept_prices": accept_prices})
    settings = settings_for(request)
    return run_flow(request, settings, own_server_for(settings, request), as_json=json)
