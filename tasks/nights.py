"""What Prefect knows of a campaign's other scheduled runs."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from uuid import UUID

from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterDeploymentId,
    FlowRunFilterExpectedStartTime,
    FlowRunFilterStartTime,
)
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.client.schemas.sorting import FlowRunSort
from prefect.runtime import deployment, flow_run

from callsheet.engine.nights import ScheduledRun, ScheduleRules, superseded

logger = logging.getLogger(__name__)

SUPERSEDED = "Superseded"
"""The name of the state in which a run ends that another one stands for."""

LOOKED_AT = 200


async def superseded_by(rules: ScheduleRules) -> str | None:
    """Say why this flow run is not carried out; None where it is.

    Only runs that a schedule started are compared: a run that a person starts is carried out. So is one that
    Prefect's server cannot say anything about.
    """
    if deployment.id is None:
        return None
    try:
        async with get_client() as client:
            own = await client.read_flow_run(UUID(str(flow_run.id)))
            if not own.auto_scheduled or own.expected_start_time is None:
                return None
            others = await _others(client, own, own.expected_start_time)
    except Exception as error:  # noqa: BLE001 -- whatever it is: a night that runs twice buys nothing twice
        logger.warning("the other runs of this schedule are not known: %r", error)
        return None
    return superseded(own.expected_start_time, others, now=datetime.now(UTC), rules=rules)


async def _others(client: PrefectClient, own: FlowRun, due_at: datetime) -> list[ScheduledRun]:
    """Return the scheduled runs of the same deployment that were due or began after this one was due."""
    of_deployment = FlowRunFilterDeploymentId(any_=[UUID(str(deployment.id))])
    due = FlowRunFilterExpectedStartTime.model_validate({"after_": due_at, "before_": datetime.now(UTC)})
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
    assert run.expected_start_time is not None, "a scheduled run has its time"
    return ScheduledRun(run.expected_start_time, run.start_time, counts=not is_off)
