"""Registers flows with a Prefect server: deployments in one work pool, without a key."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Literal

import httpx
import prefect
from httpx import codes
from prefect import Flow
from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.filters import (
    DeploymentFilter,
    DeploymentFilterTags,
    FlowFilter,
    FlowFilterId,
    FlowRunFilter,
    FlowRunFilterDeploymentId,
    FlowRunFilterStartTime,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import ConcurrencyLimitConfig, FlowRun, StateType
from prefect.client.schemas.responses import DeploymentResponse
from prefect.client.schemas.schedules import CronSchedule
from prefect.client.schemas.sorting import DeploymentSort, FlowRunSort
from prefect.exceptions import ObjectNotFound
from prefect.schedules import Cron
from prefect.types.entrypoint import EntrypointType
from prefect.workers.process import ProcessWorker

from callsheet.engine.schedule_rules import shown
from callsheet.errors import CallsheetError, UsageError, without_login
from tasks.automations import HEARTBEAT_S, register_automations

PROCESS = "process"
TAG = "callsheet"
"""Every deployment of ours has this tag; those of campaigns are of these flows:"""

CAMPAIGN_FLOWS = ("run-campaign", "watch-manifest")

JOB_VARIABLES = {
    "env": {
        "PREFECT_LOGGING_EXTRA_LOGGERS": "callsheet",
        "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": str(HEARTBEAT_S),
    }
}
"""The log of a run is among its pages, and a dead one is noticed. Nothing secret belongs here: Prefect shows
it to everybody."""

PAGE = 200
"""What Prefect's server returns at most at a time."""

SCHEDULED = (StateType.SCHEDULED, StateType.PENDING)
STRATEGIES = {"wait": "ENQUEUE", "skip": "CANCEL_NEW"}
Overlap = Literal["wait", "skip"]
Change = Literal["new", "changed", "unchanged", "removed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A deployment as it is to be: a flow, when it starts and what with.

    `cron` is None where only a person or another flow starts it. `overlap` says what happens to a run that is
    due while another one goes on; None lets them run side by side. A run that has not begun within
    `begins_within_s` seconds (60 or more) loses its place to another one. None leaves this to the server
    (`PREFECT_SERVER_CONCURRENCY_INITIAL_DEPLOYMENT_LEASE_DURATION`, 300 seconds).
    """

    flow: Flow[Any, Any]
    name: str
    work_pool: str
    cron: str | None = None
    timezone: str = "UTC"
    overlap: Overlap | None = None
    begins_within_s: int | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)

    @property
    def full_name(self) -> str:
        """The name as Prefect shows it: `run-campaign/spring`."""
        return f"{self.flow.name}/{self.name}"

    def fields(self) -> dict[str, str]:
        """Return what is compared with the deployment that exists, in words."""
        return {
            "work pool": self.work_pool,
            "schedule": f"{self.cron} {self.timezone}" if self.cron else "none",
            "overlap": self.overlap or "any",
            **_begins_within(self.begins_within_s),
            "entrypoint": f"{self.flow.fn.__module__}.{self.flow.fn.__name__}",
            **_flat("", self.parameters),
        }


@dataclass(frozen=True, slots=True)
class Difference:
    """What registering changes in a deployment or a work pool: for each field its value before and after."""

    name: str
    change: Change
    fields: Mapping[str, tuple[str, str]]

    def document(self) -> dict[str, Any]:
        """Return it for JSON."""
        fields = {key: {"old": old, "new": new} for key, (old, new) in self.fields.items()}
        return {"name": self.name, "change": self.change, "fields": fields}


def difference(name: str, before: Mapping[str, str] | None, after: Mapping[str, str]) -> Difference:
    """Compare the fields there are with the ones wanted; `before` is None where there is none yet."""
    changed = {
        key: ((before or {}).get(key, "not set"), after.get(key, "not set"))
        for key in dict.fromkeys([*after, *(before or {})])
        if before is None or before.get(key) != after.get(key)
    }
    return Difference(name, "new" if before is None else "changed" if changed else "unchanged", changed)


async def register(
    wanted: Sequence[Wanted],
    *,
    unwanted: Sequence[str] = (),
    pool_type: str | None = None,
    dry_run: bool = False,
) -> tuple[list[Difference], list[Difference]]:
    """Register deployments, or change those that differ; remove the `unwanted` ones, by their full names.

    Returns what changes of the work pools, and of the deployments. `dry_run` changes nothing. A process pool
    is made where there is none. Raises UsageError for a pool of another type, for one that does not exist and
    is to be of another type than process, and for a server of another version than ours; CallsheetError
    where the server fails.
    """
    async with _server() as client:
        names = dict.fromkeys(each.work_pool for each in wanted)
        pools = [await _pool(client, name, pool_type, dry_run=dry_run) for name in names]
        changes = [await _registered(client, each, dry_run=dry_run) for each in wanted]
        for name in unwanted:
            changes += await _unregistered(client, name, dry_run=dry_run)
        return pools, changes


async def set_automations(*, dry_run: bool = False) -> tuple[list[str], bool]:
    """Make or renew the automations; `dry_run` changes none. Returns their names, and whether they send."""
    async with _server() as client:
        return await register_automations(client, dry_run=dry_run)


async def remove(campaign: str) -> list[str]:
    """Remove the deployments of a campaign, or one by its full name; returns the full names.

    Their runs that have not begun go with them. Raises UsageError where there is none, naming those that
    exist.
    """
    async with _server() as client:
        every = await our_deployments(client)
        found = [(name, each) for name, each in every if _is_campaigns(name)]
        ours = [(name, each) for name, each in every if name == campaign]
        ours = ours or [(name, each) for name, each in found if each.name == campaign]
        if not ours:
            known = ", ".join(sorted({each.name for _, each in found})) or "none"
            raise UsageError(f"there is no deployment of the campaign {campaign!r}. Deployed are: {known}")
        for _, each in ours:
            await _delete(client, each)
        return [name for name, _ in ours]


async def deployed() -> list[dict[str, str]]:
    """Return every deployment of ours as a line: its name, schedule, pool, next and latest run."""
    async with _server() as client:
        lines = []
        for name, each in await our_deployments(client):
            fields = fields_of(each)
            following = await _one_run(client, each, FlowRunSort.EXPECTED_START_TIME_ASC, *SCHEDULED)
            latest = await _one_run(client, each, FlowRunSort.START_TIME_DESC, has_begun=True)
            due_at = following.expected_start_time if following else None
            lines.append(
                {
                    "deployment": name,
                    "schedule": fields["schedule"],
                    "paused": "yes" if _is_paused(each) else "",
                    "overlap": fields["overlap"],
                    "work_pool": fields["work pool"],
                    "source": fields.get("request.source", ""),
                    "next_run": shown(due_at) if due_at else "",
                    "last_run": latest.state_name or "" if latest else "",
                }
            )
        return sorted(lines, key=lambda line: line["deployment"])


def fields_of(found: DeploymentResponse) -> dict[str, str]:
    """Return the fields of a deployment that exists, in the words of `Wanted.fields`."""
    schedules = [each.schedule for each in found.schedules]
    options = found.concurrency_options
    strategy = options and str(options.collision_strategy.value)
    overlap = {value: key for key, value in STRATEGIES.items()}.get(strategy or "", "any")
    return {
        "work pool": found.work_pool_name or "none",
        "schedule": "; ".join(
            f"{each.cron} {each.timezone or 'UTC'}" if isinstance(each, CronSchedule) else "of another kind"
            for each in schedules
        )
        or "none",
        "overlap": overlap if found.global_concurrency_limit else "any",
        **_begins_within(options.grace_period_seconds if options else None),
        "entrypoint": found.entrypoint or "none",
        **_flat("", found.parameters),
    }


@asynccontextmanager
async def _server() -> AsyncIterator[PrefectClient]:
    """Open the client of a server of our version."""
    try:
        async with get_client() as client:
            theirs = await server_version(client)
            if theirs.split(".")[:2] != prefect.__version__.split(".")[:2]:
                ours = prefect.__version__
                raise UsageError(
                    f"the Prefect server has version {theirs}, and this environment has {ours}. Use one "
                    f"version: `pip install prefect=={ours}` where the server is"
                )
            yield client
    except httpx.HTTPError as error:
        raise CallsheetError(f"Prefect's server did not do it: {type(error).__name__}: {error}") from error


async def server_version(client: PrefectClient) -> str:
    """Return the version of the server. Raises UsageError where what answers is not Prefect's API."""
    try:
        return str(await client.api_version())
    except (httpx.HTTPStatusError, ValueError) as error:
        if isinstance(error, httpx.HTTPStatusError) and error.response.status_code != codes.NOT_FOUND:
            raise
        raise UsageError(
            f"{without_login(str(client.api_url))} (PREFECT_API_URL or the active profile) is not the API of "
            "a Prefect server: its address must end with /api, such as http://127.0.0.1:4200/api"
        ) from error


async def _pool(client: PrefectClient, name: str, kind: str | None, *, dry_run: bool) -> Difference:
    try:
        pool = await client.read_work_pool(name)
    except ObjectNotFound:
        if kind not in (None, PROCESS):
            raise UsageError(
                f"there is no work pool {name!r}. Create it first, with the image and the access that its "
                f"jobs need: `prefect work-pool create {name} --type {kind}`"
            ) from None
        if not dry_run:
            template = ProcessWorker.get_default_base_job_template()
            await client.create_work_pool(WorkPoolCreate(name=name, type=PROCESS, base_job_template=template))
        return difference(name, None, {"type": PROCESS})
    if kind is not None and pool.type != kind:
        raise UsageError(
            f"the work pool {name!r} has type {pool.type}, not {kind}. Name another one with --work-pool, or "
            f"leave --pool-type out"
        )
    return difference(name, {"type": pool.type}, {"type": pool.type})


async def _registered(client: PrefectClient, each: Wanted, *, dry_run: bool) -> Difference:
    try:
        found = await client.read_deployment_by_name(each.full_name)
    except ObjectNotFound:
        found = None
    changes = difference(each.full_name, fields_of(found) if found else None, each.fields())
    if changes.change == "unchanged" or dry_run:
        return changes
    limit = each.overlap and ConcurrencyLimitConfig(
        limit=1,
        collision_strategy=STRATEGIES[each.overlap],  # type: ignore[arg-type]  # pydantic reads the name
        grace_period_seconds=each.begins_within_s,
    )
    deployment = await each.flow.ato_deployment(
        each.name,
        parameters=dict(each.parameters),
        # A schedule that a person has paused stays paused. Without a cron the old schedule goes.
        schedules=[Cron(each.cron, timezone=each.timezone, active=not (found and _is_paused(found)))]
        if each.cron
        else [],
        concurrency_limit=limit,
        work_pool_name=each.work_pool,
        job_variables=JOB_VARIABLES,
        tags=[TAG, each.name] if _is_campaigns(each.full_name) else [TAG],
        # By its module: workers have this package installed and no copy of this folder.
        entrypoint_type=EntrypointType.MODULE_PATH,
    )
    await deployment.aapply()
    return changes


async def _unregistered(client: PrefectClient, name: str, *, dry_run: bool) -> list[Difference]:
    """Remove a deployment by its full name. Returns an empty list where there is none."""
    try:
        found = await client.read_deployment_by_name(name)
    except ObjectNotFound:
        return []
    if not dry_run:
        await _delete(client, found)
    return [Difference(name, "removed", {})]


async def _delete(client: PrefectClient, found: DeploymentResponse) -> None:
    """Delete a deployment with every run that has not begun: Prefect leaves those that wait for a place."""
    waiting = FlowRunFilter(
        deployment_id=FlowRunFilterDeploymentId(any_=[found.id]),
        state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.SCHEDULED])),
    )
    while runs := await client.read_flow_runs(flow_run_filter=waiting, limit=PAGE):
        for each in runs:
            with suppress(ObjectNotFound):
                await client.delete_flow_run(each.id)
    await client.delete_deployment(found.id)


async def our_deployments(client: PrefectClient) -> list[tuple[str, DeploymentResponse]]:
    """Return the deployments of ours with their full names, however many others the server has."""
    ours = DeploymentFilter(tags=DeploymentFilterTags(all_=[TAG]))
    found: list[DeploymentResponse] = []
    while len(found) % PAGE == 0:
        page = await client.read_deployments(
            deployment_filter=ours, limit=PAGE, offset=len(found), sort=DeploymentSort.NAME_ASC
        )
        found += page
        if not page:
            break
    wanted = FlowFilter(id=FlowFilterId(any_=list({each.flow_id for each in found})))
    flows = {each.id: each.name for each in await client.read_flows(flow_filter=wanted)}
    return [(f"{flows[each.flow_id]}/{each.name}", each) for each in found]


async def _one_run(
    client: PrefectClient,
    found: DeploymentResponse,
    sort: FlowRunSort,
    *states: StateType,
    has_begun: bool = False,
) -> FlowRun | None:
    """Return the first run of a deployment in this order, of those in one of the states if any are named.

    `has_begun` leaves out those that have not: Prefect sorts them by the time at which they are due.
    """
    wanted = FlowRunFilter(
        deployment_id=FlowRunFilterDeploymentId(any_=[found.id]),
        state=FlowRunFilterState(type=FlowRunFilterStateType(any_=list(states))) if states else None,
        start_time=FlowRunFilterStartTime(is_null_=False) if has_begun else None,
    )
    runs = await client.read_flow_runs(flow_run_filter=wanted, sort=sort, limit=1)
    return runs[0] if runs else None


def _is_campaigns(full_name: str) -> bool:
    return full_name.partition("/")[0] in CAMPAIGN_FLOWS


def _is_paused(found: DeploymentResponse) -> bool:
    return found.paused or (bool(found.schedules) and not any(each.active for each in found.schedules))


def _begins_within(seconds: int | None) -> dict[str, str]:
    return {} if seconds is None else {"begins within": f"{seconds} s"}


def _flat(path: str, value: Any) -> dict[str, str]:
    """Return nested parameters as `request.source`, each with its value as text."""
    if isinstance(value, Mapping):
        pairs: Iterator[tuple[str, Any]] = iter(value.items())
        return {
            key: text
            for name, each in pairs
            for key, text in _flat(f"{path}.{name}" if path else str(name), each).items()
        }
    return {path: value if isinstance(value, str) else json.dumps(value)}
