"""Registering our flows with a Prefect server: deployments in one work pool, without a key."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx
from prefect import Flow
from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.exceptions import ObjectNotFound
from prefect.types.entrypoint import EntrypointType
from prefect.workers.process import ProcessWorker

from callsheet.errors import CallsheetError, UsageError

NAME = "callsheet"
"""What the deployments are called; Prefect shows them as `run-campaign/callsheet`."""


@dataclass(frozen=True, slots=True)
class Registration:
    """A flow, when it starts (cron, UTC; None where only a person starts it), and what with."""

    flow: Flow[Any, Any]
    cron: str | None = None
    parameters: dict[str, Any] = field(default_factory=dict)


async def register(wanted: Sequence[Registration], *, work_pool: str) -> list[str]:
    """Register flows, or change them where they are registered already; returns their names.

    The work pool is made, with type process, where there is none. Raises UsageError for a schedule that is
    none, CallsheetError where the server cannot be reached.
    """
    try:
        async with get_client() as client:
            await _ensure_pool(client, work_pool)
        return [await _registered(each, work_pool) for each in wanted]
    except httpx.HTTPError as error:
        raise CallsheetError(f"Prefect's server did not do it: {type(error).__name__}: {error}") from error


async def _ensure_pool(client: PrefectClient, name: str) -> None:
    try:
        await client.read_work_pool(name)
    except ObjectNotFound:
        template = ProcessWorker.get_default_base_job_template()
        pool = WorkPoolCreate(name=name, type=ProcessWorker.type, base_job_template=template)
        await client.create_work_pool(pool)


async def _registered(each: Registration, work_pool: str) -> str:
    try:
        deployment = await each.flow.ato_deployment(
            NAME,
            cron=each.cron,
            parameters=each.parameters,
            work_pool_name=work_pool,
            # By its module: workers have this package installed and no copy of this folder.
            entrypoint_type=EntrypointType.MODULE_PATH,
        )
    except ValueError as error:
        raise UsageError(f"{each.cron!r} is no schedule like '0 2 * * *': {error}") from error
    await deployment.aapply()
    return f"{each.flow.name}/{NAME}"
