"""Callsheet: bulk video on fal's Seedance models within a budget.

    import callsheet

    plan = callsheet.plan("shots.csv", budget_usd="25")
    summary = callsheet.run(plan)

The errors are those of `callsheet.errors`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from callsheet.api import (
        Plan,
        RunSummary,
        finish,
        finish_async,
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
    from callsheet.errors import (
        AccountError,
        BudgetError,
        CallsheetError,
        InputError,
        LedgerError,
        ManifestError,
        OverBudget,
        PlanChanged,
        UsageError,
    )
    from callsheet.settings import Settings

__version__ = "0.1.0"

_ERRORS = (
    "AccountError",
    "BudgetError",
    "CallsheetError",
    "InputError",
    "LedgerError",
    "ManifestError",
    "OverBudget",
    "PlanChanged",
    "UsageError",
)

__all__ = [
    "AccountError",
    "BudgetError",
    "CallsheetError",
    "InputError",
    "LedgerError",
    "ManifestError",
    "OverBudget",
    "Plan",
    "PlanChanged",
    "RunSummary",
    "Settings",
    "UsageError",
    "finish",
    "finish_async",
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
    home = "callsheet.errors" if name in _ERRORS else "callsheet.api"
    return getattr(import_module("callsheet.settings" if name == "Settings" else home), name)
