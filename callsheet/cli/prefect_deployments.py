"""The deployments of a campaign, and those that every ledger and every work pool has once. Imported late."""

from __future__ import annotations

from dataclasses import dataclass

from callsheet.engine.nights import ScheduleRules
from callsheet.engine.request import RunRequest
from flows.keeper import keeper
from flows.reconcile_ledger import reconcile_ledger
from flows.render_shard import render_shard
from flows.run_campaign import run_campaign
from flows.watch_manifest import watch_manifest
from tasks.deploying import Wanted, check_schedule

EVERY_MINUTE = "* * * * *"


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
            parameters={"work_pool": pool, **rehearsed},
        ),
        Wanted(flow=render_shard, name=pool, work_pool=pool),
    ]


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
        parameters={"source": asked.request.source, "deployment": campaign.full_name},
    )
    return [campaign, watch]
