"""`callsheet retry`."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Annotated, Any

from cyclopts import Parameter

from callsheet.cli.options import AcceptPrices, Again, Json, RunId, Sandbox
from callsheet.cli.output import document, note, say
from callsheet.cli.runs import run_settings
from callsheet.cli.views.run import run_to_its_end
from callsheet.engine.context import named
from callsheet.engine.finalize import EXIT_FAILED_JOBS
from callsheet.engine.request import settings_for
from callsheet.engine.retry import Retry, prepare_retry
from callsheet.engine.run import continued, find_run
from callsheet.ledger import JobRow, Run
from callsheet.report.error_table import advice_text
from pricing.money import usd_rounded_up

NAMED = 20

All = Annotated[
    bool,
    Parameter(
        name="--all",
        negative="",
        env_var="CALLSHEET_RETRY_ALL",
        help="Also retry failures that will probably fail again",
    ),
]


def retry(
    run_id: RunId = None,
    *,
    all: All = False,  # noqa: A002 -- the option's name
    again: Again = False,
    accept_prices: AcceptPrices = False,
    sandbox: Sandbox = False,
    json: Json = False,
) -> int:
    """Retry jobs that failed, were skipped or were cancelled.

    Each try is a new purchase. docs/errors.md lists the errors that are
    retried. Videos that another run has made since are used at no cost.

    Example: callsheet retry spring-20261121-090000-a1b2
    """
    run = find_run(run_settings(sandbox=sandbox), run_id, latest_of_all=True)
    request = continued(run, accept_prices=accept_prices)
    settings = settings_for(request)
    retried = asyncio.run(prepare_retry(settings, run, all_failures=all, again=again))
    _say_what(retried)
    if not retried.has_work and run.closed_ms is not None:
        if json:
            document(_nothing(run, retried.not_tried))
        return EXIT_FAILED_JOBS if retried.ended else 0

    async def open_run() -> str:
        return run.run_id

    return run_to_its_end(request, settings, open_run, as_json=json)


def _nothing(run: Run, rows: list[JobRow]) -> dict[str, Any]:
    """Describe a run of which nothing is retried."""
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


def _say_what(retried: Retry) -> None:
    for line in retried.gone:
        say(line)
    if retried.refetched:
        note(f"downloaded again, for free: the files of {named(retried.refetched)}")
    if retried.fetched:
        note(f"{retried.fetched} are still at fal: their videos are downloaded, not bought again")
    for row, why in retried.unsure[:NAMED]:
        say(
            f"not retried: {row.custom_id}: could not ask fal for its video ({why}); "
            "`--all --again` buys it again"
        )
    if not retried.ended:
        note("nothing to retry: no job failed, was skipped or was cancelled")
        return
    most = usd_rounded_up(sum(row.maximum_nano for row in retried.bought))
    bought = sum(row.purchases for row in retried.bought)
    if retried.bought:
        note(f"{len(retried.bought)} to retry, for at most {most}; fal has accepted {bought} attempts so far")
    elif not retried.fetched:
        note("0 to retry")
    if retried.reused:
        note(f"{len(retried.reused)} were made by another run since: their files are used at no cost")
    _name_the_others(retried.not_tried)


def _name_the_others(rows: Iterable[JobRow]) -> None:
    left = list(rows)
    for row in left[:NAMED]:
        advice = advice_text(row.error_type, row.charged, row.purchases)
        say(f"not retried: {row.custom_id} ({row.error_type or 'no error type'}). {advice}")
    if len(left) > NAMED:
        say(f"not retried: and {len(left) - NAMED} more, see errors.csv")
    if left:
        say("`--all` retries these too")
