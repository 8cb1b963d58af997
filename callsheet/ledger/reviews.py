"""What people said about finished jobs: a verdict, a note, and what a retake is to be made with.

Nothing is ever changed: each judgement is a row of its own, and the newest one of a job counts.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from sqlalchemy import Row, func, or_, select

from callsheet.errors import JudgedMeanwhile, UsageError
from callsheet.ledger import schema
from callsheet.ledger.queries import IS_MADE, LOOK_UP_AT_ONCE
from callsheet.ledger.records import Change, Review
from callsheet.ledger.steps import no_such_job
from callsheet.ledger.transaction import Transaction, chunks, read, write
from manifests.retakes import shot_of
from manifests.selection import VERDICTS
from pricing.keep_rates import JudgedClip

NOTE_MAX_CHARS = 2_000
NAME_MAX_CHARS = 80

_review, _job, _run = schema.review, schema.job, schema.run
_output, _submission = schema.output, schema.submission


@write()
def judge(
    tx: Transaction,
    job_id: int,
    *,
    verdict: str,
    note: str = "",
    changes: Mapping[str, Change] | None = None,
    by: str = "",
    seen: int | None = None,
) -> Review:
    """Record what a person says about a job. It takes the place of what was said before.

    `verdict` is one of `VERDICTS`, or "" to take one back; `note` has at most 2,000 characters, `by` at most
    80. `changes` are the columns that a retake is made with. `seen` is the newest review that the person
    knew of (0 for none): where there is a newer one, JudgedMeanwhile is raised. Raises UsageError for another
    verdict, for a text that is too long and for an unknown job.
    """
    if verdict and verdict not in VERDICTS:
        raise UsageError(f"the verdict {verdict!r} is none of {', '.join(VERDICTS)}")
    for name, text, most in (("note", note, NOTE_MAX_CHARS), ("name", by, NAME_MAX_CHARS)):
        if len(text) > most:
            raise UsageError(f"the {name} has {len(text):,} characters; at most {most:,} are allowed")
    if tx.execute(select(schema.job.c.job_id).where(schema.job.c.job_id == job_id)).first() is None:
        raise no_such_job(job_id)
    last = latest(tx, [job_id]).get(job_id)
    if seen is not None and last is not None and last.review_id > seen:
        raise JudgedMeanwhile(f"{last.by or 'somebody'} has judged this clip meanwhile; look again")
    said: dict[str, Any] = {"at_ms": tx.at_ms, "job_id": job_id, "verdict": verdict, "note": note, "by": by}
    written = json.dumps(dict(changes or {}), ensure_ascii=False, sort_keys=True)
    review_id = tx.insert(_review, {**said, "changes": written})
    return Review(review_id=review_id, changes=dict(changes or {}), **said)


@read()
def latest(tx: Transaction, job_ids: Collection[int]) -> dict[int, Review]:
    """Return what counts of each of these jobs that was judged, by job."""
    found: dict[int, Review] = {}
    for piece in chunks(job_ids, LOOK_UP_AT_ONCE):
        newest = select(func.max(_review.c.review_id)).where(_review.c.job_id.in_(piece))
        rows = tx.execute(select(_review).where(_review.c.review_id.in_(newest.group_by(_review.c.job_id))))
        found.update((row.job_id, _as_review(row)) for row in rows)
    return found


@read()
def history(tx: Transaction, job_ids: Collection[int]) -> list[Review]:
    """Return everything that was said about these jobs, oldest first."""
    rows = tx.rows_with(select(_review), _review.c.job_id, job_ids, LOOK_UP_AT_ONCE)
    return sorted(map(_as_review, rows), key=lambda review: review.review_id)


def _as_review(row: Any) -> Review:
    values = dict(row._mapping)
    return Review(**{**values, "changes": json.loads(values["changes"])})


# -- clips that were made, each with what it cost and how it was judged --------------------------------------

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
    .where(IS_MADE)
)


@read()
def made_clips(tx: Transaction, *, since_ms: int | None = None) -> Iterator[JudgedClip]:
    """Yield every clip that was made, those of drafts included. For `Ledger.stream`.

    A draft that was finished is kept, unless somebody said something else. `since_ms` wants those only whose
    last purchase was held at that moment or later.
    """
    query = _clips
    if since_ms is not None:
        query = query.join(_submission, schema.IS_LAST).where(_submission.c.admitted_ms >= since_ms)
    yield from map(_clip, tx.stream(query))


@read()
def judged_clips(tx: Transaction, models: Collection[str]) -> list[JudgedClip]:
    """Return the clips of these models that were judged or finished: few, also of a large ledger."""
    judged = or_(_job.c.job_id.in_(select(_review.c.job_id)), _job.c.draft_output_id.is_not(None))
    found = map(_clip, tx.rows_with(_clips.where(judged), _job.c.model, models))
    return [clip for clip in found if clip.verdict]


def _clip(row: Row[Any]) -> JudgedClip:
    values = row._mapping
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
