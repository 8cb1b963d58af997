"""`callsheet resume`, `retry`, `cancel` and `report`: what is done with a run that exists."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

from callsheet.cli.options import (
    AcceptPrices,
    Again,
    Json,
    RunId,
    RunToStop,
    Sandbox,
    UnfinishedRunId,
    option,
    run_settings,
)
from callsheet.cli.output import document, first_of, note, result, say
from callsheet.cli.session import run_to_its_end
from callsheet.engine.cancel import cancel_at_fal, cancel_pending
from callsheet.engine.context import named
from callsheet.engine.finalize import EXIT_FAILED_JOBS
from callsheet.engine.request import settings_for
from callsheet.engine.results import write_linked_page, write_report
from callsheet.engine.retry import Retry, prepare_retry
from callsheet.engine.run import claimed_soon, continued, find_run
from callsheet.errors import Busy, UsageError
from callsheet.ledger import (
    AT_FAL,
    JobRow,
    Ledger,
    Run,
    queries,
    recovery,
)
from callsheet.provider.client import FalQueue
from callsheet.report.error_table import advice_text
from callsheet.settings import Settings
from callsheet.wording import command, number_of
from manifests.job import label
from pricing.money import usd_rounded_up

NAMED = 20

All = Annotated[bool, option("RETRY_ALL", "Also retry failures that will probably fail again")]
Presign = Annotated[
    str | None, option("PRESIGN", "Also write a page with links that are good so long (30m, 12h, 7d)")
]
LINKS_DAYS = 7
"""S3 signs links for a week at most."""


def resume(
    run_id: UnfinishedRunId = None,
    *,
    accept_prices: AcceptPrices = False,
    sandbox: Sandbox = False,
    json: Json = False,
) -> int:
    """Continue an interrupted run. Nothing is bought twice.

    Example: callsheet resume spring-20261121-090000-a1b2
    """
    run = find_run(run_settings(sandbox=sandbox), run_id)
    refuse_busy(run_settings(sandbox=sandbox), run.run_id)
    request = continued(run, accept_prices=accept_prices)

    return run_to_its_end(request, settings_for(request), as_json=json)


def refuse_busy(settings: Settings, run_id: str) -> None:
    """Raise Busy if another process works on the run, before a Prefect server is started for it.

    Waits three seconds first: the other process may only be settling what a dead one left.
    """

    async def claim() -> None:
        with Ledger.open(settings.ledger) as ledger:
            async with claimed_soon(ledger, run_id):
                pass

    asyncio.run(claim())


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
    retried. Videos that fal still has, or that another run has made since,
    are taken at no cost; --again buys the latter again, --all --again both.

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

    return run_to_its_end(request, settings, as_json=json)


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
    if retried.unsent:
        most = usd_rounded_up(sum(row.maximum_nano for row in retried.unsent))
        jobs = number_of(len(retried.unsent), "job")
        note(f"{jobs} of the run not bought so far: bought now, for at most {most}")
    for line in retried.gone:
        say(line)
    if retried.refetched:
        note(f"downloaded again, for free: the files of {named(retried.refetched)}")
    if retried.fetched:
        note(
            f"{retried.fetched} still at fal, with the video: downloaded, not bought again; "
            "`--all --again` buys again"
        )
    lines = (f"{row.label}: {why}" for row, why in retried.left_out)
    for line in first_of("not retried", lines, len(retried.left_out), most=NAMED):
        say(line)
    if not retried.ended:
        note("nothing to retry: no job failed, was skipped or was cancelled")
        return
    most = usd_rounded_up(sum(row.maximum_nano for row in retried.bought))
    bought = sum(row.purchases for row in retried.bought)
    if retried.bought:
        before = f"; fal has accepted {bought} of their submissions before" if bought else ""
        note(f"{len(retried.bought)} to retry, for at most {most}{before}")
    elif not retried.fetched:
        note("0 to retry")
    if retried.reused:
        note(
            f"{len(retried.reused)} made by another run since, used at no cost; "
            "`--again` buys again all the same"
        )
    _name_the_others(retried.not_tried)


def _name_the_others(left: Sequence[JobRow]) -> None:
    lines = (
        f"{row.label}, {row.error_type or 'no error type'}. "
        f"{advice_text(row.error_type, row.charged, row.purchases)}"
        for row in left
    )
    for line in first_of("not retried", lines, len(left), most=NAMED, where=", see errors.csv"):
        say(line)
    if left:
        say("`--all` retries these too")


def cancel(run_id: RunToStop, *, sandbox: Sandbox = False, json: Json = False) -> int:
    """Stop a run: submit nothing more, and cancel what fal has not rendered.

    fal charges for what it renders all the same; `callsheet resume` downloads it.

    Example: callsheet cancel spring-20261121-090000-a1b2
    """
    settings = run_settings(sandbox=sandbox)
    run = find_run(settings, run_id)
    if run.closed_ms is not None:
        if json:
            document({"run_id": run.run_id, "cancelled": 0, "at_fal": []})
        else:
            result(f"run {run.run_id} has ended; there is nothing to cancel")
        return 0
    request = continued(run)
    with Ledger.open(settings.ledger) as ledger:
        with suppress(Busy), ledger.claim(run.run_id):  # what a dead process held is pending again
            ledger.do(recovery.recover, run.run_id)
        cancelled = cancel_pending(ledger, run.run_id, "cancelled by a person")
        at_fal = ledger.do(queries.jobs, run.run_id, states=AT_FAL)
        if not json:
            result(f"{cancelled} cancelled before submission")
        answers = asyncio.run(_ask_fal(settings_for(request), ledger, run.run_id)) if at_fal else []
    for each in answers:
        note(f"{label(each['custom_id'], int(each['row']))}: {each['answer']}")
    if json:
        document({"run_id": run.run_id, "cancelled": cancelled, "at_fal": answers})
        return 0
    if at_fal:
        again = command("resume", run.run_id, sandbox=request.sandbox)
        asked = number_of(len(answers), "cancellation")
        result(f"{asked} requested at fal; `{again}` collects the outcomes")
    return 0


async def _ask_fal(settings: Settings, ledger: Ledger, run_id: str) -> list[dict[str, str]]:
    async with FalQueue(settings) as queue:
        return await cancel_at_fal(queue, ledger, run_id)


def report(
    run_id: RunId = None, *, presign: Presign = None, sandbox: Sandbox = False, json: Json = False
) -> int:
    """Write a run's results, summary and report page again from the ledger.

    With --presign also report-links.html: the page with links to the clips
    in a private bucket. Who has such a link can open the clip until it ends.

    Example: callsheet report spring-20261121-090000-a1b2
    """
    seconds = None if presign is None else link_seconds(presign)
    settings = run_settings(sandbox=sandbox)
    run = find_run(settings, run_id, latest_of_all=True)
    with Ledger.open(settings.ledger) as ledger:
        summary = write_report(ledger, run, say)
        linked = None if seconds is None else write_linked_page(ledger, run, seconds)
    if json:
        document(summary if linked is None else {**summary, "linked_page": str(linked)})
    else:
        result(str(linked or Path(run.out) / "report.html"))
    return 0


def link_seconds(text: str) -> int:
    """Return how long links are to be good, from a text such as 12h. Raises UsageError."""
    found = re.fullmatch(r"([1-9][0-9]{0,5})([mhd])", text.strip())
    seconds = int(found[1]) * {"m": 60, "h": 3600, "d": 86_400}[found[2]] if found else 0
    if not 0 < seconds <= LINKS_DAYS * 86_400:
        raise UsageError(
            f"--presign is {text[:40]!r}; use minutes, hours or days up to 7d, such as 30m or 12h"
        )
    return seconds
