"""What a run works with on this machine: its settings, and the sandbox where it plays.

Sandbox money never mixes with real money.
"""

from __future__ import annotations

import os
from dataclasses import replace

from callsheet.engine.request import RunRequest
from callsheet.errors import AccountError
from callsheet.files import usable_data_folder
from callsheet.sandbox.launcher import ensure_sandbox
from callsheet.settings import ApiKey, Settings, settings_from

NO_KEY = (
    "no key for fal: set FAL_KEY (make one at fal.ai/dashboard/keys), or add --sandbox to run without a key "
    "and without money"
)


def settings_for(request: RunRequest) -> Settings:
    """Return the settings of one run: the environment's, with the request's own on top.

    A sandbox run gets the sandbox's addresses and key, and keeps a ledger of its own unless the environment
    names one: sandbox money never mixes with real money. Raises AccountError without a key, UsageError where
    the data folder is needed and cannot be used.
    """
    settings = settings_from(os.environ)
    if request.sandbox or not settings.ledger_url:
        usable_data_folder(settings)
    if request.concurrency is not None:
        settings = replace(settings, concurrency=request.concurrency)
    if not request.sandbox:
        if settings.key is None:
            raise AccountError(NO_KEY)
        return settings
    return sandbox_settings(settings, speed=request.speed)


def sandbox_settings(settings: Settings, *, speed: float) -> Settings:
    """Start the local sandbox, or find the one that runs, and return settings that point at it."""
    home = settings.data_dir / "sandbox"
    sandbox = ensure_sandbox(home, speed=speed)
    return replace(
        sandbox_ledger(settings),
        key=ApiKey(sandbox.key),
        queue_url=sandbox.url,
        rest_url=sandbox.url,
        cdn_url=sandbox.url,
        platform_url=f"{sandbox.url}/v1",
    )


def sandbox_ledger(settings: Settings) -> Settings:
    """Return settings whose ledger is the sandbox's, unless the environment names one."""
    if settings.ledger_url:
        return settings
    return replace(settings, ledger_url=f"sqlite:///{settings.data_dir / 'sandbox' / 'ledger.sqlite'}")
