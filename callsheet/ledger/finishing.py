"""The second purchase of a job: the full-size version of a draft, and how often drafts are finished."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable
from typing import Any

from sqlalchemy import func, select, text

from callsheet.errors import IllegalTransition, UsageError
from callsheet.ledger import runs, schema
from callsheet.ledger.admission import set_cap
from callsheet.ledger.records import NewFinish
from callsheet.ledger.states import Event, State
from callsheet.ledger.steps import current, step
from callsheet.ledger.transaction import Transaction, read, write

logger = logging.getLogger(__name__)


@write()
def finish(
    tx: Transaction, run_id: str, orders: Collection[NewFinish], *, run_cap_nano: int | None = None
) -> None:
    """Order the full-size versions of drafts of a run: all of them, or none. The run admits again.

    Each job goes from `succeeded` back to `pending`. It keeps its name, position, fingerprint, and the
    draft's file, request and cost; only what is bought next is another order. `run_cap_nano` becomes the
    run's cap. Raises UsageError for a job of another run, IllegalTransition for one that did not succeed,
    that is being finished, or that was finished.
    """
    runs.reopen_run(tx, run_id)
    if run_cap_nano is not None:
        set_cap(tx, "run", run_id, "total", run_cap_nano)
    drafts = _drafts(tx, run_id, [order.job_id for order in orders])
    for order in orders:
        draft = drafts.get(order.job_id)
        if draft is None or not draft.draft:
            raise UsageError(f"job {order.job_id} is no draft of run {run_id}")
        if draft.draft_output_id is not None:
            raise IllegalTransition(f"job {order.job_id} finishes its draft already, or has finished it")
        told = {
            "endpoint": order.endpoint,
            "payload": order.payload,
            "output_name": order.output_name,
            "render_kind": order.render_kind,
            "expected_nano": order.expected_nano,
            "maximum_nano": order.maximum_nano,
            "purchases": 0,
            "draft_output_id": draft.output_id,
            "draft_expected_nano": draft.expected_nano,
            "draft_maximum_nano": draft.maximum_nano,
        }
        step(tx, current(tx, order.job_id), Event.FINISH, why="kept by a person", job=told)
    logger.info("run %s: %d drafts are to be finished", run_id, len(orders))


def _drafts(tx: Transaction, run_id: str, job_ids: Iterable[int]) -> dict[int, Any]:
    """Return the rows of these jobs of a run, as far as it has them."""
    job = schema.job
    names = ("job_id", "draft", "output_id", "draft_output_id", "expected_nano", "maximum_nano")
    query = select(*(job.c[name] for name in names)).where(job.c.run_id == run_id)
    return {row.job_id: row for row in tx.rows_with(query, job.c.job_id, job_ids)}


@read()
def open_drafts(tx: Transaction) -> dict[str, list[int]]:
    """Return when each draft was sent that was made and is not being finished, {run: [Unix ms]}.

    Of all runs; oldest first.
    """
    job, submission = schema.job, schema.submission
    sent_ms = func.coalesce(submission.c.sent_ms, submission.c.submitted_ms, submission.c.admitted_ms)
    query = (
        select(job.c.run_id, sent_ms)
        .join_from(job, submission, schema.IS_LAST)
        .where(
            text("draft = 1"),
            job.c.state == State.SUCCEEDED.value,
            job.c.draft_output_id.is_(None),
        )
        .order_by(sent_ms)
    )
    found: dict[str, list[int]] = {}
    for run, at_ms in tx.execute(query):
        found.setdefault(run, []).append(at_ms)
    return found


@read()
def finished_share(tx: Transaction, models: Collection[str]) -> tuple[int, int]:
    """Return how many drafts of these models were finished, and of how many that were made.

    Only runs count of which something was finished: elsewhere nothing has been chosen yet.
    """
    job = schema.job
    by_run = (
        select(func.count(job.c.draft_output_id).label("finished"), func.count().label("made"))
        .where(text("draft = 1"), job.c.model.in_(list(models)), job.c.output_id.is_not(None))
        .group_by(job.c.run_id)
        .subquery()
    )
    finished, made = tx.execute(
        select(func.sum(by_run.c.finished), func.sum(by_run.c.made)).where(by_run.c.finished > 0)
    ).one()
    return int(finished or 0), int(made or 0)
