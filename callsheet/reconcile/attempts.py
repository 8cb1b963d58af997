"""What is known about a POST whose reply was lost: what it held, and when fal can have taken it."""

from __future__ import annotations

from callsheet.errors import CallsheetError
from callsheet.ledger import JobRow, history
from callsheet.reconcile.desk import Desk, sent_ms
from callsheet.reconcile.matching import Attempt, digest
from manifests.job import decode_job

NO_ARGUMENTS = "0" * 64


async def attempt_of(desk: Desk, row: JobRow, *, in_motion: bool = False) -> Attempt:
    """Return what is known about a job's last POST."""
    submission = row.submission
    assert submission is not None, "a job that was never admitted has sent nothing"
    sha256 = submission.arguments_sha256 or NO_ARGUMENTS
    return Attempt(
        job_id=row.job_id,
        endpoint=row.endpoint,
        sent_ms=sent_ms(submission),
        until_ms=desk.due(submission).deadline_ms,
        arguments_sha256=sha256,
        arguments=await _arguments(desk, row, sha256),
        in_motion=in_motion,
    )


async def _arguments(desk: Desk, row: JobRow, sha256: str) -> dict[str, object] | None:
    """Return the body that was sent, if what is made of the job again is exactly that body."""
    try:
        job = decode_job(row.payload, desk.catalog)
    except (CallsheetError, ValueError, KeyError, TypeError):
        return None
    addresses: dict[str, str] = {}
    for image in job.images:
        url = image.value if image.sha256 is None else await desk.books(history.uploaded, image.sha256)
        if url is None:
            return None
        addresses[image.identity] = url
    arguments = job.arguments(addresses, seed=row.submission.seed if row.submission else None)
    return arguments if digest(arguments) == sha256 else None
