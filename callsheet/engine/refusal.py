"""A run that a person did not want: nothing is bought, and every waiting job says why."""

from __future__ import annotations

from callsheet.engine.studio import Studio
from callsheet.ledger import State, queries, runs, settlement


async def refuse_run(studio: Studio, why: str) -> None:
    """Let the run admit nothing more, in any process, and cancel what waits.

    That may be more than the person was asked about: a lost request may have turned out absent meanwhile.
    """
    await studio.books(runs.request_stop, studio.run.run_id)
    for row in await studio.books(queries.jobs, studio.run.run_id, states={State.PENDING}):
        await studio.books(
            settlement.cancel, row.job_id, why=f"not approved: {why}"[:500], attempt=row.attempt
        )
    studio.remarks.append(f"not approved, nothing was bought: {why}")
