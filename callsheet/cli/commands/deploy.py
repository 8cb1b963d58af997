"""`callsheet deploy`: a campaign's schedule on a Prefect server."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import App, Parameter

from callsheet.cli.options import NOTHING_ASKED, Asked, Json, budget_nano_of, option
from callsheet.cli.output import document, note, result, show_table
from callsheet.cli.prefect import configured_api_url, require_answer
from callsheet.engine.request import RunRequest  # noqa: TID253 -- what is deployed; Prefect is slower still
from callsheet.engine.schedule_rules import ScheduleRules  # noqa: TID253 -- as above
from callsheet.errors import UsageError
from manifests.planner import written_campaign
from manifests.readers.remote import bare_address, is_remote
from manifests.row_filter import RowFilter
from pricing.money import parse_threshold

_NOT_IN_NAMES = "/%&><"
_POOL_NAME = re.compile(f"[^{_NOT_IN_NAMES}]+")

Source = Annotated[
    str | None,
    Parameter(help="A campaign file, manifest or plan file; the worker reads it from its own disk"),
]
Campaign = Annotated[str, Parameter(help="The campaign's name, or the file that it was deployed from")]
Cron = Annotated[str | None, option("CRON", "When to run the campaign, e.g. '0 2 * * *'")]
Timezone = Annotated[str | None, option("TIMEZONE", "The time zone of --cron, e.g. Europe/Berlin (UTC)")]
Watch = Annotated[
    bool,
    option("WATCH", "Run the campaign whenever the files of its manifest have changed; looks every minute"),
]
ReconcileCron = Annotated[str | None, option("RECONCILE_CRON", "When to start reconcile-ledger (UTC)")]
Overlap = Annotated[
    Literal["wait", "skip"],
    option("OVERLAP", "A run that is due while another one goes on waits for it, or is skipped"),
]
CatchUp = Annotated[
    Literal["once", "never"],
    option("CATCH_UP", "Runs missed while no worker was there are made good by one run, or by none"),
]
WorkPool = Annotated[str, option("WORK_POOL", "The work pool; one of type process is created if missing")]
PoolType = Annotated[
    Literal["process", "docker", "kubernetes"] | None,
    option("POOL_TYPE", "The type that the work pool must have"),
]
ApproveAbove = Annotated[
    str | None, option("APPROVE_ABOVE_USD", "Ask for approval in Prefect if a run may cost more")
]
Out = Annotated[str | None, option("OUT", "The folder for run folders (default: runs, next to the source)")]
ShardJobs = Annotated[
    int | None,
    option("SHARD_JOBS", "Jobs of one shard, 1-1000; by default about an hour of work, 0 never splits a run"),
]
Automations = Annotated[
    bool, option("AUTOMATIONS", "Also make Prefect's automations for Callsheet's events and for dead runs")
]
DryRun = Annotated[bool, option("DRY_RUN", "Show what would change, and change nothing")]

app = App(name="deploy")


@app.default
def deploy(
    source: Source = None,
    *,
    cron: Cron = None,
    timezone: Timezone = None,
    watch: Watch = False,
    overlap: Overlap = "wait",
    catch_up: CatchUp = "once",
    asked: Asked = NOTHING_ASKED,
    out: Out = None,
    approve_above_usd: ApproveAbove = None,
    shard_jobs: ShardJobs = None,
    work_pool: WorkPool = "callsheet",
    pool_type: PoolType = None,
    reconcile_cron: ReconcileCron = None,
    automations: Automations = False,
    dry_run: DryRun = False,
    json: Json = False,
) -> int:
    """Register a campaign and its schedule with a Prefect server.

    The server is the one at PREFECT_API_URL.
    Each campaign has one deployment, named after it; deploying it again
    changes that one. Also registers, once per ledger, the flows that look
    after it. Workers need this package and FAL_KEY in their environment, and
    CALLSHEET_LEDGER_URL if there are several. No key is stored in Prefect.
    With --sandbox the schedule is a rehearsal: no key, no money.

    Example: callsheet deploy campaign.toml --cron "0 2 * * *" --timezone Europe/Berlin --fit
    """
    url = _server_url()
    _check_options(source, cron=cron, timezone=timezone, watch=watch, work_pool=work_pool)
    budget_nano_of(asked.budget_usd)
    if approve_above_usd is not None:
        try:
            parse_threshold(approve_above_usd)
        except ValueError as error:
            raise UsageError(f"--approve-above-usd: {error}. 0 asks about every run") from error
    RowFilter.of(first=asked.first, where=asked.where, sample=asked.sample)
    request = RunRequest(
        source=_where(source),
        out=_where(out),
        approve_above_usd=approve_above_usd,
        shard_jobs=shard_jobs,
        **asdict(asked),
    )
    name = None if source is None else _deployable(written_campaign(source).name)
    require_answer(url)
    from callsheet.cli.prefect_deployments import Schedule, unwanted_deployments, wanted_deployments
    from tasks.deploying import register, set_automations

    wanted = Schedule(
        name=name,
        request=request,
        rules=ScheduleRules(overlap=overlap, catch_up=catch_up),
        cron=cron,
        timezone=timezone or "UTC",
        watch=watch,
        work_pool=work_pool,
        reconcile_cron=reconcile_cron,
    )
    deployments, unwanted = wanted_deployments(wanted), unwanted_deployments(wanted)
    pools, found = asyncio.run(register(deployments, unwanted=unwanted, pool_type=pool_type, dry_run=dry_run))
    changes = [each.document() for each in found]
    of_pools = [each.document() for each in pools]
    made, sends = asyncio.run(set_automations(dry_run=dry_run)) if automations else ([], True)
    if json:
        told = {"api": url, "work_pool": work_pool, "dry_run": dry_run, "deployments": changes}
        document({**told, "work_pools": of_pools, "automations": made})
        return 0
    _show("work pool ", of_pools, dry_run=dry_run)
    _show("", changes, dry_run=dry_run)
    for each in made:
        result(f"{'would make or renew the ' if dry_run else ''}automation {each}")
    if not sends:
        note(
            "the automations for events send nothing yet: save a notification block named `callsheet` in "
            "Prefect and run this again"
        )
    if not dry_run:
        note(f"start a worker with: prefect worker start --pool {work_pool}")
    return 0


@app.command(name="list")
def list_deployments(*, json: Json = False) -> int:
    """Show the deployments of the Prefect server with schedule, work pool and next run.

    Example: callsheet deploy list
    """
    url = _server_url()
    require_answer(url)
    from tasks.deploying import deployed

    lines = asyncio.run(deployed())
    if json:
        document({"api": url, "deployments": lines})
    elif not lines:
        result("nothing is deployed. `callsheet deploy campaign.toml --cron '0 2 * * *'` deploys a campaign")
    else:
        show_table(list(lines[0]), [list(line.values()) for line in lines])
    return 0


@app.command(name="remove")
def remove_deployment(campaign: Campaign, *, json: Json = False) -> int:
    """Remove a campaign's deployment and its scheduled runs.

    Its runs and videos stay. A full name, such as keeper/callsheet, removes
    that deployment.

    Example: callsheet deploy remove spring
    """
    url = _server_url()
    name = written_campaign(campaign).name if Path(campaign).is_file() else campaign
    require_answer(url)
    from tasks.deploying import remove

    removed = asyncio.run(remove(name))
    if json:
        document({"api": url, "removed": removed})
        return 0
    for each in removed:
        result(f"removed {each}")
    return 0


def _check_options(
    source: str | None, *, cron: str | None, timezone: str | None, watch: bool, work_pool: str
) -> None:
    """Raise UsageError for options that make no sense together."""
    if not _POOL_NAME.fullmatch(work_pool):
        raise UsageError(f"--work-pool is {work_pool[:80]!r}; use a name without / % & > <")
    if (cron is not None or watch) and source is None:
        option_name = "--watch" if watch else "--cron"
        raise UsageError(
            f"{option_name} needs a campaign to run, e.g. callsheet deploy campaign.toml --cron '0 2 * * *'"
        )
    if watch and cron is not None:
        raise UsageError(
            "--watch starts the campaign when its manifest changes, --cron by the clock; give one"
        )
    if timezone is not None and cron is None:
        raise UsageError("--timezone says where the hours of --cron are meant; give --cron as well")


def _server_url() -> str:
    url = configured_api_url(os.environ, Path.home())
    if url is None:
        raise UsageError(
            "no Prefect server is configured: set PREFECT_API_URL (`prefect server start` starts a server)"
        )
    return url


def _deployable(campaign: str) -> str:
    """Return a campaign's name where a deployment can have it. Raises UsageError where it cannot."""
    if any(letter in campaign for letter in _NOT_IN_NAMES):
        raise UsageError(
            f"the campaign is called {campaign!r}, and a deployment's name must be without / % & > <. "
            "Give the campaign another name in its file"
        )
    return campaign


def _where(path: str | None) -> str | None:
    """Return an absolute path: workers start in temporary folders of their own.

    Raises UsageError for an address with a signature or a password: Prefect shows it to everybody.
    """
    if path is not None and bare_address(path) != path:
        raise UsageError(
            f"{bare_address(path)}: an address with a query or a password cannot be deployed, because "
            "Prefect shows it to everybody. Use s3:// or gs:// with the worker's own credentials, or a path"
        )
    return path if path is None or is_remote(path) else str(Path(path).resolve())


def _show(kind: str, changes: Sequence[Mapping[str, Any]], *, dry_run: bool) -> None:
    """Print what changes, a field a line."""
    would = {"new": "would register", "changed": "would change", "removed": "would remove"}
    words = would if dry_run else {"new": "registered"}
    for each in changes:
        result(f"{words.get(each['change'], each['change'])} {kind}{each['name']}")
        for key, field in each["fields"].items():
            before = "" if each["change"] == "new" else f"{field['old']} -> "
            result(f"  {key}: {before}{field['new']}")
