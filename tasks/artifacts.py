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
from callsheet.notify.message import counted
from callsheet.wording import command, number_of
from pricing.budgets import first_spellings
from pricing.money import usd_rounded_up, usd_text

PROGRESS_EVERY_S = 10.0
PUBLISH_S = 10.0
"""How long publishing an artifact may take, in seconds."""

TABLE_ROWS = 1000
PLAN_ROWS = 20
MOST_CHARS = 500
"""Length at most of a sentence on a page."""


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
        tally = await ctx.do(queries.tally, ctx.run.run_id)
        states = None if tally.jobs <= TABLE_ROWS else {State.FAILED}
        shown = await ctx.do(queries.jobs, ctx.run.run_id, states=states)
        which = "Every job of" if states is None else "The failed jobs of"
        await acreate_table_artifact(
            key=f"{_key(ctx)}-results",
            table=[_line(row) for row in shown[:TABLE_ROWS]],
            description=f"{which} {ctx.run.run_id}",
        )
        await acreate_markdown_artifact(
            key=f"{_key(ctx)}-summary",
            markdown=_in_words(summary),
            description=counted(summary["statuses"]),
        )


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
        f"# {_cell(ctx.run.campaign)}: {number_of(len(waiting), 'video')} to buy",
        "",
        f"Run `{ctx.run.run_id}`, price book {ctx.run.price_book}, plan `{ctx.run.plan_hash[:12]}`.",
        "",
        *_sums("model", [(row.model, row) for row in waiting]),
        *_sums("client", [(clients[row.client] or "(none)", row) for row in waiting]),
        f"The {len(most)} most expensive:",
        "",
        "| job | model | expected | at most |",
        "|---|---|--:|--:|",
        *(
            f"| {_cell(row.custom_id)} | {row.model} | {usd_rounded_up(row.expected_nano)} "
            f"| {usd_rounded_up(row.maximum_nano)} |"
            for row in most
        ),
    ]
    at_most = usd_rounded_up(sum(row.maximum_nano for row in waiting))
    await acreate_markdown_artifact(
        key=f"{_key(ctx)}-plan",
        markdown="\n".join(lines),
        description=f"{number_of(len(waiting), 'video')} to buy for at most {at_most}",
    )


def _sums(name: str, owned: Sequence[tuple[str, JobRow]]) -> list[str]:
    """Return a table of sums with its total."""
    groups: dict[str, list[JobRow]] = {}
    for owner, row in owned:
        groups.setdefault(_cell(owner), []).append(row)
    groups["**total**"] = [row for _, row in owned]
    return [
        f"| {name} | jobs | expected | at most |",
        "|---|--:|--:|--:|",
        *(
            f"| {owner} | {len(rows)} | {usd_rounded_up(sum(row.expected_nano for row in rows))} "
            f"| {usd_rounded_up(sum(row.maximum_nano for row in rows))} |"
            for owner, rows in groups.items()
        ),
        "",
    ]


def _cell(text: str, most_chars: int = 120) -> str:
    """Write a text of others so that it stays in its cell and makes no markup."""
    plain = "".join(letter if letter.isprintable() else " " for letter in text[:most_chars])
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
        artifact = await acreate_progress_artifact(
            progress=0.0, description=f"{what}: {number_of(jobs, 'job')}"
        )
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
    """Write a summary for the page: what became of the jobs, the money, and where the results are."""
    statuses = summary["statuses"]
    lines = [
        f"# {_cell(summary['campaign'])}: {counted(statuses)}",
        "",
        "| jobs | |",
        "|---|--:|",
        *(f"| {name.replace('_', ' ')} | {count} |" for name, count in statuses.items() if count),
        f"| **cost** | **${summary['actual_usd']}** |",
        f"| expected | ${summary['expected_usd']} |",
        "",
    ]
    if summary["stopped_by"]:
        lines += [f"**It stopped**: {_cell(summary['stopped_by'], MOST_CHARS)}", ""]
    lines += [
        _report(summary),
        "",
        *(f"- {_cell(remark, MOST_CHARS)}" for remark in summary["remarks"]),
    ]
    return "\n".join(lines)


def _report(summary: dict[str, Any]) -> str:
    """Say where the report page is. A browser opens neither an object store's address nor always a file's."""
    if published := summary.get("published"):
        make = command("report", summary["run_id"], sandbox=summary["sandbox"])
        return f"Report: `{published}/report.html`. `{make} --presign 7d` makes a page that a browser opens"
    page = Path(summary["dir"]) / "report.html"
    return (
        f"[Report]({page.as_uri()}): `{page}` on the machine that rendered. "
        "Where the browser refuses the link, open that file"
    )
