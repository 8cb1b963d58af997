"""`callsheet cancel`."""

from __future__ import annotations

import asyncio
from typing import Annotated

from cyclopts import Parameter

from callsheet.cli.options import Json, Sandbox
from callsheet.cli.output import document, note, result
from callsheet.cli.runs import run_settings
from callsheet.engine.cancel import cancel_at_fal, cancel_pending
from callsheet.engine.request import command, settings_for
from callsheet.engine.run import continued, find_run
from callsheet.ledger import AT_FAL, Ledger, queries
from callsheet.provider.client import FalQueue
from callsheet.settings import Settings

RunToStop = Annotated[str, Parameter(help="A run's id (`callsheet status` shows it)")]


def cancel(run_id: RunToStop, *, sandbox: Sandbox = False, json: Json = False) -> int:
    """Stop a run: submit nothing more, and cancel what fal has not rendered.

    fal charges for what it renders all the same; `callsheet resume` downloads it.

    Example: callsheet cancel spring-20261121-090000-a1b2
    """
    settings = run_settings(sandbox=sandbox)
    run = find_run(settings, run_id)
    request = continued(run)
    with Ledger.open(settings.ledger) as ledger:
        cancelled = cancel_pending(ledger, run.run_id, "cancelled by a person")
        at_fal = ledger.do(queries.jobs, run.run_id, states=AT_FAL)
        if not json:
            result(f"{cancelled} cancelled before submission")
        answers = asyncio.run(_ask_fal(settings_for(request), ledger, run.run_id)) if at_fal else []
    for each in answers:
        note(f"{each['custom_id']}: {each['answer']}")
    if json:
        document({"run_id": run.run_id, "cancelled": cancelled, "at_fal": answers})
        return 0
    if at_fal:
        again = command("resume", run.run_id, sandbox=request.sandbox)
        result(f"{len(answers)} cancellations requested at fal; `{again}` collects the outcomes")
    return 0


async def _ask_fal(settings: Settings, ledger: Ledger, run_id: str) -> list[dict[str, str]]:
    async with FalQueue(settings) as queue:
        return await cancel_at_fal(queue, ledger, run_id)
