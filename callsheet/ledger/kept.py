"""Clips that were made, each with what it cost and how it was judged."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

from sqlalchemy import Row, and_, func, or_, select

from callsheet.ledger import schema
from callsheet.ledger.states import State
from callsheet.ledger.steps import chunks
from callsheet.ledger.transaction import Transaction, read
from manifests.retakes import shot_of
from pricing.keep_rates import JudgedClip

ROWS_AT_ONCE = 1_000

_job, _run, _output, _review = schema.job, schema.run, schema.output, schema.review
_submission = schema.submission
_verdict = (
    select(_review.c.verdict)
    .where(_review.c.job_id == _job.c.job_id)
    .order_by(_review.c.review_id.desc())
    .limit(1)
    .correlate(_job)
    .scalar_subquery()
)
_clips = (
    select(
        _run.c.campaign,
        *(_job.c[name] for name in ("client", "model", "custom_id", "take", "spent_nano", "draft_output_id")),
        func.coalesce(_verdict, "").label("verdict"),
        _output.c.duration_s,
    )
    .join_from(_job, _run, _run.c.run_id == _job.c.run_id)
    .join(_output, _output.c.output_id == _job.c.output_id)
    .where(or_(_job.c.state == State.SUCCEEDED.value, _job.c.draft_output_id.is_not(None)))
)


@read()
def made_clips(tx: Transaction, *, since_ms: int | None = None) -> Iterator[JudgedClip]:
    """Yield every clip that was made, those of drafts included. For `Ledger.stream`.

    A draft that was finished is kept, unless somebody said something else. `since_ms` wants those only whose
    last purchase was held at that moment or later.
    """
    query = _clips
    if since_ms is not None:
        last = and_(_submission.c.job_id == _job.c.job_id, _submission.c.number == _job.c.submissions)
        query = query.join(_submission, last).where(_submission.c.admitted_ms >= since_ms)
    for row in tx.execute(query.execution_options(yield_per=ROWS_AT_ONCE)):
        yield _clip(row)


@read()
def judged_clips(tx: Transaction, models: Collection[str]) -> list[JudgedClip]:
    """Return the clips of these models that were judged or finished: few, also of a large ledger."""
    judged = or_(_job.c.job_id.in_(select(_review.c.job_id)), _job.c.draft_output_id.is_not(None))
    found: list[JudgedClip] = []
    for piece in chunks(models):
        found += map(_clip, tx.execute(_clips.where(_job.c.model.in_(piece), judged)))
    return [clip for clip in found if clip.verdict]


def _clip(row: Row[Any]) -> JudgedClip:
    values = row._mapping  # noqa: SLF001 - SQLAlchemy's documented name
    is_finished = values["draft_output_id"] is not None
    return JudgedClip(
        campaign=values["campaign"],
        client=values["client"],
        model=values["model"],
        shot=shot_of(values["custom_id"], values["take"]),
        spent_nano=values["spent_nano"],
        verdict=values["verdict"] or ("keep" if is_finished else ""),
        length_ms=round(1000 * values["duration_s"]),
    )
