"""One shard of a run, on whichever worker takes it. The order of steps and nothing else."""

from __future__ import annotations

from typing import Any

from prefect import flow
from prefect.client.schemas import State
from prefect.states import Completed

from callsheet.engine.shard import end_shard, finalize_shards, request_to_go_on, shard_opened
from callsheet.errors import Busy
from flows.run_campaign import carried_out
from tasks.flow_run import ended, following_flow_run
from tasks.render import render_all


@flow(name="render-shard", flow_run_name="{run_id} {part}", persist_result=False)
async def render_shard(run_id: str, part: str = "", *, sandbox: bool = False) -> State[Any]:
    """Render what is left of a part of a run (`FIRST-LAST`), or of a whole run that was never split.

    Running it again, or twice at once, is harmless: the second one finds that nothing is left to do.
    """
    try:
        if not part:
            summary = await carried_out(request_to_go_on(run_id, sandbox=sandbox), is_asked=False)
            return ended(summary)
        async with shard_opened(run_id, part, sandbox=sandbox) as ctx, following_flow_run(ctx):
            await render_all(ctx)
            summary = await end_shard(ctx)
        await finalize_shards(run_id, sandbox=sandbox, announcer=ctx.announcer)
    except Busy as busy:
        return Completed(name="Busy", message=str(busy)[:500])
    return ended(summary)
