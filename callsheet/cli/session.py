"""A run from the command line: Prefect's server, the display, the summary, the exit code."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from callsheet.cli.output import document, flush, note, result, say
from callsheet.cli.prefect import (
    OwnServer,
    client_environment,
    configured_api_url,
    is_new,
    own_server,
    why_unreachable,
)
from callsheet.cli.views.progress import show_progress
from callsheet.engine.context import RunContext
from callsheet.engine.request import RunRequest, settings_for
from callsheet.engine.run import carry_out, carry_out_campaign, open_context
from callsheet.engine.stopping import StopSignal, signals_to
from callsheet.errors import (
    AccountFrozen,
    BudgetError,
    CanaryError,
    ClaimLost,
    InterruptedByPerson,
    NoPrefect,
    Overbilled,
    PricesChanged,
    UsageError,
)
from callsheet.notify.message import counted
from callsheet.notify.to_do import to_do
from callsheet.settings import Settings
from callsheet.wording import command
from manifests.job import label

SHOWN_NOTES = 20

Carry = Callable[[RunContext], Awaitable[tuple[dict[str, Any], bool]]]
OpenRun = Callable[[], Coroutine[Any, Any, str]]


def run_to_its_end(
    request: RunRequest, settings: Settings, *, as_json: bool, open_run: OpenRun | None = None
) -> int:
    """Open a run, carry it out through Prefect, print its summary and return the exit code.

    `open_run` opens it, or refuses to; None where the request names an opened run. Where Prefect cannot be
    used the run is carried out without its pages.
    """
    with ExitStack() as stack:
        url, server = _server(settings, request, stack)
        stuck: list[bool] = []

        async def carry(each: RunRequest) -> dict[str, Any]:
            run_id = each.run_id
            if run_id is None:
                assert open_run is not None
                run_id = await open_run()
            own = settings if each is request else settings_for(each)
            is_asked = each is request
            summary, is_stuck = await _carried_out(each, run_id, own, url, server, is_asked=is_asked)
            stuck.append(is_stuck)
            _say_why_it_stopped(summary, as_json=as_json)
            if not as_json:
                _print(summary)
            return summary

        summary = asyncio.run(carry_out_campaign(request, carry, say))
        if as_json:
            document(summary)
        flush()
        if any(stuck):
            # Ledger and results are closed. Prefect's own threads would try to reach its server for minutes.
            stack.close()
            os._exit(summary["exit_code"])
    return int(summary["exit_code"])


def _server(settings: Settings, request: RunRequest, stack: ExitStack) -> tuple[str, OwnServer | None]:
    """Return the API of the Prefect server to use, "" for none, and the server that was started for the run.

    Raises UsageError where one is configured that does not answer and the run needs it for an approval.
    """
    if url := configured_api_url(os.environ, Path.home()):
        why = why_unreachable(url)
        if not why:
            return url, None
        said = f"the Prefect server {url[:200]} cannot be used ({why})"
        if request.approve_above_usd is not None:
            raise UsageError(f"{said}, and this run waits for an approval there. Start it, or unset it")
        say(f"{said}; this run is not shown there")
        return "", None
    if is_new(settings.data_dir):
        note("Prefect: making the database of its history (only the first time)")
    server = stack.enter_context(own_server(settings.data_dir))
    return server.url, server


async def _carried_out(
    request: RunRequest,
    run_id: str,
    settings: Settings,
    url: str,
    server: OwnServer | None,
    *,
    is_asked: bool,
) -> tuple[dict[str, Any], bool]:
    """Carry out an opened run. Returns its summary, and whether Prefect still tries to reach its server.

    The run is owned before Prefect's server is waited for: until then it looks like one that nobody works on.
    """
    stop = StopSignal(_announcer(request, run_id))
    request = request.model_copy(update={"run_id": run_id})
    with signals_to(stop):
        note(f"run {run_id}")
        async with open_context(request, run_id, settings, stop, note, is_asked=is_asked) as ctx:
            through_prefect = await _through_prefect(url, server, stop) if url else None
            with show_progress(ctx):
                if through_prefect is not None:
                    return await through_prefect(ctx)
                if url:
                    ctx.state.notice("Prefect's server did not start: this run is not among its pages")
                return await carry_out(ctx), False


async def _through_prefect(url: str, server: OwnServer | None, stop: StopSignal) -> Carry | None:
    """Import Prefect and wait for its server. None if the server does not start or the run is stopped."""
    os.environ.update(client_environment(url, os.environ))

    def ready() -> Carry:
        from callsheet.cli.prefect_run import carry_out_through_prefect  # noqa: PLC0415 -- 1 s

        if server is not None:
            server.wait_ready()
        return carry_out_through_prefect

    waiting: asyncio.Future[Carry] = asyncio.ensure_future(asyncio.to_thread(ready))
    draining: asyncio.Future[Any] = asyncio.ensure_future(stop.wait_draining())
    either: set[asyncio.Future[Any]] = {waiting, draining}
    await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
    draining.cancel()
    if not waiting.done() and server is not None:
        await asyncio.to_thread(server.stop)  # which ends the waiting for it as well
    try:
        return await waiting
    except NoPrefect as error:
        if stop.admitting:
            say(str(error))
        return None


def _announcer(request: RunRequest, run_id: str) -> Callable[[StopSignal], None]:
    again = command("resume", run_id, sandbox=request.sandbox)

    def announce(stop: StopSignal) -> None:
        if isinstance(stop.reason, ClaimLost):
            return  # it is raised at the end, and says what to do
        if stop.phase == "stopped":
            say(f"Stopped. Nothing is lost; `{again}` continues.")
        elif isinstance(stop.reason, PricesChanged | CanaryError):
            say("Nothing new is submitted. Waiting for what is rendering.")
        elif isinstance(stop.reason, Overbilled | AccountFrozen):
            say("Accounts are frozen: nothing new is bought. Waiting for what is rendering.")
        elif isinstance(stop.reason, BudgetError):
            say("The budget is reached: nothing new is bought. Waiting for what is rendering.")
        else:
            keys = "Ctrl-C" + " again" * isinstance(stop.reason, InterruptedByPerson)
            say(
                f"Nothing new is submitted. Waiting for what is rendering; press {keys} to stop now. "
                f"Nothing is lost either way; `{again}` continues."
            )

    return announce


def _print(summary: Mapping[str, Any]) -> None:
    folder = Path(summary["dir"])
    shown = folder.relative_to(Path.cwd()) if folder.is_relative_to(Path.cwd()) else folder
    result(f"{summary['run_id']}: {counted(summary['statuses'])}")
    result(f"cost    ${summary['actual_usd']} (expected ${summary['expected_usd']})")
    result(f"videos  {shown / 'media'}")
    result(f"report  {shown / 'report.html'}")
    if summary["published"]:
        result(f"copied  {summary['published']}")
    if summary.get("drafts", {}).get("to_finish"):
        finish = command("finish", summary["run_id"], "--keep", "FILE", sandbox=summary["sandbox"])
        drafts = summary["drafts"]
        until = f"{drafts['finish_until'][:16].replace('T', ' ')} UTC"
        result(f"drafts  {drafts['to_finish']} can be finished, the first until {until}: {finish}")
    for line in to_do({**summary, "dir": str(shown)}):
        result(f"left    {line}")


def _say_why_it_stopped(summary: Mapping[str, Any], *, as_json: bool) -> None:
    if summary["stopped_by"]:
        say(f"callsheet: {summary['stopped_by']}")
    for text in summary["notes"][:SHOWN_NOTES]:
        say(f"not finished: {text}")
    for text in summary["remarks"][:SHOWN_NOTES]:
        say(f"note: {text}")
    for over in summary["overruns"]:
        say(
            f"billed above its hold: {label(over['custom_id'], over['row'])}, {over['request_id']}: "
            f"{over['billed_usd']} USD instead of at most {over['held_usd']}"
        )
    if as_json and summary["stopped_for_money"]:
        for line in to_do(summary):
            say(f"left: {line}")
