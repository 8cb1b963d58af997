"""`callsheet deploy`."""

from __future__ import annotations

import asyncio
import os
import re
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from pydantic import ValidationError

from callsheet.cli.options import Budget, Json, Sandbox, Speed, option
from callsheet.cli.output import document, note, result
from callsheet.cli.prefect import configured_api_url, require_answer
from callsheet.engine.request import RunRequest  # noqa: TID253 -- what is deployed; Prefect is slower still
from callsheet.errors import UsageError
from manifests.readers.remote import is_remote

_POOL_NAME = re.compile(r"[^/%&><]+")

Source = Annotated[
    str | None,
    Parameter(help="A manifest, campaign file or plan file to run; the worker reads it from its own disk"),
]
Cron = Annotated[str | None, option("CRON", "When to start run-campaign, e.g. '0 2 * * *' (UTC)")]
ReconcileCron = Annotated[str | None, option("RECONCILE_CRON", "When to start reconcile-ledger (UTC)")]
WorkPool = Annotated[str, option("WORK_POOL", "The work pool; created with type process if missing")]
ApproveAbove = Annotated[
    str | None, option("APPROVE_ABOVE_USD", "Ask for approval in Prefect if a run may cost more")
]
Out = Annotated[str | None, option("OUT", "The folder for run folders (default: runs, next to the source)")]


def deploy(
    source: Source = None,
    *,
    cron: Cron = None,
    reconcile_cron: ReconcileCron = None,
    work_pool: WorkPool = "callsheet",
    budget_usd: Budget = None,
    approve_above_usd: ApproveAbove = None,
    out: Out = None,
    sandbox: Sandbox = False,
    speed: Speed = 1.0,
    json: Json = False,
) -> int:
    """Register run-campaign and reconcile-ledger with the Prefect server at PREFECT_API_URL.

    Registering again replaces the two deployments. Workers need this package
    and FAL_KEY in their environment; several workers also need
    CALLSHEET_LEDGER_URL. No key is stored in Prefect. With --sandbox the
    schedule is a rehearsal: no key, no money.

    Example: callsheet deploy campaign.toml --cron "0 2 * * *" --budget-usd 40
    """
    url = configured_api_url(os.environ, Path.home())
    if url is None:
        raise UsageError(
            "no Prefect server is configured: set PREFECT_API_URL (`prefect server start` starts a server)"
        )
    if not _POOL_NAME.fullmatch(work_pool):
        raise UsageError(f"--work-pool is {work_pool[:80]!r}; use a name without / % & > <")
    if cron is not None and source is None:
        raise UsageError(
            "--cron needs a SOURCE to run, e.g. callsheet deploy campaign.toml --cron '0 2 * * *'"
        )
    request = _request(source, budget_usd, approve_above_usd).model_copy(
        update={"out": _where(out), "sandbox": sandbox, "speed": speed}
    )
    require_answer(url)
    from flows.reconcile_ledger import reconcile_ledger
    from flows.run_campaign import run_campaign
    from tasks.deploying import Registration, register

    given = {"request": request.model_dump(exclude_defaults=True)} if source else {}
    rehearsed = {"sandbox": True} if sandbox else {}
    wanted = [
        Registration(run_campaign, cron, given),
        Registration(reconcile_ledger, reconcile_cron, rehearsed),
    ]
    names = asyncio.run(register(wanted, work_pool=work_pool))
    if json:
        document({"api": url, "work_pool": work_pool, "deployments": names})
        return 0
    for name in names:
        result(f"registered {name}")
    note(f"start a worker with: prefect worker start --pool {work_pool}")
    return 0


def _request(source: str | None, budget_usd: str | None, approve_above_usd: str | None) -> RunRequest:
    given = {"budget_usd": budget_usd, "approve_above_usd": approve_above_usd}
    try:
        return RunRequest.model_validate({"source": _where(source)} | given)
    except ValidationError as error:
        name = str(error.errors()[0]["loc"][0])
        raise UsageError(
            f"--{name.replace('_', '-')} is {given.get(name)!r}; use dollars such as 40 or 39.50"
        ) from None


def _where(path: str | None) -> str | None:
    """Return an absolute path: workers start in temporary folders of their own."""
    return path if path is None or is_remote(path) else str(Path(path).resolve())
