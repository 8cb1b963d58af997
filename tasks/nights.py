"""What starts a campaign's run: its schedule, whose other runs Prefect knows, or a watch on its manifest.

A variable of Prefect has what the watch saw.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas import State
from prefect.client.schemas.filters import (
    FlowFilter,
    FlowFilterName,
    FlowRunFilter,
    FlowRunFilterDeploymentId,
    FlowRunFilterExpectedStartTime,
    FlowRunFilterStartTime,
    FlowRunFilterState,
    FlowRunFilterStateType,
    WorkPoolFilter,
    WorkPoolFilterName,
)
from prefect.client.schemas.objects import ConcurrencyLimitStrategy, FlowRun, StateType
from prefect.client.schemas.sorting import FlowRunSort
from prefect.deployments import arun_deployment
from prefect.exceptions import ObjectNotFound
from prefect.runtime import deployment, flow_run
from prefect.states import Completed, Scheduled
from prefect.variables import Variable

from callsheet.engine.schedule_rules import (
    ScheduledRun,
    ScheduleRules,
    Watched,
    fingerprint_of,
    look,
    superseded,
)

logger = logging.getLogger(__name__)

CAMPAIGN_FLOW = "run-campaign"

SUPERSEDED = "Superseded"
"""The name of the state in which a run ends that another one stands for."""

SKIPPED = "Deployment concurrency limit reached."
"""What Prefect writes to a run that it cancels because another one goes on."""

NO_PLACE = "Deployment concurrency "
"""How the message of every run begins that Prefect cancels for want of a place, also as it was to begin."""

LOOKED_AT = 200

LOST = "its worker had not begun it within ten minutes: scheduled anew"

LOST_AFTER = timedelta(minutes=10)
"""How long a worker may take to begin a run that it has taken. After that the worker counts as dead."""


async def superseded_by(rules: ScheduleRules) -> str | None:
    """Say why this flow run is not carried out; None where it is.

    Only runs that a schedule started are compared: a run that a person starts is carried out. So is one that
    Prefect's server cannot say anything about. The time is the server's, which wrote when this run began:
    by a worker's clock that is ahead, runs would seem due or missed that are not.
    """
    if deployment.id is None:
        return None
    try:
        async with get_client() as client:
            own = await client.read_flow_run(UUID(str(flow_run.id)))
            if not own.auto_scheduled or own.expected_start_time is None:
                return None
            now = own.state.timestamp if own.state and own.state.is_running() else datetime.now(UTC)
            others = await _others(client, own, own.expected_start_time, now)
    except Exception as error:  # noqa: BLE001 -- whatever it is: a night that runs twice buys nothing twice
        logger.warning("the other runs of this schedule are not known: %r", error)
        return None
    return superseded(own.expected_start_time, others, now=now, rules=rules)


async def _others(client: PrefectClient, own: FlowRun, due_at: datetime, now: datetime) -> list[ScheduledRun]:
    """Return the scheduled runs of the same deployment that were due or began after this one was due."""
    of_deployment = FlowRunFilterDeploymentId(any_=[UUID(str(deployment.id))])
    due = FlowRunFilterExpectedStartTime.model_validate({"after_": due_at, "before_": now})
    begun = FlowRunFilterStartTime.model_validate({"after_": due_at})
    found: dict[UUID, FlowRun] = {}
    for wanted in (
        FlowRunFilter(deployment_id=of_deployment, expected_start_time=due),
        FlowRunFilter(deployment_id=of_deployment, start_time=begun),
    ):
        runs = await client.read_flow_runs(
            flow_run_filter=wanted, sort=FlowRunSort.EXPECTED_START_TIME_DESC, limit=LOOKED_AT
        )
        found |= {each.id: each for each in runs if each.auto_scheduled and each.id != own.id}
    return [_scheduled(each) for each in found.values()]


def _scheduled(run: FlowRun) -> ScheduledRun:
    is_off = run.state_name == SUPERSEDED or run.state_type in (StateType.CANCELLED, StateType.CANCELLING)
    is_off |= run.state_type is StateType.CRASHED and run.start_time is None
    skipped = run.state is not None and run.state.is_cancelled() and run.state.message == SKIPPED
    assert run.expected_start_time is not None, "a scheduled run has its time"
    return ScheduledRun(run.expected_start_time, run.start_time, counts=not is_off, skipped=skipped)


async def start_lost_runs(pool: str, *, sandbox: bool, now: datetime | None = None) -> None:
    """Schedule anew the campaigns' runs of a work pool and a ledger that died with the worker that took them.

    Such a run gives its place back and takes one again, as any other. Should its worker live after all, the
    ledger refuses the second process; where a run may buy again what was made (`again`) it would not, so that
    is left to a person. `now` is by the clock of Prefect's server, by default the moment at which this flow
    run began. Prefect's errors are logged: a later look comes.
    """
    try:
        async with get_client() as client:
            if now is None:
                own = await client.read_flow_run(UUID(str(flow_run.id)))
                now = own.start_time or datetime.now(UTC)
            for each in await _pending_runs(client, pool):
                request = each.parameters.get("request") or {}
                taken_at = each.state.timestamp if each.state else now
                is_ours = request.get("sandbox", False) == sandbox and not request.get("again")
                if is_ours and now - taken_at > LOST_AFTER:
                    logger.warning("flow run %s has not begun since %s: it starts anew", each.name, taken_at)
                    await client.set_flow_run_state(each.id, Scheduled(message=LOST))
    except Exception as error:  # noqa: BLE001 -- whatever it is: the ledger is looked after all the same
        logger.warning("whether runs were lost with their worker is not known: %r", error)


async def _pending_runs(client: PrefectClient, pool: str) -> list[FlowRun]:
    """Return the campaigns' runs of a work pool that a worker has taken and that have not begun."""
    return await client.read_flow_runs(
        flow_filter=FlowFilter(name=FlowFilterName(any_=[CAMPAIGN_FLOW])),
        flow_run_filter=FlowRunFilter(
            state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.PENDING]))
        ),
        work_pool_filter=WorkPoolFilter(name=WorkPoolFilterName(any_=[pool])),
        limit=LOOKED_AT,
    )


async def look_at_manifest(source: str, deployment: str) -> State[None]:
    """Look once, and start the deployment where the manifest has changed and is whole.

    The state says what was seen. A run is started before it is remembered, under a key, so that a look that
    dies in between neither forgets it nor starts it twice. Where overlapping runs are skipped, a change that
    comes while another run goes on is kept for a later look.
    """
    name = f"callsheet_watch_{hashlib.sha256(deployment.encode()).hexdigest()[:16]}"
    now = await asyncio.to_thread(fingerprint_of, source)
    kept: Any = await Variable.aget(name)
    before = Watched(**kept) if kept else Watched()
    async with get_client() as client:
        known = before._replace(started="") if await _was_skipped(client, before.run) else before
        after, is_due = look(known, now)
        waits = is_due and await _would_be_skipped(client, deployment)
    if waits:
        return Completed(
            name="Waiting", message=f"a run of {deployment} goes on; the change waits for its end"
        )
    if is_due:
        # The run that was skipped is part of the key: under the same key Prefect returns that run.
        key = f"{name}:{before.started}:{now}:{before.run}"
        started = await arun_deployment(deployment, timeout=0, as_subflow=False, idempotency_key=key)
        after = after._replace(run=str(started.id))
    if after != before:
        await Variable.aset(name, after._asdict(), overwrite=True)
    if is_due:
        return Completed(name="Started", message=f"the manifest has changed: {deployment} is started")
    changing = now != before.seen
    return Completed(name="Changing" if changing else "Unchanged", message="nothing is started")


async def _was_skipped(client: PrefectClient, run: str) -> bool:
    """Whether Prefect has cancelled the run that the last change started, because another one went on."""
    if not run:
        return False
    try:
        state = (await client.read_flow_run(UUID(run))).state
    except ObjectNotFound:  # a person has deleted it
        return False
    return state is not None and state.is_cancelled() and (state.message or "").startswith(NO_PLACE)


async def _would_be_skipped(client: PrefectClient, name: str) -> bool:
    """Whether Prefect would cancel a run of this deployment now, because another one goes on."""
    found = await client.read_deployment_by_name(name)
    limit, options = found.global_concurrency_limit, found.concurrency_options
    if limit is None or options is None:
        return False
    skips = options.collision_strategy is ConcurrencyLimitStrategy.CANCEL_NEW
    return skips and limit.active_slots >= limit.limit
