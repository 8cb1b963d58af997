"""What was spent and is held, by campaign, client, model, day or run. Pure.

A submission counts in the day (UTC) in which its money was held, as in the caps per day: the sum of a day
here is what counted against the day's cap.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from callsheet.ledger.accounts import Grouping, Spending
from pricing.budgets import client_key


@dataclass(slots=True)
class Line:
    """One line of a statement. `names` follow the groupings; amounts are nano-dollars.

    `submissions` counts those whose cost is booked, also where they cost nothing in the end. The amounts are
    exact: `spent_nano` is the sum of the settlements and corrections, `held_nano` what is still held.
    """

    names: tuple[str, ...]
    submissions: int = 0
    spent_nano: int = 0
    held_nano: int = 0

    def add(self, part: Spending | Line) -> None:
        """Add a part of what this line is about."""
        self.submissions += part.submissions
        self.spent_nano += part.spent_nano
        self.held_nano += part.held_nano


def statement(parts: Iterable[Spending], by: Sequence[Grouping]) -> list[Line]:
    """Add up the parts by these groupings, in order of their names. No grouping gives one line, or none.

    A client is one client however it is typed; the first spelling is shown.
    """
    lines: dict[tuple[str, ...], Line] = {}
    clients: dict[str, str] = {}
    for part in parts:
        names = tuple(
            clients.setdefault(client_key(part.client), part.client)
            if grouping == "client"
            else str(getattr(part, grouping))
            for grouping in by
        )
        lines.setdefault(names, Line(names)).add(part)
    return [lines[names] for names in sorted(lines)]


def total(lines: Iterable[Line]) -> Line:
    """Add up the lines of one statement."""
    whole = Line(())
    for line in lines:
        whole.add(line)
    return whole
