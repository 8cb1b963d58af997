"""`callsheet validate`."""

from __future__ import annotations

from callsheet.cli.console import document, result
from callsheet.cli.options import Json, Source
from callsheet.cli.planning import show_warnings
from manifests.plan import PlanOptions
from manifests.planning import make_plan


def validate(source: Source, *, json: Json = False) -> int:
    """Check every row and say everything that is wrong at once; nothing is sent, nothing is spent.

    Example: callsheet validate shots.csv
    """
    plan = make_plan(source, overrides=PlanOptions())
    if json:
        document({"jobs": plan.total.jobs, "errors": [], "warnings": [str(each) for each in plan.warnings]})
        return 0
    show_warnings(plan)
    result(f"{plan.total.jobs} jobs, all of them can be made")
    return 0
