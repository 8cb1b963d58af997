"""The end of a run: what is still open is looked at once more, and everything it leaves is written."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from callsheet.engine.caretaker import last_look, rest
from callsheet.engine.high_water import remember
from callsheet.engine.made_files import gone_files
from callsheet.engine.overbilled import leave_out_the_rest
from callsheet.engine.publishing import address_of, publish_report
from callsheet.engine.request import RunRequest
from callsheet.engine.studio import Studio
from callsheet.engine.work import begin
from callsheet.files import naming_full_disk
from callsheet.ledger import Account, JobRow, Overrun, Run, State, admission, history, queries, runs
from callsheet.report.rows import ResultRow, result_row
from callsheet.report.summary import RunFacts, summary_document
from manifests.job import decode_job
from pricing.catalog import load_catalog

if TYPE_CHECKING:
    import pyarrow as pa


async def completed(studio: Studio) -> dict[str, Any]:
    """Render what is left and finish, where no flow is there to do it or where it ended too soon.

    Returns the summary; that of the flow, where it came as far as that.
    """
    if studio.summary is not None:
        return studio.summary
    work = await begin(studio)
    await work.over()
    return await finish(studio)


async def finish(studio: Studio) -> dict[str, Any]:
    """Write everything a run leaves and return its summary, as `run --json` prints it."""
    await leave_out_the_rest(studio)
    await rest(studio)
    await last_look(studio)
    tally = await studio.books(queries.tally, studio.run.run_id)
    if tally.finished == tally.jobs:
        await studio.books(runs.close_run, studio.run.run_id)
    reused = await studio.books(queries.jobs, studio.run.run_id, states={State.ALREADY_MADE})
    studio.remarks.extend(await studio.books.call(gone_files, reused))
    run = await studio.books(queries.run, studio.run.run_id)
    accounts = await studio.books(admission.balances, scope="run", key=run.run_id)
    overruns = await studio.books(history.overruns, run_id=run.run_id)
    with naming_full_disk(Path(run.out).parent):
        await studio.books.call(remember, Path(run.out).parent, run.run_id)
    every = studio.desk.ledger.stream(
        queries.each_job, run.run_id
    )  # the report needs little of what thousands of rows hold
    summary = await asyncio.to_thread(write_report, run, every, accounts, overruns)
    unpublished = await publish_report(studio, reused)
    told = {"notes": studio.notes, "remarks": studio.remarks, "published": address_of(run)}
    studio.summary = {**summary, **told, "unpublished": unpublished}
    return studio.summary


def write_report(
    run: Run, rows: Iterable[JobRow], accounts: list[Account], overruns: list[Overrun]
) -> dict[str, Any]:
    """Write results, errors, summary and page of a run into its folder. Returns the summary.

    Raises DiskFull, and the files of before are still there, where they do not fit.
    """
    import pyarrow.parquet as pq  # noqa: PLC0415 -- only a finished run pays for these imports

    from callsheet.report.run_files import write_run_files  # noqa: PLC0415

    folder, catalog = Path(run.out), load_catalog()
    facts = RunFacts(
        run_id=run.run_id,
        campaign=run.campaign,
        dir=run.out,
        price_book=run.price_book,
        started_ms=run.created_ms,
        finished_ms=run.closed_ms,
        cap_nano=accounts[0].limit_nano if accounts else None,
        is_frozen=any(account.frozen for account in accounts),
        overruns=tuple(overruns),
        is_sandbox=RunRequest.of(run).sandbox,
    )
    results = [result_row(row, decode_job(row.payload, catalog), run) for row in rows]
    manifest = folder / "manifest.parquet"
    table = pq.read_table(manifest) if manifest.is_file() else _manifest_of(results)
    with naming_full_disk(folder, f"make room, then `callsheet report {run.run_id}` writes the rest"):
        folder.mkdir(parents=True, exist_ok=True)
        summary = write_run_files(folder, facts, table, results)
    return summary_document(summary)


def _manifest_of(rows: list[ResultRow]) -> pa.Table:
    """Return what the ledger knows of a manifest whose copy in the run's folder is gone."""
    import pyarrow as pa  # noqa: PLC0415 -- as above

    return pa.table(
        {
            "custom_id": [row.custom_id for row in rows],
            "prompt": [row.job.prompt for row in rows],
            "model": [row.model for row in rows],
            "client": [row.job.client for row in rows],
        }
    )
