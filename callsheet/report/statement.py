"""The book added up: what was spent and is held, by campaign, client, model, day or run. Pure.

A submission counts in the day (UTC) in which its money was put aside, as in the caps per day: so the sum of a
day here is what the day's cap was asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, Literal, get_args

from callsheet.ledger.records import Entry
from callsheet.report.rows import iso_utc
from pricing.budgets import client_key

Grouping = Literal["campaign", "client", "model", "day", "run"]
GROUPINGS: Final[tuple[Grouping, ...]] = get_args(Grouping)

_NAMES: Final[Mapping[Grouping, Callable[[Entry], str]]] = MappingProxyType(
    {
        "campaign": lambda entry: entry.campaign,
        "client": lambda entry: entry.client,
        "model": lambda entry: entry.model,
        "day": lambda entry: iso_utc(entry.admitted_ms)[:10],
        "run": lambda entry: entry.run_id,
    }
)


@dataclass(slots=True)
class Line:
    """One line of a statement. `names` follow the groupings; amounts are nano-dollars.

    `submissions` counts those whose cost is booked, also where they cost nothing in the end. The amounts are
    exact: `spent_nano` is the sum of the settlements and corrections, `held_nano` what is still put aside.
    """

    names: tuple[str, ...]
    submissions: int = 0
    spent_nano: int = 0
    held_nano: int = 0
    _booked: set[int] = field(default_factory=set, repr=False, compare=False)

    def add(self, entry: Entry) -> None:
        """Count one line of the book."""
        if entry.kind != "settle":
            self.held_nano += entry.amount_nano
            return
        self.spent_nano += entry.amount_nano
        if entry.submission_id not in self._booked:
            self._booked.add(entry.submission_id)
            self.submissions += 1


def statement(entries: Iterable[Entry], by: Sequence[Grouping]) -> list[Line]:
    """Add up the entries by these groupings, in order of their names. No grouping gives one line, or none.

    A client is one client however it is typed; the first spelling is shown.
    """
    lines: dict[tuple[str, ...], Line] = {}
    clients: dict[str, str] = {}
    for entry in entries:
        names = tuple(
            clients.setdefault(client_key(entry.client), entry.client)
            if grouping == "client"
            else _NAMES[grouping](entry)
            for grouping in by
        )
        lines.setdefault(names, Line(names)).add(entry)
    return [lines[names] for names in sorted(lines)]


def total(lines: Iterable[Line]) -> Line:
    """Add up the lines of one statement."""
    whole = Line(())
    for line in lines:
        whole.submissions += line.submissions
        whole.spent_nano += line.spent_nano
        whole.held_nano += line.held_nano
    return whole
