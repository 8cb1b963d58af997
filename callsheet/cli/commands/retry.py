"""`callsheet retry`."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import Annotated, Any

from cyclopts import Parameter

from callsheet.cli.options import AcceptPrices, Again, Json, RunId, Sandbox
from callsheet.cli.output import document, say
from callsheet.cli.running import EXIT_FAILED_JOBS, own_server_for, run_flow
from callsheet.cli.runs import chosen_run, run_settings
from callsheet.engine.desk import open_desk
from callsheet.engine.recover import GIVEN_UP, Looked, look_for
from callsheet.engine.made_files import gone_files, is_gone
from callsheet.engine.surroundings import settings_for
from callsheet.ledger import JobRow, Ledger, Run, State
from callsheet.report.error_table import advice_text, worth_trying
from callsheet.settings import Settings
from pricing.money import usd_rounded_up

AGAIN = frozenset({State.FAILED, State.CANCELLED, State.SKIPPED_BUDGET})
NAMED = 20

All = Annotated[
    bool,
    Parameter(
        name="--all", negative="", env_var="CALLSHEET_RETRY_ALL", help="Also what is not worth trying again"
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
    """Try again what failed and is worth it, was left out, or was cancelled; each try is a new purchase.

    Which errors are worth it stands in docs/errors.md. What another run has made since is used, not bought.

    Example: callsheet retry spring-20261121-090000-a1b2
    """
    run = chosen_run(run_settings(sandbox=sandbox), run_id, latest_of_all=True)
    request = run.request.model_copy(update={"accept_prices": accept_prices})
    settings = settings_for(request)
    with Ledger.open(settings.ledger) as ledger, ledger.claim(run.run_id):
        ended = ledger.jobs(run.run_id, states=AGAIN)
        looked = Looked() if again else _looked_for(settings, ended)
        rows = [row for row in ended if row.job_id not in looked.found | looked.unsure.keys()]
        free, gone = (set(), set()) if again else _made_since(ledger, run.run, rows)
        rows = [row for row in rows if row.fingerprint not in gone]
        tried = [row for row in rows if all or row.fingerprint in free or is_worth_it(row)]
        made = ledger.retry([row.job_id for row in tried], why="retried by a person", once=not again)
    _say_what(rows, tried, made)
    if not (tried or looked.found) and run.run.closed_ms is not None:
        if json:
            document(_nothing(run.run, rows))
        return EXIT_FAILED_JOBS if ended else 0
    return run_flow(request, settings, own_server_for(settings, request), as_json=json)


def _looked_for(settings: Settings, rows: list[JobRow]) -> Looked:
    """Ask fal for what was given up; what it has after all is fetched by the run, and not bought."""
    given_up = [row for row in rows if row.error_type in GIVEN_UP]
    if not given_up:
        return Looked()
    looked = asyncio.run(_look(settings, given_up))
    if looked.found:
        say(f"{len(looked.found)} were given up, and fal has them after all: they are fetched, not bought")
    for row in given_up:
        if row.job_id in looked.unsure:
            say(
                f"not tried: {row.custom_id}: fal could not be asked for its video "
                f"({looked.unsure[row.job_id]}); `--all --again` buys it all the same"
            )
    return looked


async def _look(settings: Settings, rows: list[JobRow]) -> Looked:
    async with open_desk(settings) as desk:
        return await look_for(desk, rows)


def _made_since(ledger: Ledger, run: Run, rows: Iterable[JobRow]) -> tuple[set[str], set[str]]:
    """Return the fingerprints that the campaign has a video of, and those whose file is gone; names these."""
    made = ledger.already_made(run.campaign, {row.fingerprint for row in rows})
    for line in gone_files(ledger, made.values()):
        say(line)
    gone = {content for content, row in made.items() if is_gone(ledger, row)}
    return set(made) - gone, gone


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


def _say_what(rows: list[JobRow], tried: list[JobRow], made: Mapping[int, int]) -> None:
    if not rows:
        say("nothing failed, was left out or was cancelled: there is nothing to try again")
        return
    again = [row for row in tried if row.job_id not in made]
    if again:
        most = usd_rounded_up(sum(row.maximum_nano for row in again))
        bought = sum(row.purchases for row in again)
        say(f"{len(again)} to try again, for at most {most}; fal has accepted {bought} tries at them so far")
    else:
        say("0 to try again")
    if made:
        say(f"{len(made)} were made since: their files are used again and cost nothing")
    chosen = {row.job_id for row in tried}
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
