"""The end of a run: results, errors, summary and report are written, and copied where results go to a store."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from callsheet.engine.context import RunContext
from callsheet.engine.made_files import gone_files
from callsheet.engine.overbilled import skip_the_rest
from callsheet.engine.publish import publish_report
from callsheet.engine.request import RunRequest, results_address
from callsheet.engine.rollback_guard import remember
from callsheet.files import naming_full_disk
from callsheet.ledger import Account, JobRow, Overrun, Run, State, admission, history, queries, runs
from callsheet.report.rows import ResultRow, result_row
from callsheet.report.summary import RunFacts, summary_document
from manifests.job_codec import decode_job
from pricing.catalog import load_catalog

if TYPE_CHECKING:
    import pyarrow as pa


async def finalize(ctx: RunContext) -> dict[str, Any]:
    """Write everything a run leaves and return its summary, as `run --json` prints it."""
    await skip_the_rest(ctx)
    tally = await ctx.do(queries.tally, ctx.run.run_id)
    if tally.finished == tally.jobs:
        await ctx.do(runs.close_run, ctx.run.run_id)
    reused = await ctx.do(queries.jobs, ctx.run.run_id, states={State.ALREADY_MADE})
    for text in await ctx.do(gone_files, reused):
        ctx.state.notice(text)
    run = await ctx.do(queries.run, ctx.run.run_id)
    accounts = await ctx.do(admission.balances, scope="run", key=run.run_id)
    overruns = await ctx.do(history.overruns, run_id=run.run_id)
    with naming_full_disk(Path(run.out).parent):
        await ctx.do(remember, Path(run.out).parent, run.run_id)
    # The report needs little of what thousands of rows hold, so they are read one at a time.
    rows = ctx.account.ledger.stream(queries.each_job, run.run_id)
    summary = await asyncio.to_thread(write_report, run, rows, accounts, overruns)
    unpublished = await publish_report(ctx, reused)
    told = {
        "notes": ctx.state.unfinished,
        "remarks": ctx.state.notices,
        "published": results_address(run),
        "stopped_by": str(ctx.stop.reason or ""),
    }
    ctx.state.summary = {**summary, **told, "unpublished": unpublished}
    return ctx.state.summary


def write_report(
    run: Run, rows: Iterable[JobRow], accounts: list[Account], overruns: list[Overrun]
) -> dict[str, Any]:
    """Write results, errors, summary and page of a run into its folder. Returns the summary.

    Raises DiskFull, and the files of before are still there, where they do not fit.
    """
    import pyarrow.parquet as pq  # noqa: PLC0415 -- only a finished run pays for these imports

    from callsheet.report.files import write_run_files  # noqa: PLC0415

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
    with naming_full_disk(folder, f"make space, then run `callsheet report {run.run_id}`"):
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
