"""Reconciling all of a ledger: settle what is unknown, then fetch what has ended, run by run."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from pathlib import Path

from callsheet.engine.closing import finish
from callsheet.engine.given_up import given_up_jobs, look_for
from callsheet.engine.render import render_job
from callsheet.engine.session import studio_at
from callsheet.engine.stopping import StopSign
from callsheet.engine.studio import Studio
from callsheet.errors import Interrupted
from callsheet.ledger import JobRow, State, queries
from callsheet.reconcile.desk import Desk, claimed
from callsheet.reconcile.findings import Finding, Findings, Outcome, finding
from callsheet.reconcile.steps import settle_ledger

AT_ONCE = 4
"""Files fetched at the same time, per run."""


async def settle_and_collect(desk: Desk) -> Findings:
    """Settle the ledger against fal's records and bring every file that is paid for."""
    given_up = await given_up_jobs(desk)
    findings = await settle_ledger(desk)
    rendered = await desk.books(queries.open_jobs, states={State.RENDERED})
    runs = {row.run_id for row in (*rendered, *given_up)} | {each.run_id for each in findings.each}
    with claimed(desk.ledger, runs) as mine:
        looked = await look_for(desk, [row for row in given_up if row.run_id in mine])
        rendered += [await desk.books(queries.job, job_id) for job_id in sorted(looked.found)]
        for run_id in sorted(mine):
            rows = [row for row in rendered if row.run_id == run_id]
            findings.take(await _collected(desk, run_id, rows))
    findings.busy = tuple(sorted(set(findings.busy) | (runs - mine)))
    return findings


async def _collected(desk: Desk, run_id: str, rows: Iterable[JobRow]) -> list[Finding]:
    """Fetch a run's files and write its results again. Nothing is bought here: that takes `resume`."""
    stop = StopSign()
    stop.drain(Interrupted("reconciling buys nothing"))
    studio = studio_at(desk, await desk.books(queries.run, run_id), stop)
    gate = asyncio.Semaphore(AT_ONCE)

    async def one(row: JobRow) -> Finding:
        async with gate:
            try:
                ended = await render_job(studio, row.job_id, await studio.places.enter())
            except Exception as error:  # noqa: BLE001 -- one file must not keep the others back
                return finding("rendered", row, f"{type(error).__name__}: {error}"[:500])
            return _how_it_ended(studio, ended)

    ended = await asyncio.gather(*(one(row) for row in rows))
    if (Path(studio.run.out) / "manifest.parquet").exists():  # a person may have taken the folder away
        await finish(studio)
    return list(ended)


_OUTCOMES: dict[State, Outcome] = {State.SUCCEEDED: "collected", State.FAILED: "failed"}


def _how_it_ended(studio: Studio, row: JobRow) -> Finding:
    request = (row.ticket.request_id,) if row.ticket else ()
    outcome = _OUTCOMES.get(row.state, "rendered")
    if row.error_type == "result_lost":
        outcome = "lost"
    why = row.error or (row.output.path if row.output else "; ".join(studio.notes[-1:]))
    return finding(outcome, row, why, request_ids=request)
