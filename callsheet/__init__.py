"""Callsheet: bulk video on fal's Seedance models within a budget.

import callsheet

plan = callsheet.plan("shots.csv", budget_usd="25")
summary = callsheet.run(plan)
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from callsheet.api import (
        Plan,
        RunSummary,
        plan,
        reconcile,
        reconcile_async,
        resume,
        resume_async,
        retry,
        retry_async,
        run,
        run_async,
    )
    from callsheet.errors import CallsheetError
    from callsheet.settings import Settings

__version__ = "0.1.0"

__all__ = [
    "CallsheetError",
    "Plan",
    "RunSummary",
    "Settings",
    "plan",
    "reconcile",
    "reconcile_async",
    "resume",
    "resume_async",
    "retry",
    "retry_async",
    "run",
    "run_async",
]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used: `import callsheet` alone is fast."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = {"Settings": "callsheet.settings", "CallsheetError": "callsheet.errors"}
    return getattr(import_module(home.get(name, "callsheet.api")), name)
