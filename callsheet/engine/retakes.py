"""Retakes that a run orders by itself: a flagged clip is bought again, with another seed, within limits."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from callsheet.engine.context import RunContext
from callsheet.ledger import JobRow, NewJob
from manifests.job import Job, encode_job
from manifests.look import Flag, read_retakes
from manifests.names import NAME_MAX_CHARS
from manifests.retakes import RETAKE_OF, new_seed, shot_of, take_name
from pricing.quotes import quote
from pricing.render_times import RenderKind


def retake_of(ctx: RunContext, job: Job, row: JobRow, flags: Iterable[Flag]) -> NewJob | None:
    """Return the next take of a clip that is flagged as the campaign names it; None where it is not.

    A draft's full-size version is not taken again: it shows what the draft shows.
    """
    rules = read_retakes(ctx.run.look)
    if rules is None or row.is_finish or row.retake >= row.retakes_max:
        return None
    if not any(flag.kind in rules.on for flag in flags):
        return None
    take = job.take + rules.step
    again = replace(
        job,
        custom_id=take_name(shot_of(job.custom_id, job.take), take),
        output_name=take_name(shot_of(job.output_name, job.take), take, NAME_MAX_CHARS),
        take=take,
        seed=new_seed() if job.endpoint.seed else job.seed,
        extra={**job.extra, RETAKE_OF: job.custom_id},
    )
    price = quote(ctx.catalog, again.shot)
    return NewJob(
        position=row.position,
        row=row.row,
        custom_id=again.custom_id,
        endpoint=row.endpoint,
        model=row.model,
        fingerprint=again.fingerprint,
        payload=encode_job(again),
        expected_nano=price.expected_nano,
        maximum_nano=price.maximum_nano,
        take=take,
        priority=row.priority,
        client=row.client,
        output_name=again.output_name,
        render_kind=RenderKind.of(again.endpoint.id, price).text,
        draft=row.draft,
        retake=row.retake + 1,
        retakes_max=row.retakes_max,
    )
