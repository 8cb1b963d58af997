"""Trying jobs again that ended without a video. What was made since by another run is used, not bought."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from sqlalchemy import Connection, select

from callsheet.ledger import job_rows, lifecycle, schema
from callsheet.ledger.admission import NO_ERROR
from callsheet.ledger.in_flight import refuse_in_flight
from callsheet.ledger.states import Event
from callsheet.ledger.steps import chunks, step_many


def retry(
    connection: Connection, job_ids: Collection[int], at_ms: int, *, why: str, once: bool
) -> Mapping[int, int]:
    """Let failed, cancelled or skipped jobs be admitted again. See `Ledger.retry`."""
    made = _made_elsewhere(connection, job_ids) if once else {}
    step_many(connection, job_ids, Event.RETRY, at_ms, why=why, job={**NO_ERROR, "output_id": None})
    lifecycle.reuse(connection, made, at_ms)
    return made


def _made_elsewhere(connection: Connection, job_ids: Collection[int]) -> Mapping[int, int]:
    """Return which of these jobs the campaign has made. Raises UsageError where another run buys one."""
    made: dict[int, int] = {}
    for (run_id, campaign), jobs in _by_run(connection, job_ids).items():
        known = job_rows.already_made(connection, campaign, set(jobs.values()))
        made.update((job, known[content].job_id) for job, content in jobs.items() if content in known)
        wanted = {content for content in jobs.values() if content not in known}
        refuse_in_flight(connection, campaign, wanted.copy, besides=run_id)
    return made


def _by_run(connection: Connection, job_ids: Collection[int]) -> dict[tuple[str, str], dict[int, str]]:
    """Return the fingerprints of these jobs, {(run, campaign): {job: fingerprint}}."""
    job, run = schema.job, schema.run
    found: dict[tuple[str, str], dict[int, str]] = {}
    for piece in chunks(job_ids):
        rows = connection.execute(
            select(job.c.job_id, job.c.fingerprint, run.c.run_id, run.c.campaign)
            .join_from(job, run, job.c.run_id == run.c.run_id)
            .where(job.c.job_id.in_(piece))
        )
        for job_id, fingerprint, run_id, campaign in rows:
            found.setdefault((run_id, campaign), {})[job_id] = fingerprint
    return found
