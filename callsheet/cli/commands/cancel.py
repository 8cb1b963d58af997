"""`callsheet cancel`."""

from __future__ import annotations

import asyncio

from callsheet.cli.console import result, say
from callsheet.cli.options import Sandbox
from callsheet.cli.runs import ChosenRun, chosen_run, run_settings
from callsheet.engine.surroundings import settings_for
from callsheet.errors import CallsheetError, IllegalTransition
from callsheet.falqueue.client import FalQueue
from callsheet.ledger import AT_FAL, JobRow, Ledger, State
from callsheet.settings import Settings


def cancel(run_id: str, *, sandbox: Sandbox = False) -> int:
    """Stop a run: nothing more is submitted, and fal is asked to drop what it has not rendered.

    What fal renders anyway is paid for; `callsheet resume` collects it.

    Example: callsheet cancel spring-launch-20261121-142530-3f9a
    """
    settings = run_settings(sandbox=sandbox)
    run = chosen_run(settings, run_id)
    with Ledger.open(settings.ledger) as ledger:
        ledger.request_stop(run.run_id)
        waiting = ledger.jobs(run.run_id, states={State.PENDING})
        cancelled = sum(_cancelled(ledger, row) for row in waiting)
        at_fal = ledger.jobs(run.run_id, states=AT_FAL)
    result(f"{cancelled} cancelled before they were submitted")
    if at_fal:
        asyncio.run(_ask_fal(settings_for(run.request), run, at_fal))
    return 0


def _cancelled(ledger: Ledger, row: JobRow) -> bool:
    """Cancel a job; False where the run that is still going on has moved it meanwhile."""
    try:
        ledger.cancel(row.job_id, why="cancelled by a person")
    except IllegalTransition:
        return False
    return True


async def _ask_fal(settings: Settings, run: ChosenRun, rows: list[JobRow]) -> None:
    again = f"callsheet resume {run.run_id}" + (" --sandbox" if run.request.sandbox else "")
    async with FalQueue(settings) as queue:
        for row in rows:
            if row.ticket is None:
                continue
            try:
                outcome = await queue.cancel(queue.ticket(row.endpoint, row.ticket.request_id))
            except CallsheetError as error:
                outcome_text = str(error)
            else:
                outcome_text = outcome.replace("_", " ")
            say(f"{row.custom_id}: {outcome_text}")
    result(f"{len(rows)} asked to stop at fal; `{again}` reads how they ended")
