"""`callsheet validate`."""

from __future__ import annotations

import os

from callsheet.cli.options import HeaderRow, Json, SkipHidden, Source
from callsheet.cli.output import document, result
from callsheet.cli.views.plan import show_warnings
from callsheet.cli.views.problems import ErrorsFile, explain_mistakes
from callsheet.errors import ManifestError
from callsheet.settings import settings_from
from manifests.plan import PlanOptions
from manifests.plan_document import problems_document
from manifests.planner import make_plan


def validate(
    source: Source,
    *,
    header_row: HeaderRow = None,
    skip_hidden: SkipHidden = False,
    errors: ErrorsFile = None,
    json: Json = False,
) -> int:
    """Check every row and list all errors. Nothing is sent or spent.

    Example: callsheet validate shots.csv
    """
    settings = settings_from(os.environ)
    overrides = PlanOptions(
        allow_private_hosts=settings.allow_private_hosts,
        header_row=header_row,
        skip_hidden=skip_hidden,
        manifest_max_mb=settings.manifest_max_mb,
    )
    try:
        plan = make_plan(source, overrides=overrides)
    except ManifestError as error:
        if json:
            document({"jobs": 0, "errors": problems_document(error.problems), "warnings": []})
        return explain_mistakes(error, source, errors)
    if json:
        document({"jobs": plan.total.jobs, "errors": [], "warnings": [str(each) for each in plan.warnings]})
        return 0
    show_warnings(plan)
    jobs = plan.total.jobs
    result(f"{jobs:,} job{'' if jobs == 1 else 's'}, no errors")
    return 0
