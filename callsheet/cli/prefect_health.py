"""What a Prefect server says of itself, of the work pools that Callsheet uses, and of their workers."""

from __future__ import annotations

from datetime import UTC, datetime

import prefect
from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.filters import FlowFilter, FlowFilterName
from prefect.client.schemas.objects import WorkerStatus

from pricing.render_times import in_words

FLOWS = ("run-campaign", "render-shard", "keeper", "reconcile-ledger")

Finding = tuple[bool, str]


async def prefect_findings(url: str) -> dict[str, Finding]:
    """Return what there is to say of the server and of the pools of our deployments.

    Prefect's own errors are raised: the caller has asked before whether the server answers.
    """
    async with get_client() as client:
        theirs, ours = await client.api_version(), prefect.__version__
        same = theirs.split(".")[:2] == ours.split(".")[:2]
        advice = "" if same else f"; this environment has {ours}: use one version"
        found = {"server": (same, f"Prefect {theirs} at {url}{advice}")}
        named = FlowFilter(name=FlowFilterName(any_=[*FLOWS]))
        deployments = await client.read_deployments(flow_filter=named)
        pools = sorted({each.work_pool_name for each in deployments if each.work_pool_name})
        lines = [line for pool in pools for line in [await _pool(client, pool)]]
    if lines:
        found["workers"] = (all(ok for ok, _ in lines), "; ".join(text for _, text in lines))
    return found


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
