"""What a person sees in Prefect's pages: a table of results, a summary in words, the progress of shards."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import UUID

from prefect import get_run_logger
from prefect.artifacts import (
    acreate_markdown_artifact,
    acreate_progress_artifact,
    acreate_table_artifact,
    aupdate_progress_artifact,
)

from callsheet.engine.context import RunContext
from callsheet.ledger import JobRow, State, queries
from pricing.budgets import first_spellings
from pricing.money import usd_text

PROGRESS_EVERY_S = 10.0
PUBLISH_S = 10.0
"""How long publishing an artifact may take, in seconds."""

TABLE_ROWS = 1000
PLAN_ROWS = 20


@asynccontextmanager
async def _shown(ctx: RunContext, what: str) -> AsyncIterator[None]:
    """Let a Prefect server that does not answer cost a notice and nothing else."""
    try:
        async with asyncio.timeout(PUBLISH_S):
            yield
    except Exception as error:  # noqa: BLE001 -- whatever it is, the run goes on
        ctx.state.notice(f"Prefect does not show the {what} ({type(error).__name__}); the report has it")


async def publish_results(ctx: RunContext, summary: dict[str, Any]) -> None:
    """Publish the table of results (of the failures alone, above a thousand jobs) and the summary."""
    async with _shown(ctx, "results"):
        await _publish_results(ctx, summary)


async def _publish_results(ctx: RunContext, summary: dict[str, Any]) -> None:
    tally = await ctx.do(queries.tally, ctx.run.run_id)
    states = None if tally.jobs <= TABLE_ROWS else {State.FAILED}
    shown = await ctx.do(queries.jobs, ctx.run.run_id, states=states)
    key = _key(ctx)
    await acreate_table_artifact(
        key=f"{key}-results", table=[_line(row) for row in shown[:TABLE_ROWS]], description="Results"
    )
    await acreate_markdown_artifact(key=f"{key}-summary", markdown=_in_words(summary))


async def publish_plan(ctx: RunContext) -> None:
    """Publish what is to be bought: sums by model and client, and the most expensive jobs."""
    waiting = await ctx.do(queries.jobs, ctx.run.run_id, states={State.PENDING})
    if waiting:
        async with _shown(ctx, "plan"):
            expected, most = (
                usd_text(sum(getattr(row, name) for row in waiting))
                for name in ("expected_nano", "maximum_nano")
            )
            get_run_logger().info("to buy: %d, %s USD expected, %s USD at most", len(waiting), expected, most)
            await _publish_plan(ctx, waiting)


async def _publish_plan(ctx: RunContext, waiting: Sequence[JobRow]) -> None:
    clients = first_spellings(row.client for row in waiting)
    most = sorted(waiting, key=lambda row: (-row.maximum_nano, row.position))[:PLAN_ROWS]
    lines = [
        f"# {_cell(ctx.run.campaign)}: {len(waiting)} videos to buy",
        "",
        f"Run `{ctx.run.run_id}`, price book {ctx.run.price_book}, plan `{ctx.run.plan_hash[:12]}`.",
        "",
        *_sums("model", [(row.model, row) for row in waiting]),
        *_sums("client", [(clients[row.client] or "(none)", row) for row in waiting]),
        f"The {len(most)} most expensive:",
        "",
        "| job | model | expected USD | at most USD |",
        "|---|---|--:|--:|",
        *(
            f"| {_cell(row.custom_id)} | {row.model} | {usd_text(row.expected_nano)} "
            f"| {usd_text(row.maximum_nano)} |"
            for row in most
        ),
    ]
    await acreate_markdown_artifact(key=f"{_key(ctx)}-plan", markdown="\n".join(lines))


def _sums(name: str, owned: Sequence[tuple[str, JobRow]]) -> list[str]:
    """Return a table of sums with its total."""
    groups: dict[str, list[JobRow]] = {}
    for owner, row in owned:
        groups.setdefault(_cell(owner), []).append(row)
    groups["**total**"] = [row for _, row in owned]
    return [
        f"| {name} | jobs | expected USD | at most USD |",
        "|---|--:|--:|--:|",
        *(
            f"| {owner} | {len(rows)} | {usd_text(sum(row.expected_nano for row in rows))} "
            f"| {usd_text(sum(row.maximum_nano for row in rows))} |"
            for owner, rows in groups.items()
        ),
        "",
    ]


def _cell(text: str) -> str:
    """Write a manifest's text so that it stays in its cell and makes no markup."""
    plain = "".join(letter if letter.isprintable() else " " for letter in text[:120])
    return re.sub(r"([\\|`*_<>\[\]#!])", r"\\\1", plain)


def _key(ctx: RunContext) -> str:
    return "".join(letter if letter.isalnum() else "-" for letter in ctx.run.run_id.lower())


@asynccontextmanager
async def progress_of(ctx: RunContext, what: str, jobs: int, ended: Callable[[], int]) -> AsyncIterator[None]:
    """Keep one progress artifact up to date while inside; `ended` counts the jobs that have ended.

    It is for looking at only: a Prefect server that does not answer costs a remark and never the work.
    """
    over = asyncio.Event()
    updating = asyncio.ensure_future(_show_progress(ctx, what, jobs, ended, over))
    try:
        yield
    finally:
        over.set()
        await asyncio.wait({updating}, timeout=PUBLISH_S)
        updating.cancel()


async def _show_progress(
    ctx: RunContext, what: str, jobs: int, ended: Callable[[], int], over: asyncio.Event
) -> None:
    try:
        artifact = await acreate_progress_artifact(progress=0.0, description=f"{what}: {jobs} jobs")
        assert isinstance(artifact, UUID)
        while not over.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(over.wait(), PROGRESS_EVERY_S)
            await aupdate_progress_artifact(artifact, progress=100.0 * ended() / jobs)
    except Exception as error:  # noqa: BLE001 -- whatever it is, the videos matter more
        ctx.state.notice(f"Prefect does not show the progress of {what}: {error}"[:500])


def _line(row: JobRow) -> dict[str, str]:
    return {
        "custom_id": row.custom_id,
        "status": row.state.value,
        "model": row.model,
        "cost_usd": usd_text(row.spent_nano),
        "file": row.output.path if row.output else "",
        "error": f"{row.error_type}: {row.error}" if row.error else "",
    }


def _in_words(summary: dict[str, Any]) -> str:
    wanted = ("run_id", "dir", "succeeded", "failed", "skipped", "unknown", "expected_usd", "actual_usd")
    table = ["| | |", "|---|---|", *(f"| {name} | {summary.get(name, '')} |" for name in wanted)]
    folder = summary.get("published") or Path(summary["dir"]).as_uri()
    return "\n".join(
        [
            *table,
            "",
            f"[Report]({folder}/report.html)",
            "",
            *(f"- {_cell(remark)}" for remark in summary["remarks"]),
        ]
    )
