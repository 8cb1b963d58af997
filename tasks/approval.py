"""A person's word above a sum of money: the run waits in Prefect and buys nothing meanwhile."""

from __future__ import annotations

from prefect.exceptions import FlowPauseTimeout
from prefect.flow_runs import apause_flow_run
from prefect.input import RunInput
from prefect.runtime import flow_run
from prefect.utilities.urls import url_for
from pydantic import Field

from callsheet.engine.announce import announce
from callsheet.engine.cancel import refuse_run
from callsheet.engine.context import RunContext
from callsheet.ledger import JobRow, queries
from callsheet.ledger import State as JobState
from callsheet.notify.message import approval
from callsheet.wording import number_of
from pricing.money import parse_threshold, usd_rounded_up, usd_text

POLL_S = 2
"""How often Prefect is asked whether the answer is there. A read of one flow run; the server is ours."""


class Approval(RunInput):
    """The answer that a waiting run needs."""

    approved: bool = Field(default=False, description="Buy what the plan lists")
    reason: str = Field(default="", max_length=500, description="Who decided, and why; kept with the run")


async def is_approved(ctx: RunContext) -> bool:
    """Wait for a person where what is to be bought may cost more than `approve_above_usd`.

    A refusal, an answer that does not come within `approve_within_s`, and an
    answer that is none are all a no: every job that waits is cancelled, and nothing was bought.
    """
    request = ctx.request
    waiting = await ctx.do(queries.jobs, ctx.run.run_id, states={JobState.PENDING})
    most_nano = sum(row.maximum_nano for row in waiting)
    if request.approve_above_usd is None or most_nano <= parse_threshold(request.approve_above_usd):
        return True
    why = await _refusal(ctx, waiting, most_nano)
    if why is None:
        ctx.state.notice(f"approved by a person: up to {usd_text(most_nano)} USD")
        return True
    await refuse_run(ctx, why)
    return False


async def _refusal(ctx: RunContext, waiting: list[JobRow], most_nano: int) -> str | None:
    """Return why the answer is no; None where it is yes."""
    await announce(
        ctx,
        [
            approval(
                campaign=ctx.run.campaign,
                run_id=ctx.run.run_id,
                jobs=len(waiting),
                most_nano=most_nano,
                within_s=ctx.request.approve_within_s,
                url=url_for("flow-run", obj_id=str(flow_run.id)) or "",
            )
        ],
    )
    request = ctx.request
    question = (
        f"{number_of(len(waiting), 'video')} for at most {usd_rounded_up(most_nano)}, which is "
        f"above ${request.approve_above_usd}. The plan is among the artifacts of this run."
    )
    try:
        answer = await apause_flow_run(
            wait_for_input=Approval.with_initial_data(description=question),
            timeout=request.approve_within_s,
            poll_interval=POLL_S,
            key="approval",
        )
    except FlowPauseTimeout:
        return f"not approved within {request.approve_within_s} s"
    if answer.approved:
        return None
    return f"a person refused it: {answer.reason}" if answer.reason else "a person refused it"
