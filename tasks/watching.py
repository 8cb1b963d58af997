"""A watch on a manifest: a variable of Prefect has what it saw, and it starts the campaign's deployment."""

from __future__ import annotations

import asyncio
import hashlib
from typing import Any

from prefect.client.schemas import State
from prefect.deployments import arun_deployment
from prefect.states import Completed
from prefect.variables import Variable

from callsheet.engine.watching import Watched, fingerprint_of, look


async def look_at_manifest(source: str, deployment: str) -> State[None]:
    """Look once, and start the deployment where the manifest has changed and is whole.

    The state says what was seen. A run is started before it is remembered, under a key, so that a look that
    dies in between neither forgets it nor starts it twice.
    """
    name = f"callsheet_watch_{hashlib.sha256(deployment.encode()).hexdigest()[:16]}"
    now = await asyncio.to_thread(fingerprint_of, source)
    kept: Any = await Variable.aget(name)
    before = Watched(**kept) if kept else Watched()
    after, is_due = look(before, now)
    if is_due:
        await arun_deployment(
            deployment, timeout=0, as_subflow=False, idempotency_key=f"{name}:{before.started}:{now}"
        )
    if after != before:
        await Variable.aset(name, after._asdict(), overwrite=True)
    if is_due:
        return Completed(name="Started", message=f"the manifest has changed: {deployment} is started")
    changing = now != before.seen
    return Completed(name="Changing" if changing else "Unchanged", message="nothing is started")
