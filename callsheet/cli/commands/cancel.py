"""`callsheet cancel`."""

from __future__ import annotations

import asyncio
from typing import Annotated

from cyclopts import Parameter

from callsheet.cli.options import Json, Sandbox
from callsheet.cli.output import document, result, say
from callsheet.cli.runs import chosen_run, run_settings
from callsheet.engine.surroundings import settings_for
from callsheet.errors import CallsheetError, IllegalTransition
from callsheet.ledger import AT_FAL, JobRow, Ledger, State
from callsheet.provider.client import FalQueue
from callsheet.settings import Settings

RunToStop = Annotated[str, Parameter(help="A run's id (`callsheet status` shows it)")]


def cancel(run_id: RunToStop, *, sandbox: Sandbox = False, json: Json = False) -> int:
    """Stop a run: submit nothing more, and ask fal to cancel what it has not rendered.

    fal charges for what it renders all the same; `callsheet resume` downloads it.

    Example: callsheet cancel spring-20261121-090000-a1b2
    """
    settings = run_settings(sandbox=sandbox)
    run = chosen_run(settings, run_id)
    with Ledger.open(settings.ledger) as ledger:
        ledger.request_stop(run.run_id)
        waiting = ledger.jobs(run.run_id, states={State.PENDING})
        cancelled = sum(_cancelled(ledger, row) for row in waiting)
        at_fal = ledger.jobs(run.run_id, states=AT_FAL)
    if not json:
        result(f"{cancelled} cancelled before submission")
    answers = asyncio.run(_ask_fal(settings_for(run.request), at_fal)) if at_fal else []
    if json:
        document({"run_id": run.run_id, "cancelled": cancelled, "at_fal": answers})
    elif at_fal:
        again = f"callsheet resume {run.run_id}" + (" --sandbox" if run.request.sandbox else "")
        result(f"{len(answers)} cancellations requested at fal; `{again}` collects the outcomes")
    return 0


def _cancelled(ledger: Ledger, row: JobRow) -> bool:
    """Cancel a job; False if the run, which may still be active, has changed its state."""
    try:
        ledger.cancel(row.job_id, why="cancelled by a person")
    except IllegalTransition:
        return False
    return True


async def _ask_fal(settings: Settings, rows: list[JobRow]) -> list[dict[str, str]]:
    """Ask fal to cancel each of these requests; print and return its answers."""
    answers = []
    async with FalQueue(settings) as queue:
        for row in rows:
            if row.ticket is None:
                continue
            request_id = row.ticket.request_id
            try:
                answer = (await queue.cancel(queue.ticket(row.endpoint, request_id))).replace("_", " ")
            except CallsheetError as error:
                answer = str(error)
            say(f"{row.custom_id}: {answer}")
            answers.append({"custom_id": row.custom_id, "request_id": request_id, "answer": answer})
    return answers
