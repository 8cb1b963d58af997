"""`callsheet runs`: the runs of a ledger as a table, or its figures for Prometheus."""

from __future__ import annotations

from typing import Annotated, Any

from callsheet.cli.options import Json, Sandbox, option, require_port, run_settings
from callsheet.cli.output import document, result, show_line, show_table
from callsheet.errors import UsageError
from callsheet.ledger import Ledger, State, activity, wall_clock_ms
from callsheet.ledger.activity import DONE, MOST_RUNS, WAITING, RunOverview
from callsheet.ledger.states import SENT_TO_FAL
from callsheet.report.rows import iso_utc
from pricing.money import usd_rounded_up, usd_text
from pricing.render_times import in_words

COLUMNS = (
    "run", "campaign", "state", "jobs", "done", "failed", "unknown", "at fal", "fetching", "waiting",
    "not bought", "spent", "held", "owner", "age",
)  # fmt: skip
NUMBERS = frozenset(COLUMNS[COLUMNS.index("jobs") : COLUMNS.index("owner")])

COUNTED = (
    DONE,
    (State.FAILED,),
    (State.UNKNOWN,),
    tuple(SENT_TO_FAL),
    (State.RENDERED,),
    WAITING,
    (State.CANCELLED, State.SKIPPED_BUDGET),
)
"""The states that each column from `done` to `not bought` counts: every job is in one of them."""

Campaign = Annotated[str | None, option("RUNS_CAMPAIGN", "Only the runs of this campaign")]
Limit = Annotated[int, option("RUNS_LIMIT", "Show at most so many runs, the newest first")]
MetricsPort = Annotated[
    int | None, option("METRICS_PORT", "Serve the ledger's figures to Prometheus on this port instead")
]
MetricsHost = Annotated[str, option("METRICS_HOST", "The address that they are served on")]


def runs(
    *,
    campaign: Campaign = None,
    limit: Limit = 20,
    metrics_port: MetricsPort = None,
    metrics_host: MetricsHost = "127.0.0.1",
    sandbox: Sandbox = False,
    json: Json = False,
) -> int:
    """List the runs of the ledger, whoever carries them out.

    A run is running (a living process works on it), idle (nobody does),
    stopped (on purpose), opening, or finished. Its jobs are done, failed,
    unknown, at fal, rendered and being fetched, waiting, or not bought
    (cancelled, or left out for want of budget). Works from every machine
    that reaches the ledger. With --metrics-port the ledger's figures are
    served to Prometheus until Ctrl-C (needs callsheet[metrics]).

    Example: callsheet runs --campaign spring-launch
    """
    if not 1 <= limit <= MOST_RUNS:
        raise UsageError(f"--limit is {limit}; use 1 to {MOST_RUNS:,}")
    settings = run_settings(sandbox=sandbox)
    if metrics_port is not None:
        require_port("--metrics-port", metrics_port, least=1)
        try:
            from callsheet.cli.metrics import serve_metrics  # noqa: PLC0415 -- its package is an extra
        except ModuleNotFoundError as error:
            raise UsageError(f"{error.name} is not installed; install callsheet[metrics]") from error

        serve_metrics(settings.ledger, metrics_host, metrics_port)
        return 0
    with Ledger.open(settings.ledger) as ledger:
        found = ledger.do(activity.overview, campaign=campaign, limit=limit)
    now_ms = wall_clock_ms()
    if json:
        document({"runs": [_document(each) for each in found]})
    elif not found:
        elsewhere = "" if settings.ledger_url else "; those of the sandbox are listed with --sandbox"
        result(("no runs so far" if campaign is None else f"no runs of {campaign}") + elsewhere)
    else:
        show_table(COLUMNS, [_line(each, now_ms) for each in found], right=NUMBERS)
        for each in found:
            if each.stopped_by and not each.alive:
                show_line(f"{each.run.run_id} stopped: {each.stopped_by}")
    return 0


def _line(each: RunOverview, now_ms: int) -> list[str | int]:
    owner = f"{each.owner.host}:{each.owner.pid}" if each.alive and each.owner else ""
    return [
        each.run.run_id,
        each.run.campaign,
        each.state + (", FROZEN" if each.tally.frozen else ""),
        each.tally.jobs,
        *(each.count(*states) for states in COUNTED),
        usd_rounded_up(each.tally.spent_nano),
        usd_rounded_up(each.tally.held_nano),
        owner or ("being started" if each.reserved else ""),
        in_words(max(0, now_ms - each.run.created_ms) / 1000),
    ]


def _document(each: RunOverview) -> dict[str, Any]:
    owner = each.owner
    return {
        "run_id": each.run.run_id,
        "campaign": each.run.campaign,
        "state": each.state,
        "jobs": each.tally.jobs,
        "statuses": {state.value: count for state, count in each.tally.counts.items()},
        "spent_usd": usd_text(each.tally.spent_nano),
        "held_usd": usd_text(each.tally.held_nano),
        "frozen": each.tally.frozen,
        "alive": each.alive,
        "stopped_by": each.stopped_by,
        "owner": owner and {"host": owner.host, "pid": owner.pid, "since": iso_utc(owner.since_ms)},
        "created_at": iso_utc(each.run.created_ms),
        "finished_at": iso_utc(each.run.closed_ms),
        "dir": each.run.out,
    }
