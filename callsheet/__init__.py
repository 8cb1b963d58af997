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
        deliver,
        finish,
        finish_async,
        plan,
        plan_async,
        reconcile,
        reconcile_async,
        resume,
        resume_async,
        retry,
        retry_async,
        run,
        run_async,
    )
    from callsheet.delivery.delivery import Delivery, deliver_async
    from callsheet.errors import (
        AccountError,
        BudgetError,
        CallsheetError,
        InputError,
        LedgerError,
        ManifestError,
        OverBudget,
        PlanChanged,
        Problem,
        UsageError,
    )
    from callsheet.reconciliation.findings import Findings
    from callsheet.report.summary import RunSummary
    from callsheet.settings import Settings

__version__ = "0.1.0"

_HOMES = {
    "Settings": "callsheet.settings",
    "RunSummary": "callsheet.report.summary",
    "Findings": "callsheet.reconciliation.findings",
    **dict.fromkeys(("Delivery", "deliver_async"), "callsheet.delivery.delivery"),
    **dict.fromkeys(
        (
            "AccountError",
            "BudgetError",
            "CallsheetError",
            "InputError",
            "LedgerError",
            "ManifestError",
            "OverBudget",
            "PlanChanged",
            "Problem",
            "UsageError",
        ),
        "callsheet.errors",
    ),
}
"""Modules of public names; any other one is in `callsheet.api`."""

__all__ = [
    "AccountError",
    "BudgetError",
    "CallsheetError",
    "Delivery",
    "Findings",
    "InputError",
    "LedgerError",
    "ManifestError",
    "OverBudget",
    "Plan",
    "PlanChanged",
    "Problem",
    "RunSummary",
    "Settings",
    "UsageError",
    "deliver",
    "deliver_async",
    "finish",
    "finish_async",
    "plan",
    "plan_async",
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
    return getattr(import_module(_HOMES.get(name, "callsheet.api")), name)


def __dir__() -> list[str]:
    """Return the names that a notebook completes."""
    return sorted({*globals(), *__all__})
