"""One job of each price group first: bill, file and reply are looked at before the rest is bought."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import islice

from callsheet.engine.context import RunContext, named
from callsheet.engine.job import TO_DO
from callsheet.engine.outage import through_outages
from callsheet.engine.scheduler import RenderJob, run_jobs
from callsheet.errors import CanaryDisagrees, CanaryFailed, CanaryUnknown
from callsheet.ledger import JobRow, State, queries
from callsheet.reconciliation.billing import compare_bills
from callsheet.wording import number_of
from manifests.job import decode_job
from pricing.catalog import AUTO, Endpoint
from pricing.money import usd_text
from pricing.quotes import PriceGroup, price_group


def choose_canaries(ctx: RunContext, rows: Sequence[JobRow]) -> dict[PriceGroup, JobRow]:
    """Choose one job of each price group that has jobs to buy and no video yet, the cheapest job first.

    A group that the circuit breaker has stopped has nothing to buy.
    A video of an earlier run proves nothing about the prices of this one. A job of the group that is at fal
    already goes before another purchase; else the cheapest is taken.
    """
    rows_of: dict[PriceGroup, list[JobRow]] = {}
    for row in rows:
        rows_of.setdefault(price_group(decode_job(row.payload, ctx.catalog).shot), []).append(row)
    found = {
        group: min(
            (row for row in members if row.state in TO_DO),
            key=lambda row: (row.state is State.PENDING, row.maximum_nano, row.position),
        )
        for group, members in rows_of.items()
        if not ctx.state.breaker.is_open(str(group))
        and any(row.state is State.PENDING for row in members)
        and not any(row.state is State.SUCCEEDED for row in members)
    }
    return dict(sorted(found.items(), key=lambda each: (each[1].maximum_nano, each[1].position)))


async def render_canaries(ctx: RunContext, render: RenderJob) -> None:
    """Render one job of each price group and judge it; where one disagrees, the run buys nothing more.

    Does nothing unless the run was asked to. Everything else stays pending: `resume` is the person's word
    that the rest may be bought.
    """
    most = ctx.request.canary
    if most is None:
        return
    jobs = await through_outages(ctx, lambda: ctx.do(queries.jobs, ctx.run.run_id))
    canaries = choose_canaries(ctx, jobs)
    if not canaries or not ctx.stop.admitting:
        return
    first, left = dict(islice(canaries.items(), most)), list(canaries)[most:]
    if left:
        ctx.state.notice(f"canary: not tried in {number_of(len(left), 'price group')}: {named(left)}")
    await run_jobs(ctx, list(first.values()), render)
    if ctx.stop.reason is None:
        refused = await through_outages(ctx, lambda: _read_bills(ctx))
        ended = await through_outages(ctx, lambda: _ended(ctx, first))
        _judge(ctx, ended, refused)


async def _ended(ctx: RunContext, first: dict[PriceGroup, JobRow]) -> dict[PriceGroup, JobRow]:
    return {group: await ctx.do(queries.job, row.job_id) for group, row in first.items()}


async def _read_bills(ctx: RunContext) -> list[str]:
    """Take the bills of fal itself where an admin key opens them; else what its replies say has to do.

    Returns what is to be said of the run's bills that could not be booked.
    """
    if ctx.settings.admin_key is None:
        return []
    bills = await compare_bills(ctx.account, days=1)
    return [each.in_words() for each in bills.refused if each.purchase.run_id == ctx.run.run_id]


def _judge(ctx: RunContext, ended: dict[PriceGroup, JobRow], refused: Sequence[str]) -> None:
    made = [row for row in ended.values() if row.state is State.SUCCEEDED]
    failed = [row for row in ended.values() if row.state is State.FAILED]
    unsent = [row for row in ended.values() if row.state in (State.PENDING, State.HELD)]
    known = (State.SUCCEEDED, State.FAILED, State.PENDING, State.HELD)
    unknown = [row for row in ended.values() if row.state not in known]
    wrong = "; ".join([*refused, *(text for row in made for text in disagreements(ctx, row))])
    rest = f"The rest waits: `{ctx.resume_command}` buys it all the same"
    if failed:
        why = "; ".join(f"{row.label}: {row.error_type}: {row.error}" for row in failed[:5])
        ctx.stop.drain(CanaryFailed(f"a canary brought no video: {why}. {rest}"))
    elif wrong:
        ctx.stop.drain(CanaryDisagrees(f"a canary does not agree with the plan: {wrong}. {rest}"))
    elif unknown:
        ctx.stop.drain(
            CanaryUnknown(
                f"it is not known yet how a canary ended: {named(row.label for row in unknown)}. {rest}"
            )
        )
    elif unsent:
        ctx.stop.drain(CanaryFailed(f"a canary was not sent: {named(row.label for row in unsent)}. {rest}"))
    else:
        groups = number_of(len(ended), "price group")
        ctx.state.notice(f"canary: bill, file and reply agree in {groups}: {named(ended)}")


def disagreements(ctx: RunContext, row: JobRow) -> list[str]:
    """Say where the bill or the reply of a made video is not as it was planned.

    The file has been held against what was ordered when it was collected; it would not be made otherwise.
    """
    submission = row.submission
    if submission is None or submission.cost_nano is None:
        return []
    found = []
    cost_nano, basis = submission.cost_nano, submission.cost_basis
    job = decode_job(row.payload, ctx.catalog)
    # Where fal chose the picture's shape or length, it may have made less than expected.
    least_nano = 0 if job.shot.aspect_ratio == AUTO or job.shot.is_open else row.expected_nano
    if basis == "bill_implausible":
        units = submission.billable_units
        found.append(f"{row.label}: fal billed {units} units, less than the smallest such video costs")
    elif basis == "expected":
        found.append(f"{row.label}: fal said nothing about the bill, so it cannot be compared")
    elif not least_nano <= cost_nano <= row.maximum_nano:
        planned = f"{usd_text(row.expected_nano)} to {usd_text(row.maximum_nano)}"
        found.append(f"{row.label} was billed {usd_text(cost_nano)} USD; planned was {planned}")
    if missing := _missing_in(submission.result_json, job.endpoint):
        found.append(f"{row.label}: the reply has no {' and no '.join(missing)}")
    return found


def _missing_in(result_json: str | None, endpoint: Endpoint) -> list[str]:
    """Name what fal's documented reply holds and this one does not (`{"video": {"url"}, "seed"}`)."""
    reply = json.loads(result_json) if result_json else {}
    video = reply.get("video") if isinstance(reply, dict) else None
    found = []
    if not isinstance(video, dict) or not isinstance(video.get("url"), str):
        found.append("video.url")
    if endpoint.returns_seed and (not isinstance(reply, dict) or not isinstance(reply.get("seed"), int)):
        found.append("seed")
    return found
