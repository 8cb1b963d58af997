"""The end of a run: results, errors, summary and report are written, and copied to an object store."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from callsheet.engine.context import RunContext
from callsheet.engine.made_files import gone_files
from callsheet.engine.overbilled import skip_the_rest
from callsheet.engine.publish import publish_report
from callsheet.engine.request import RunRequest, results_address
from callsheet.engine.rollback_guard import remember
from callsheet.errors import BudgetError, CallsheetError, CanaryError, CapReached, Overbilled, PricesChanged
from callsheet.files import naming_full_disk
from callsheet.ledger import Account, JobRow, Overrun, Run, State, admission, history, queries, runs
from callsheet.report.rows import ResultRow, result_row
from callsheet.report.summary import RunFacts, summary_document
from manifests.job import decode_job
from pricing.catalog import load_catalog

if TYPE_CHECKING:
    import pyarrow as pa


EXIT_FAILED_JOBS = 4
EXIT_CAP = 5
EXIT_UNKNOWN = 7

AT_FAL_STATUSES = ("submitting", "in_queue", "in_progress")
"""Statuses of jobs that may still end well or badly."""

LEFT_OVER = ("pending", "held", "rendered")
"""Statuses of jobs that were not sent, or rendered and not fetched: `resume` goes on with them."""


async def finalize(ctx: RunContext) -> dict[str, Any]:
    """Write everything a run leaves and return its summary, as `run --json` prints it."""
    await skip_the_rest(ctx)
    if isinstance(ctx.stop.reason, CanaryError | PricesChanged | Overbilled) or ctx.state.breaker.has_tripped:
        # Going on is a person's word: a schedule does not take up what was stopped on purpose.
        await ctx.do(runs.request_stop, ctx.run.run_id)
    tally = await ctx.do(queries.tally, ctx.run.run_id)
    if tally.finished == tally.jobs:
        await ctx.do(runs.close_run, ctx.run.run_id)
    reused = await ctx.do(queries.jobs, ctx.run.run_id, states={State.ALREADY_MADE})
    gone = await ctx.do.call(gone_files, reused)
    for text in gone:
        ctx.state.notice(text)
    run = await ctx.do(queries.run, ctx.run.run_id)
    accounts = await ctx.do(admission.balances, scope="run", key=run.run_id)
    overruns = await ctx.do(history.overruns, run_id=run.run_id)
    with naming_full_disk(Path(run.out).parent):
        await ctx.do.call(remember, Path(run.out).parent, run.run_id)
    # The report needs little of what thousands of rows hold, so they are read one at a time.
    rows = ctx.account.ledger.stream(queries.each_job, run.run_id)
    summary = await asyncio.to_thread(write_report, run, rows, accounts, overruns)
    unpublished = await publish_report(ctx, reused)
    told = {
        "notes": ctx.state.unfinished,
        "remarks": ctx.state.notices,
        "published": results_address(run),
        "stopped_by": str(ctx.stop.reason or ""),
        "stopped_for_money": isinstance(ctx.stop.reason, BudgetError),
        "unpublished": unpublished,
        "gone": len(gone),
    }
    complete = {**summary, **told}
    ctx.state.summary = {**complete, "exit_code": exit_code(complete, ctx.stop.reason, fit=ctx.request.fit)}
    ctx.state.finalized.set()
    return ctx.state.summary


def exit_code(summary: Mapping[str, Any], reason: CallsheetError | None, *, fit: bool) -> int:
    """Return the code of docs/cli.md: what stopped the run comes first, then unknown, capped and failed jobs.

    With `fit`, what was left out was chosen to be; without it, a cap left it out.
    """
    if reason is not None and not isinstance(reason, CapReached):
        return reason.exit_code
    if summary["unknown"]:
        return EXIT_UNKNOWN
    if reason is not None:
        return EXIT_CAP
    if any(summary["statuses"].get(status) for status in AT_FAL_STATUSES):
        return EXIT_UNKNOWN
    left = any(summary["statuses"].get(status) for status in LEFT_OVER)
    if summary["failed"] or left or summary["unpublished"] or summary["gone"]:
        return EXIT_FAILED_JOBS
    return EXIT_CAP if summary["skipped"] and not fit else 0


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
