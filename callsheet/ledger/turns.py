"""Whose turn a free slot is, where runs of several campaigns wait for one.

First whoever has waited for longer than STARVED_MS, the longest wait first. Then the campaign of the higher
priority; then the one that holds the fewest slots in relation to its share; then the one that has waited
longer. Runs of one campaign are not told apart.

A run that waits says so every few seconds. Its row is good for SEEN_GOOD_MS by the database's clock, so a
process that died blocks nobody for longer. A row is deleted with the slot that its run gets: a wait is the
time since the last one.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any, Final

from sqlalchemy import Row, bindparam, func, select, text

from callsheet.errors import NoSlot
from callsheet.ledger import schema
from callsheet.ledger.transaction import Transaction, write

SEEN_GOOD_MS: Final = 6_000
STARVED_MS: Final = 600_000

_waiting, _run, _job = schema.waiting, schema.run, schema.job
_rows = (
    select(_waiting, _run.c.campaign, _run.c.priority, _run.c.share)
    .join_from(_waiting, _run, _run.c.run_id == _waiting.c.run_id)
    .where(_waiting.c.seen_ms > bindparam("since"))
)
_held = (
    select(_run.c.campaign, func.count().label("held"))
    .join_from(_job, _run, _run.c.run_id == _job.c.run_id)
    .where(text(schema.IN_SLOT))
    .group_by(_run.c.campaign)
)
_forget = _waiting.delete().where(_waiting.c.run_id == bindparam("run"))


@write()
def note_waiting(tx: Transaction, run_id: str, *, slots: int) -> None:
    """Say that a run waits for a slot, or still does; it takes one while fewer than `slots` are taken."""
    seen = {"slots": slots, "seen_ms": tx.at_ms}
    mine = _waiting.c.run_id == run_id
    live = mine & (_waiting.c.seen_ms > tx.at_ms - SEEN_GOOD_MS)
    if tx.execute(_waiting.update().where(live).values(seen)).rowcount:
        return
    tx.execute(_waiting.delete().where(mine))  # a wait that was broken off is no wait
    tx.execute(_waiting.insert(), {"run_id": run_id, "since_ms": tx.at_ms, **seen})


def take_turn(tx: Transaction, run: Row[Any], *, slots: int, taken: int) -> None:
    """End a run's wait, because it takes a slot. Raises NoSlot where another campaign goes first.

    `run` has `run_id`, `campaign`, `priority` and `share`; `taken` slots are taken so far.
    """
    rows = tx.execute(_rows, {"since": tx.at_ms - SEEN_GOOD_MS}).all()
    if not rows:
        return
    mine = next((row for row in rows if row.run_id == run.run_id), None)
    others = [row for row in rows if row.campaign != run.campaign and row.slots > taken]
    if others:
        held = {row.campaign: row.held for row in tx.execute(_held)}
        ours = _rank(tx, run, held, tx.at_ms if mine is None else mine.since_ms)
        first = min(others, key=lambda row: _rank(tx, row, held, row.since_ms))
        if _rank(tx, first, held, first.since_ms) < ours:
            raise NoSlot(slots, turn_of=first.campaign)
    if mine is not None:
        tx.execute(_forget, {"run": run.run_id})


def _rank(tx: Transaction, run: Row[Any], held: dict[str, int], since_ms: int) -> tuple[Any, ...]:
    """Return what is smaller for who goes first."""
    if tx.at_ms - since_ms > STARVED_MS:
        return 0, since_ms
    return 1, -run.priority, Fraction(held.get(run.campaign, 0), run.share), since_ms
