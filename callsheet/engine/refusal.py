"""A run that a person did not want: nothing is bought, and every waiting job says why."""

from __future__ import annotations

from collections.abc import Sequence

from callsheet.engine.studio import Studio
from callsheet.ledger import JobRow, Ledger


async def refuse_run(studio: Studio, waiting: Sequence[JobRow], why: str) -> None:
    """Let the run admit nothing more, in any process, and cancel what waits."""
    await studio.books(Ledger.request_stop, studio.run.run_id)
    for row in waiting:
        await studio.books(Ledger.cancel, row.job_id, why=f"not approved: {why}"[:500], attempt=row.attempt)
    studio.remarks.append(f"not approved, nothing was bought: {why}")
