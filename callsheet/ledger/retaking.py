"""Retakes that a run orders by itself, in the transaction that records the flagged clip."""

from __future__ import annotations

import logging
from dataclasses import asdict

from sqlalchemy import func, select

from callsheet.ledger import admission, schema
from callsheet.ledger.accounts import account_refs
from callsheet.ledger.records import NewJob
from callsheet.ledger.states import State
from callsheet.ledger.transaction import Transaction
from pricing.money import usd_text

logger = logging.getLogger(__name__)

_job, _run = schema.job, schema.run


def order_retake(tx: Transaction, run_id: str, retake: NewJob) -> str:
    """Write a retake as a pending job of the run; return why it is not ordered, "" where it is.

    It is ordered while the run buys, and while every account that it will count in has headroom for its
    maximum, besides the retakes that are ordered and not held yet, and while no job of the run has its name:
    files of one name could replace each other in an object store. The tables allow each retake of a place in
    the plan once, and none above its allowance.
    """
    run = tx.execute(select(_run).where(_run.c.run_id == run_id)).one()
    if run.stopping_ms is not None or run.closed_ms is not None:
        return "the run was stopped"
    if retake.retake > retake.retakes_max:
        return "it was retaken as often as the campaign allows"
    waiting = select(func.coalesce(func.sum(_job.c.maximum_nano), 0)).where(
        _job.c.run_id == run_id, _job.c.retake > 0, _job.c.state == State.PENDING.value
    )
    taken = select(_job.c.job_id).where(
        _job.c.run_id == run_id,
        (_job.c.custom_id == retake.custom_id)
        | (func.lower(_job.c.output_name) == retake.output_name.lower()),
    )
    if tx.execute(taken.limit(1)).first() is not None:
        return f"the run has another job called {retake.custom_id!r}"
    needed_nano = retake.maximum_nano + int(tx.execute(waiting).scalar_one())
    refs = account_refs(
        campaign=run.campaign,
        client=retake.client,
        model=retake.model,
        run_id=run_id,
        at_ms=tx.at_ms,
        is_retake=True,
    )
    for ref, account in admission.headroom(tx, refs).items():
        if account.left_nano is not None and account.left_nano < needed_nano:
            limit_nano = account.limit_nano or 0
            return f"the cap on {ref} ({usd_text(limit_nano)} USD) has no room left for it"
    tx.insert(schema.job, {**asdict(retake), "draft": int(retake.draft), "run_id": run_id})
    logger.info("run %s: retake %s is ordered", run_id, retake.custom_id)
    return ""
