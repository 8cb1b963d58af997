"""`callsheet resume`."""

from __future__ import annotations

from callsheet.cli.options import AcceptPrices, Json, Sandbox, UnfinishedRunId
from callsheet.cli.runs import refuse_busy, run_settings
from callsheet.cli.views.run import run_to_its_end
from callsheet.engine.request import settings_for
from callsheet.engine.run import continued, find_run


def resume(
    run_id: UnfinishedRunId = None,
    *,
    accept_prices: AcceptPrices = False,
    sandbox: Sandbox = False,
    json: Json = False,
) -> int:
    """Continue an interrupted run. Nothing is bought twice.

    Example: callsheet resume spring-20261121-090000-a1b2
    """
    run = find_run(run_settings(sandbox=sandbox), run_id)
    refuse_busy(run_settings(sandbox=sandbox), run.run_id)
    request = continued(run, accept_prices=accept_prices)

    async def open_run() -> str:
        return run.run_id

    return run_to_its_end(request, settings_for(request), open_run, as_json=json)
