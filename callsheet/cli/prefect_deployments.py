"""What Callsheet has on a Prefect server: its deployments, and what the server says of their work pools.

Imported late: Prefect takes a second.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import prefect
from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.objects import WorkerStatus

from callsheet.engine.request import RunRequest
from callsheet.engine.schedule_rules import ScheduleRules
from flows.keeper import keeper
from flows.reconcile_ledger import reconcile_ledger
from flows.render_shard import render_shard
from flows.run_campaign import run_campaign
from flows.watch_manifest import watch_manifest
from pricing.render_times import in_words
from tasks.deploying import Wanted, our_deployments, server_version
from tasks.schedules import check_schedule

EVERY_MINUTE = "* * * * *"

BEGINS_WITHIN_S = 60
"""The shortest time that Prefect allows. Until it has passed, a run whose worker died as it took it keeps the
one place of its deployment, and the runs of the next minutes are cancelled. Prefect renews the place when a
run begins, and for as long as it lasts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """What a person asks `deploy` for. `name` is the campaign's, None where there is none."""

    name: str | None
    request: RunRequest
    rules: ScheduleRules
    cron: str | None
    timezone: str
    watch: bool
    work_pool: str
    reconcile_cron: str | None


def wanted_deployments(asked: Schedule) -> list[Wanted]:
    """Return the campaign's deployments, then those of the ledger and of the work pool.

    Raises UsageError for a schedule that is none, and for an unknown time zone.
    """
    for cron in (asked.cron, asked.reconcile_cron):
        if cron is not None:
            check_schedule(cron, asked.timezone)
    pool, is_sandbox = asked.work_pool, asked.request.sandbox
    of_ledger = "callsheet-sandbox" if is_sandbox else "callsheet"
    rehearsed = {"sandbox": True} if is_sandbox else {}
    return [
        *_of_campaign(asked),
        Wanted(
            flow=reconcile_ledger,
            name=of_ledger,
            work_pool=pool,
            cron=asked.reconcile_cron,
            parameters=rehearsed,
        ),
        Wanted(
            flow=keeper,
            name=of_ledger,
            work_pool=pool,
            cron=EVERY_MINUTE,
            overlap="skip",
            begins_within_s=BEGINS_WITHIN_S,
            parameters={"work_pool": pool, **rehearsed},
        ),
        Wanted(flow=render_shard, name=pool, work_pool=pool),
    ]


def unwanted_deployments(asked: Schedule) -> list[str]:
    """Return the full names of deployments that the campaign may have from an earlier `deploy`."""
    return [] if asked.name is None or asked.watch else [f"{watch_manifest.name}/{asked.name}"]


def _of_campaign(asked: Schedule) -> list[Wanted]:
    if asked.name is None:
        return []
    campaign = Wanted(
        flow=run_campaign,
        name=asked.name,
        work_pool=asked.work_pool,
        cron=asked.cron,
        timezone=asked.timezone,
        overlap=asked.rules.overlap,
        parameters={
            "request": asked.request.model_dump(exclude_defaults=True),
            "schedule": asked.rules.model_dump(),
        },
    )
    if not asked.watch:
        return [campaign]
    watch = Wanted(
        flow=watch_manifest,
        name=asked.name,
        work_pool=asked.work_pool,
        cron=EVERY_MINUTE,
        overlap="skip",
        begins_within_s=BEGINS_WITHIN_S,
        parameters={"source": asked.request.source, "deployment": campaign.full_name},
    )
    return [campaign, watch]


Finding = tuple[bool, str]


async def prefect_findings(url: str, *, clocks_apart_s: float) -> dict[str, Finding]:
    """Return what there is to say of the server and of the pools of our deployments.

    The server's clock may be `clocks_apart_s` seconds from this machine's.

    Raises UsageError where what answers there is not Prefect's API. Prefect's own errors are raised: the
    caller has asked before whether the server answers.
    """
    async with get_client() as client:
        theirs, ours = await server_version(client), prefect.__version__
        same = theirs.split(".")[:2] == ours.split(".")[:2]
        advice = "" if same else f"; this environment has {ours}: use one version"
        gap_s = await _clock_gap_s(client)
        agree = gap_s <= clocks_apart_s
        if not agree:
            advice += f"; its clock differs from this machine's by {gap_s:.0f} s: set both by NTP"
        found = {"server": (same and agree, f"Prefect {theirs} at {url}{advice}")}
        deployments = await our_deployments(client)
        pools = sorted({each.work_pool_name for _, each in deployments if each.work_pool_name})
        lines = [line for pool in pools for line in [await _pool(client, pool)]]
    if lines:
        found["workers"] = (all(ok for ok, _ in lines), "; ".join(text for _, text in lines))
    return found


async def _clock_gap_s(client: PrefectClient) -> float:
    """Return by how many seconds the server's clock, the Date of its reply, is from this machine's."""
    date = (await client.hello()).headers.get("date")
    if date is None:  # a proxy may remove it
        return 0.0
    return abs((parsedate_to_datetime(date) - datetime.now(UTC)).total_seconds())


async def _pool(client: PrefectClient, name: str) -> Finding:
    workers = await client.read_workers_for_work_pool(name)
    online = [each for each in workers if each.status is WorkerStatus.ONLINE]
    if (await client.read_work_pool(name)).is_paused:
        return False, f"the work pool {name} is paused: `prefect work-pool resume {name}`"
    if online:
        return True, f"{name}: {len(online)} of {len(workers)} workers online"
    beats = [each.last_heartbeat_time for each in workers if each.last_heartbeat_time]
    since = f", the last one {_ago(max(beats))} ago" if beats else ""
    return False, f"no worker of the work pool {name} answers{since}: `prefect worker start --pool {name}`"


def _ago(moment: datetime) -> str:
    return in_words(max(0.0, (datetime.now(UTC) - moment).total_seconds()))
