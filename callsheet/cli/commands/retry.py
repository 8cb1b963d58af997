"""`callsheet retry`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any

from cyclopts import Parameter

from callsheet.cli.console import document, say
from callsheet.cli.options import Json, RunId, Sandbox
from callsheet.cli.running import EXIT_FAILED_JOBS, early_server, run_flow
from callsheet.cli.runs import chosen_run, run_settings
from callsheet.engine.surroundings import settings_for
from callsheet.ledger import JobRow, Ledger, Run, State
from callsheet.report.error_table import advice_text, worth_trying
from pricing.money import usd_rounded_up

AGAIN = frozenset({State.FAILED, State.CANCELLED, State.SKIPPED_BUDGET})
NAMED = 20

All = Annotated[
    bool,
    Parameter(
        name="--all", negative="", env_var="CALLSHEET_RETRY_ALL", help="Also what is not worth trying again"
    ),
]


def retry(run_id: RunId = None, *, all: All = False, sandbox: Sandbox = False, json: Json = False) -> int:  # noqa: A002 -- the option's name
    """Try again what failed and is worth it, was left out, or was cancelled; each try is a new purchase.

    Which errors are worth it stands in docs/errors.md.

    Example: callsheet retry spring-20261121-090000-a1b2
    """
    settings = run_settings(sandbox=sandbox)
    run = chosen_run(settings, run_id, latest_of_all=True)
    settings = settings_for(run.request)
    with Ledger.open(settings.ledger) as ledger, ledger.claim(run.run_id):
        rows = ledger.jobs(run.run_id, states=AGAIN)
        again = [row for row in rows if all or is_worth_it(row)]
        ledger.retry([row.job_id for row in again], why="retried by a person")
    _say_what(rows, again)
    if not again and run.run.closed_ms is not None:
        if json:
            document(_nothing(run.run, rows))
        return EXIT_FAILED_JOBS if rows else 0
    return run_flow(run.request, settings, early_server(settings), as_json=json)


def _nothing(run: Run, rows: list[JobRow]) -> dict[str, Any]:
    """Describe a run of which nothing is tried again."""
    return {
        "run_id": run.run_id,
        "dir": run.out,
        "retried": 0,
        "not_tried": [
            {
                "custom_id": row.custom_id,
                "error_type": row.error_type,
                "advice": advice_text(row.error_type, row.charged, row.purchases),
            }
            for row in rows
        ],
    }


def is_worth_it(row: JobRow) -> bool:
    """Say whether a job that ended without a video is worth another purchase."""
    return row.state is not State.FAILED or worth_trying(row.error_type, row.charged, row.purchases)


def _say_what(rows: list[JobRow], again: list[JobRow]) -> None:
    if not rows:
        say("nothing failed, was left out or was cancelled: there is nothing to try again")
        return
    most = usd_rounded_up(sum(row.maximum_nano for row in again))
    bought = sum(row.purchases for row in again)
    say(f"{len(again)} to try again, for at most {most}; fal has accepted {bought} tries at them so far")
    chosen = {row.job_id for row in again}
    _name_the_others([row for row in rows if row.job_id not in chosen])


def _name_the_others(rows: Iterable[JobRow]) -> None:
    left = list(rows)
    for row in left[:NAMED]:
        advice = advice_text(row.error_type, row.charged, row.purchases)
        say(f"not tried: {row.custom_id} ({row.error_type or 'no error type'}). {advice}")
    if len(left) > NAMED:
        say(f"not tried: and {len(left) - NAMED} more; errors.csv names them")
    if left:
        say("`--all` tries these too")
