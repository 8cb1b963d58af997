"""The ledger and the run that a command is about."""

from __future__ import annotations

import os
import time

from callsheet.engine.run import CLAIM_PAUSE_S, CLAIM_TRIES
from callsheet.errors import Busy
from callsheet.files import usable_data_folder
from callsheet.ledger import Ledger
from callsheet.settings import Settings, sandbox_ledger, settings_from


def run_settings(*, sandbox: bool, makes_ledger: bool = True) -> Settings:
    """Return settings with the ledger that the command uses.

    Raises UsageError if it is, or would be created, in a data folder that cannot be used.
    """
    settings = settings_from(os.environ)
    if makes_ledger and not settings.ledger_url:
        usable_data_folder(settings)
    return sandbox_ledger(settings) if sandbox else settings


def refuse_busy(settings: Settings, run_id: str) -> None:
    """Raise Busy if another process works on the run, before a Prefect server is started for it.

    Waits three seconds first: the other process may only be settling what a dead one left.
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
