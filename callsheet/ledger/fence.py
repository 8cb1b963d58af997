"""Fencing: a claim is also a number in the ledger that only grows, and every write asks for it.

A lock says who may begin. It cannot tell a process that slept through the loss of it (stopped, suspended, cut
off from the server) that somebody else has begun meanwhile; a number that is read in the same transaction as
the write can.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from sqlalchemy import Connection, bindparam, select

from callsheet.errors import ClaimLost
from callsheet.ledger import schema
from callsheet.ledger.steps import chunks

WHOLE = ""
"""The part that means all of a run."""


_of_runs = select(schema.claim.c.run_id, schema.claim.c.part, schema.claim.c.number).where(
    schema.claim.c.run_id.in_(bindparam("runs", expanding=True))
)


@dataclass(frozen=True, slots=True)
class Claim:
    """A run, or a part of it, as its owner took it over: the numbers that must not have changed since.

    Who owns all of it looks at every number of the run, who owns a part at its own and at the whole's.
    """

    run_id: str
    part: str
    numbers: Mapping[str, int]

    def holds(self, now: Mapping[str, int]) -> bool:
        """Say whether nobody has claimed this since, by the run's numbers as they are now."""
        if self.part == WHOLE:
            return now == self.numbers
        return all(now.get(part, 0) == self.numbers.get(part, 0) for part in (WHOLE, self.part))


class Fence:
    """The claims that an open ledger holds."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._claims: tuple[Claim, ...] = ()

    @property
    def claims(self) -> tuple[Claim, ...]:
        """What is claimed; another tuple as soon as that changes."""
        return self._claims

    @contextmanager
    def holding(self, claim: Claim) -> Iterator[None]:
        """Let every write ask for this claim while entered."""
        with self._guard:
            self._claims = (*self._claims, claim)
        try:
            yield
        finally:
            with self._guard:
                self._claims = tuple(each for each in self._claims if each is not claim)

    def check(self, connection: Connection) -> None:
        """Raise ClaimLost, and the transaction then changes nothing, where somebody took a run over."""
        claims = self._claims
        if not claims:
            return
        now = _numbers(connection, {claim.run_id for claim in claims})
        for claim in claims:
            if not claim.holds(now[claim.run_id]):
                raise ClaimLost(
                    f"run {claim.run_id} was taken over by another process while this one stood still; "
                    f"nothing more is done for it here. `callsheet status {claim.run_id}` shows how far it is"
                )


def take(connection: Connection, run_id: str, part: str) -> Claim:
    """Write down that a run, or a part of it, has a new owner. The caller holds its lock."""
    numbers = _numbers(connection, {run_id})[run_id]
    number = numbers.get(part, 0) + 1
    table = schema.claim
    if part in numbers:
        mine = (table.c.run_id == run_id, table.c.part == part)
        connection.execute(table.update().where(*mine).values(number=number))
    else:
        connection.execute(table.insert(), {"run_id": run_id, "part": part, "number": number})
    return Claim(run_id, part, {**numbers, part: number})


def _numbers(connection: Connection, run_ids: Collection[str]) -> dict[str, dict[str, int]]:
    """Return by run how often each part of it was claimed."""
    found: dict[str, dict[str, int]] = {run_id: {} for run_id in run_ids}
    for piece in chunks(run_ids):
        rows = connection.execute(_of_runs, {"runs": piece})
        for run_id, part, number in rows:
            found[run_id][part] = number
    return found
