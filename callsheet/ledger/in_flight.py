"""What a campaign is buying right now: a second run must not buy the same videos beside it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection

from sqlalchemy import Connection, select

from callsheet.errors import UsageError
from callsheet.ledger import schema
from callsheet.ledger.states import HAS_OPEN_SUBMISSION, State

Fingerprints = Callable[[], Collection[str]]
"""Gives what a run is to buy. Called only where something is in flight: a plan may hold a million jobs."""

IN_FLIGHT = HAS_OPEN_SUBMISSION | {State.PENDING}
"""Bought and not finished, or waiting in a run that `resume` goes on with. What was left out is neither."""


def refuse_in_flight(
    connection: Connection, campaign: str, wanted: Fingerprints, *, besides: str = ""
) -> None:
    """Raise UsageError where a run of the campaign is about to make, or is making, some of these.

    The run `besides` is the one that asks; it is not looked at.
    """
    found = _runs_with(connection, campaign, wanted, IN_FLIGHT)
    del found[besides]
    if not found:
        return
    run_id, count = found.most_common(1)[0]
    others = f" (and {len(found) - 1} more runs have some)" if len(found) > 1 else ""
    raise UsageError(
        f"run {run_id} has {count} of these in flight{others}; nothing was sent. Go on with it: "
        f"`callsheet resume {run_id}`. If it shall not go on, `callsheet cancel {run_id}` ends what was not "
        "submitted yet. `--again` buys them a second time"
    )


def refuse_made(connection: Connection, campaign: str, wanted: Fingerprints) -> None:
    """Raise UsageError where some of these were made since a run was planned that is to buy them."""
    found = _runs_with(connection, campaign, wanted, {State.SUCCEEDED})
    if found:
        run_id, count = found.most_common(1)[0]
        raise UsageError(
            f"run {run_id} has made {count} of these meanwhile; nothing was sent. Run the same "
            "command again: it uses them"
        )


def _runs_with(
    connection: Connection, campaign: str, wanted: Fingerprints, states: Collection[State]
) -> Counter[str]:
    job, run = schema.job, schema.run
    query = (
        select(job.c.run_id, job.c.fingerprint)
        .join_from(run, job, job.c.run_id == run.c.run_id)
        .where(run.c.campaign == campaign, job.c.state.in_([state.value for state in states]))
    )
    if State.SUCCEEDED in states:
        query = query.where(job.c.output_id.is_not(None))
    rows = connection.execute(query).all()
    ours = set(wanted()) if rows else set()
    return Counter(run_id for run_id, fingerprint in rows if fingerprint in ours)
