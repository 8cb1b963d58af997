"""The look over a whole ledger: every submission of every run that nobody alive works on."""

from __future__ import annotations

from collections.abc import Collection

from callsheet.ledger import AT_FAL, HOLDS_SLOT, State, queries, recovery
from callsheet.reconcile.desk import Desk, claimed
from callsheet.reconcile.findings import Findings
from callsheet.reconcile.orphans import find_orphans
from callsheet.reconcile.underway import look_at_open
from callsheet.reconcile.unknown import settle_unknown


async def settle_ledger(desk: Desk, *, owned: Collection[str] = (), leave: Collection[str] = ()) -> Findings:
    """Settle every unknown submission, and ask about every open one.

    Runs that another process works on are left alone; `owned` runs are the caller's, claimed and recovered
    already. Open submissions of the runs in `leave` are not asked about: the caller follows them itself.
    A caller that owns no run looks for requests that no job claims as well. Without anything to settle this
    is two questions to the ledger and none to fal.
    """
    findings = Findings()
    if not owned:
        findings.take(await find_orphans(desk))
    held = await desk.books(queries.open_jobs, states=HOLDS_SLOT)
    runs = {row.run_id for row in held}
    if not runs:
        return findings
    with claimed(desk.ledger, runs, owned=owned) as mine:
        # Not in the caller's own runs: there a request that is under way is alive.
        for run_id in sorted((runs & mine) - set(owned)):
            await desk.books(recovery.recover, run_id)
        unknown = await desk.books(queries.open_jobs, states={State.UNKNOWN})
        ours = [row for row in unknown if row.run_id in mine]
        findings.busy = tuple(sorted(runs - mine))
        findings.unknown_elsewhere = len(unknown) - len(ours)
        if ours:
            findings.take(await settle_unknown(desk, ours))
        at_fal = await desk.books(queries.open_jobs, states=AT_FAL)
        findings.take(
            await look_at_open(
                desk, [row for row in at_fal if row.run_id in mine and row.run_id not in leave]
            )
        )
    return findings
