"""Running a flow from the command line: a server, a stop sign, a display, an exit code."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from callsheet.cli import importing
from callsheet.cli.ending import AT_FAL, last_words
from callsheet.cli.output import document, result, say
from callsheet.cli.prefect_server import (
    EmbeddedServer,
    client_environment,
    configured_api_url,
    embedded_server,
    keep_our_signals,
    require_answer,
)
from callsheet.cli.progress import Progress, show
from callsheet.engine.closing import completed
from callsheet.engine.request import RunRequest
from callsheet.engine.session import head_start, waits_for_its_flow
from callsheet.engine.stopping import StopSign, signals_to
from callsheet.engine.studio import Studio
from callsheet.engine.watchers import stop_sign
from callsheet.errors import (
    BudgetError,
    CallsheetError,
    CanaryError,
    CapReached,
    Interrupted,
    NoPrefect,
    PricesChanged,
)
from callsheet.settings import Settings

EXIT_FAILED_JOBS = 4
SHOWN_NOTES = 20
LATE_IMPORTS = (
    "callsheet.media.probe",
    "prefect.flow_engine",
    "prefect.task_engine",
    "fastapi.encoders",
    "pandas",
    "pyarrow.parquet",
    "callsheet.report.run_files",
    "flows.run_campaign",
)
"""What the first finished render needs, and what a flow imports at its beginning and its end."""
EXIT_CAP = 5
EXIT_UNKNOWN = 7
STOPPED_EARLY = "Prefect does not show this run: it was stopped before Prefect was there"
LEFT_OVER = ("pending", "held", "rendered")
"""Not sent, or rendered and not fetched, because something could not be reached: `resume` goes on."""


def own_server_for(settings: Settings, request: RunRequest) -> EmbeddedServer | None:
    """Make ready a Prefect server of our own where none is configured.

    Where steps of the flow come first it starts at once, and warms up while the plan is looked at. Else it
    starts when the first jobs are sent: until then it would only take its share of the machine.

    Raises UsageError where one is configured that does not answer, and the run cannot begin without.
    """
    if url := configured_api_url(os.environ, Path.home()):
        if waits_for_its_flow(request):
            require_answer(url)
        return None
    server = embedded_server(settings.data_dir)
    if waits_for_its_flow(request):
        server.start()
    return server


def run_flow(request: RunRequest, settings: Settings, server: EmbeddedServer | None, *, as_json: bool) -> int:
    """Run the campaign flow for an opened run, show how it goes, print its summary, return the exit code."""
    stop = StopSign(_announcer(request))
    try:
        summary = importing.run(_carried_out(request, settings, stop, server))
        _print(summary, stop, as_json=as_json)  # before the server stops, which may take seconds
    finally:
        if server is not None:
            server.stop()
    return exit_code(summary, stop, fit=request.fit)


async def _carried_out(
    request: RunRequest, settings: Settings, stop: StopSign, server: EmbeddedServer | None
) -> dict[str, Any]:
    """Begin the run and let the flow take it over as soon as Prefect is there. Returns the summary."""
    run_id = request.run_id or ""
    stop_sign.set(stop)
    with show(Progress(settings, run_id)), signals_to(stop):
        async with head_start(request, run_id, settings, stop) as studio:
            try:
                return await _as_a_flow(request, studio, stop, server)
            except importing.NotWanted:
                if studio is None:
                    raise stop.reason or Interrupted("stopped") from None
                studio.remarks.append(STOPPED_EARLY)
                return await completed(studio)
            except Exception as error:
                if studio is None or (isinstance(error, CallsheetError) and not isinstance(error, NoPrefect)):
                    raise
                # What Prefect raises where its server is missing has no common class. Were it a mistake of
                # ours, finishing without Prefect would meet it again and raise it.
                studio.remarks.append(f"Prefect shows this run in part or not at all: {error}"[:500])
                return await completed(studio)


async def _as_a_flow(
    request: RunRequest, studio: Studio | None, stop: StopSign, server: EmbeddedServer | None
) -> dict[str, Any]:
    """Let Prefect's flow take the run over, or begin it. Returns the summary.

    Raises NotWanted as soon as the run does not wait for Prefect any more.
    """
    try:
        if studio is not None:
            await studio.places.filled_once()
        is_calm = (lambda: True) if studio is None else studio.places.is_calm
        flow = await asyncio.to_thread(_flow, server, lambda: stop.phase != "stopped", is_calm)
        try:
            summary: dict[str, Any] = await flow(request)
        finally:
            await asyncio.to_thread(_drain_prefect)
    finally:
        if server is not None:
            server.let_go()
    return summary


def _flow(
    server: EmbeddedServer | None, is_wanted: Callable[[], bool], is_calm: Callable[[], bool]
) -> Callable[[RunRequest], Any]:
    """Start Prefect's server, import Prefect with what its flows import late, and wait for the server.

    Raises NotWanted as soon as the run does not wait for it any more.
    """
    if not is_wanted():
        raise importing.NotWanted
    if server is not None:
        server.start()
    os.environ.update(client_environment(server))
    importing.import_beside(LATE_IMPORTS, is_wanted=is_wanted, is_calm=is_calm)
    from flows.run_campaign import run_campaign  # noqa: PLC0415 -- as above

    keep_our_signals()
    if server is not None:
        server.wait_ready(is_wanted=is_wanted)
    if not is_wanted():
        raise importing.NotWanted
    return run_campaign


def exit_code(summary: dict[str, Any], stop: StopSign, *, fit: bool = False) -> int:
    """Return the code of design: what stopped the run comes first, then unknown, capped and failed jobs.

    With `fit`, what was left out was chosen to be; without it, a cap left it out.
    """
    if stop.reason is not None and not isinstance(stop.reason, CapReached):
        return stop.reason.exit_code
    if summary["unknown"]:
        return EXIT_UNKNOWN
    if stop.reason is not None:
        return EXIT_CAP
    if any(summary["statuses"].get(status) for status in AT_FAL):
        return EXIT_UNKNOWN
    left = any(summary["statuses"].get(status) for status in LEFT_OVER)
    if summary["failed"] or left or summary["unpublished"]:
        return EXIT_FAILED_JOBS
    return EXIT_CAP if summary["skipped"] and not fit else 0


def _announcer(request: RunRequest) -> Callable[[StopSign], None]:
    again = f"callsheet resume {request.run_id}" + (" --sandbox" if request.sandbox else "")

    def announce(stop: StopSign) -> None:
        if stop.phase == "stopped":
            say(f"Stopped: nothing more is waited for, and nothing is lost. `{again}` goes on.")
        elif isinstance(stop.reason, PricesChanged | CanaryError):
            say("Nothing new is submitted; what is rendering is finished and collected.")
        elif isinstance(stop.reason, BudgetError):
            say("The money stops here: nothing new is bought; what is rendering is finished and collected.")
        else:
            say(
                "Nothing new is submitted; what is rendering is finished and collected. Ctrl-C stops now. "
                f"Either way nothing is lost: `{again}` goes on."
            )

    return announce


def _drain_prefect() -> None:
    """Let Prefect's background senders finish before its server goes away."""
    from prefect.events.worker import EventsWorker  # noqa: PLC0415 -- as above
    from prefect.logging.handlers import APILogWorker  # noqa: PLC0415

    EventsWorker.drain_all(timeout=5)
    APILogWorker.drain_all(timeout=5)


def _print(summary: dict[str, Any], stop: StopSign, *, as_json: bool) -> None:
    _say_why_it_stopped(summary, stop)
    if as_json:
        document(summary)
        return
    folder = Path(summary["dir"])
    shown = folder.relative_to(Path.cwd()) if folder.is_relative_to(Path.cwd()) else folder
    counts = ", ".join(f"{count} {status}" for status, count in summary["statuses"].items())
    result(f"{summary['run_id']}: {counts}")
    result(f"cost    ${summary['actual_usd']} (expected ${summary['expected_usd']})")
    result(f"videos  {shown / 'media'}")
    result(f"report  {shown / 'report.html'}")
    if summary["published"]:
        result(f"copied  {summary['published']}")
    if summary["failed"]:
        result(f"failed  {shown / 'errors.csv'} says why and can be run again")
    if summary["unknown"]:
        result("unknown nobody knows yet whether fal took them; `callsheet reconcile` looks them up")
    for line in last_words(summary):
        result(f"left    {line}")


def _say_why_it_stopped(summary: dict[str, Any], stop: StopSign) -> None:
    if stop.reason is not None:
        say(f"callsheet: {stop.reason}")
    for note in summary["notes"][:SHOWN_NOTES]:
        say(f"not finished: {note}")
    for remark in summary["remarks"][:SHOWN_NOTES]:
        say(f"note: {remark}")
    for over in summary["overruns"]:
        say(
            f"billed above its hold: {over['custom_id']} ({over['request_id']}): {over['billed_usd']} USD "
            f"instead of at most {over['held_usd']}"
        )
    if isinstance(stop.reason, BudgetError) and summary["skipped"]:
        say(
            f"{summary['skipped']} not bought. Once there is room (`callsheet budget list`), "
            f"`callsheet retry {summary['run_id']}{' --sandbox' if summary['sandbox'] else ''}` buys them"
        )
