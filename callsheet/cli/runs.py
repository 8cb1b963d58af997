"""Finding the run that a person means."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass

from callsheet.engine.request import RunRequest, sandbox_ledger
from callsheet.errors import Busy, UsageError
from callsheet.files import usable_data_folder
from callsheet.ledger import Ledger, Run, queries
from callsheet.settings import Settings, settings_from

CLAIM_TRIES = 10
CLAIM_PAUSE_S = 0.3
"""How long a run is waited for that another process holds, in all three seconds."""


@dataclass(frozen=True, slots=True)
class ChosenRun:
    """A run and the request that it was opened with."""

    run_id: str
    request: RunRequest
    run: Run


def run_settings(*, sandbox: bool, makes_ledger: bool = True) -> Settings:
    """Return settings whose ledger is the one the run is in.

    Raises UsageError where it is, or is to be made, in a data folder that cannot be used.
    """
    settings = settings_from(os.environ)
    if makes_ledger and not settings.ledger_url:
        usable_data_folder(settings)
    return sandbox_ledger(settings) if sandbox else settings


def chosen_run(settings: Settings, run_id: str | None, *, latest_of_all: bool = False) -> ChosenRun:
    """Return the run of that id, or the latest unfinished one (the latest of all, where that is asked).

    Raises UsageError where there is none.
    """
    with Ledger.open(settings.ledger) as ledger:
        return run_in(ledger, run_id, latest_of_all=latest_of_all)


def run_in(ledger: Ledger, run_id: str | None, *, latest_of_all: bool = False) -> ChosenRun:
    """Return a run of an open ledger, chosen as `chosen_run` does."""
    if run_id is not None:
        run: Run | None = ledger.do(queries.run, run_id)
    elif latest_of_all:
        run = next(iter(ledger.do(queries.runs, limit=1)), None)
    else:
        run = ledger.do(queries.latest_unfinished)
    if run is None:
        what = "run" if latest_of_all else "unfinished run"
        raise UsageError(
            f"there is no {what} in the ledger {ledger.label}; sandbox runs have one of their own, which "
            "--sandbox opens"
        )
    request = RunRequest.of(run)
    # Whoever types the command is the person that a run in Prefect waits for.
    answered = {"run_id": run.run_id, "approve_above_usd": None}
    return ChosenRun(run.run_id, request.model_copy(update=answered), run)


def refuse_busy(settings: Settings, run_id: str) -> None:
    """Raise Busy at once where another process works on the run: a server need not be started to say so.

    A process that only looks after what a dead one left is waited for, as the run itself does.
    """
    with Ledger.open(settings.ledger) as ledger:
        for left in range(CLAIM_TRIES - 1, -1, -1):
            try:
                with ledger.claim(run_id):
                    return
            except Busy:
                if not left:
                    raise
                time.sleep(CLAIM_PAUSE_S)
