"""`callsheet plan`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from callsheet.cli.console import document, result, say
from callsheet.cli.options import Budget, Json, Source
from callsheet.cli.planning import show_plan
from callsheet.cli.problems import ErrorsFile, explain_mistakes
from callsheet.errors import ManifestError
from callsheet.settings import settings_from
from manifests.plan import Plan, PlanOptions
from manifests.plan_document import plan_document, refusal_document
from manifests.plan_file import write_plan
from manifests.planning import make_plan
from pricing.budgets import Cap, full_room, shortfalls
from pricing.money import usd_rounded_up

PlanFile = Annotated[
    Path | None, Parameter(name="--out", help="Write a plan file that can be approved and run")
]
Rows = Annotated[bool, Parameter(name="--rows", negative="", help="Every row, also above 10,000 jobs")]


def plan(
    source: Source,
    *,
    budget_usd: Budget = None,
    out: PlanFile = None,
    rows: Rows = False,
    errors: ErrorsFile = None,
    json: Json = False,
) -> int:
    """Check every row and say what it will cost, and whether that fits. Nothing is sent.

    Example: callsheet plan shots.csv --budget-usd 25 --out plan.json
    """
    try:
        made = make_plan(
            source,
            overrides=PlanOptions(
                budget_usd=budget_usd, allow_private_hosts=settings_from(os.environ).allow_private_hosts
            ),
        )
    except ManifestError as error:
        if json:
            document(refusal_document(error))
        return explain_mistakes(error, source, errors)
    room = _room(made)
    if out is not None:
        write_plan(made, out)
        say(f"wrote {out}")
    if json:
        document(plan_document(made, room=room, rows=rows or None))
    else:
        show_plan(made, room)
        _say_whether_it_fits(made, room)
    return 0


def _room(made: Plan) -> dict[Cap, int]:
    """What is left under every cap: all of it without a ledger, and none is made for asking."""
    settings = settings_from(os.environ)
    if not settings.ledger_url and not (settings.data_dir / "ledger.sqlite").exists():
        return dict(full_room(made.caps))
    from callsheet.engine.opening import room_for  # noqa: PLC0415 -- a database library is 0.2 s
    from callsheet.ledger import Ledger  # noqa: PLC0415

    with Ledger.open(settings.ledger) as ledger:
        return room_for(ledger, made)


def _say_whether_it_fits(made: Plan, room: dict[Cap, int]) -> None:
    short = shortfalls(made.demands(), room)
    for each in short:
        name = f"{each.cap.scope.replace('_', ' ')} {each.cap.key}".strip()
        result(
            f"does not fit the {each.cap.window} cap of {name}: needs up to "
            f"{usd_rounded_up(each.needed_nano)}, {usd_rounded_up(each.left_nano)} left"
        )
    if room and not short:
        result("fits")
