"""Statements: every clip and its bill, with a mark-up and another currency where asked for; sums of spending.

Amounts in USD are the ledger's own, exact to the nano-dollar. Charges are whole smallest units of their
currency; lines add up to their group, and groups to the total (`pricing.charges`).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import groupby
from typing import Any

from jinja2 import Template

from callsheet.ledger.accounts import EntryFilter, Grouping, Spending
from callsheet.ledger.bill_lines import Bill, BillSums
from callsheet.report.markup import own_file, policy_hash, template
from callsheet.report.rows import Value, iso_utc
from callsheet.report.safe_text import clean
from pricing.budgets import client_key
from pricing.charges import Terms, split
from pricing.money import usd_text

PIECES_AT_ONCE = 200
"""Pieces of the page that are joined before they are written."""

BASES: Mapping[str, str] = {
    "billing_event": "fal's bill",
    "billable_units": "fal's units",
    "expected": "price list",
    "bill_implausible": "price list (fal's figure is implausible)",
    "hold": "held maximum (outcome not known)",
}
"""Where a cost comes from, for people."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StatementFacts:
    """What a statement is about: the bills that are wanted of a ledger.

    `terms` are None where nothing but the ledger's own amounts is shown.
    """

    ledger_id: str
    wanted: EntryFilter
    terms: Terms | None = None
    is_sandbox: bool = False

    @property
    def first_day(self) -> str:
        """The first UTC day, "" where there is no bound."""
        return iso_utc(self.wanted.since_ms)[:10]

    @property
    def last_day(self) -> str:
        """The last UTC day, "" where there is no bound."""
        return "" if self.wanted.until_ms is None else iso_utc(self.wanted.until_ms - 1)[:10]

    @property
    def period(self) -> str:
        """The period in words."""
        if self.first_day and self.last_day:
            return f"{self.first_day} to {self.last_day}"
        if self.first_day:
            return f"from {self.first_day}"
        return f"up to {self.last_day}" if self.last_day else "everything so far"


@dataclass(frozen=True, slots=True)
class Group:
    """The sums of one client in one campaign. `charge` is in smallest units, None without terms."""

    sums: Spending
    charge: int | None = None


@dataclass(frozen=True, slots=True)
class Line:
    """One bill and its charge in smallest units, None without terms."""

    bill: Bill
    charge: int | None = None


@dataclass(frozen=True, slots=True)
class BillStatement:
    """A statement: its groups, their total, and its bills, which are read as they are written out, once."""

    facts: StatementFacts
    groups: tuple[Group, ...]
    total: Group
    _bills: Iterator[Bill] = field(repr=False)
    _charges: Mapping[tuple[str, str], Iterator[int]] = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, facts: StatementFacts, sums: BillSums, bills: Iterator[Bill]) -> BillStatement:
        """Make the statement of a period's bills, which come in the order of `sums.costs`."""
        whole = total(sums.groups)
        if facts.terms is None:
            return cls(facts, tuple(map(Group, sums.groups)), Group(whole), bills)
        charge, shares, charges = split(facts.terms, sums.costs)
        names = [(group.client, group.campaign) for group in sums.groups]
        own = {name: iter(each) for name, each in zip(names, charges, strict=True)}
        return cls(facts, tuple(map(Group, sums.groups, shares)), Group(whole, charge), bills, own)

    def lines(self) -> Iterator[Line]:
        """Yield the bills by client, campaign and time, each with its charge. Can be read once."""
        for bill in self._bills:
            charges = self._charges.get((bill.client, bill.campaign))
            yield Line(bill, None if charges is None else next(charges))

    def charge_text(self, charge: int | None) -> str:
        """Write a charge as a decimal number; "" for none."""
        return "" if charge is None or self.facts.terms is None else self.facts.terms.text(charge)


def total(parts: Iterable[Spending]) -> Spending:
    """Add up what does not overlap."""
    every = list(parts)
    return Spending(
        submissions=sum(part.submissions for part in every),
        spent_nano=sum(part.spent_nano for part in every),
        held_nano=sum(part.held_nano for part in every),
    )


def day_of(bill: Bill) -> str:
    """Return the UTC day that a bill counts in: the one in which its money was held."""
    return iso_utc(bill.admitted_ms)[:10]


BILL_COLUMNS = (
    *("client", "campaign", "day", "custom_id", "take", "stage", "status", "model", "endpoint"),
    *("width", "height", "duration_s", "run_id", "request_id", "cost_basis", "billable_units", "cost_usd"),
)
CHARGE_COLUMNS = ("charge", "currency", "markup", "rate")
"""Added where there are terms."""


def bill_header(statement: BillStatement) -> list[str]:
    """Return the names of a bill's cells."""
    return [*BILL_COLUMNS, *(CHARGE_COLUMNS if statement.facts.terms else ())]


def bill_cells(statement: BillStatement, line: Line) -> list[Value]:
    """Return the cells of one bill, with USD and the charge as exact decimal texts."""
    bill, terms = line.bill, statement.facts.terms
    cells: list[Value] = [bill.client, bill.campaign, day_of(bill), bill.custom_id, bill.take, bill.stage]
    cells += [bill.state.value, bill.model, bill.endpoint, bill.width_px, bill.height_px, bill.duration_s]
    cells += [bill.run_id, bill.request_id, bill.cost_basis, bill.billable_units, usd_text(bill.cost_nano)]
    if terms is not None:
        cells += [statement.charge_text(line.charge), terms.currency, terms.markup_text, terms.rate_text]
    return cells


def json_pieces(statement: BillStatement) -> Iterator[str]:
    """Yield the statement as one JSON document, a bill at a time."""
    facts = statement.facts
    head = {
        "ledger_id": facts.ledger_id,
        "sandbox": facts.is_sandbox,
        "first_day": facts.first_day or None,
        "last_day": facts.last_day or None,
        "terms": _terms(facts.terms),
        "groups": [
            {"client": group.sums.client, "campaign": group.sums.campaign, **_sums(statement, group)}
            for group in statement.groups
        ],
        "total": _sums(statement, statement.total),
    }
    yield json.dumps(head, indent=2, ensure_ascii=False).removesuffix("\n}")
    yield ',\n  "bills": ['
    header = bill_header(statement)
    separator = "\n    "
    for line in statement.lines():
        cells = dict(zip(header, bill_cells(statement, line), strict=True))
        yield separator + json.dumps(cells, ensure_ascii=False)
        separator = ",\n    "
    yield "\n  ]\n}\n"


def _terms(terms: Terms | None) -> dict[str, str] | None:
    if terms is None:
        return None
    return {"markup": terms.markup_text, "currency": terms.currency, "rate": terms.rate_text}


def _sums(statement: BillStatement, group: Group) -> dict[str, Any]:
    sums: dict[str, Any] = {
        "bills": group.sums.submissions,
        "spent_usd": usd_text(group.sums.spent_nano),
        "held_usd": usd_text(group.sums.held_nano),
    }
    return sums if group.charge is None else {**sums, "charge": statement.charge_text(group.charge)}


def page_pieces(statement: BillStatement) -> Iterator[str]:
    """Yield the printable page as HTML, a few bills at a time. It has no script and fetches nothing."""
    style = own_file("statement.css")
    stream = _template().stream(
        facts=statement.facts,
        wanted=statement.facts.wanted,
        terms=statement.facts.terms,
        groups=statement.groups,
        total=statement.total,
        sections=_sections(statement),
        charge=statement.charge_text,
        title=_title(statement),
        style=style,
        style_hash=policy_hash(style),
    )
    stream.enable_buffering(PIECES_AT_ONCE)
    return iter(stream)


def _title(statement: BillStatement) -> str:
    names = {group.sums.client for group in statement.groups}
    wanted = statement.facts.wanted
    if wanted.client:
        return next(iter(names), wanted.client)
    return wanted.campaign or "All clients"


def _sections(statement: BillStatement) -> Iterator[tuple[Group, Iterator[Line]]]:
    """Yield each group that has bills, with them."""
    groups = {(group.sums.client, group.sums.campaign): group for group in statement.groups}
    for key, lines in groupby(statement.lines(), lambda line: (line.bill.client, line.bill.campaign)):
        yield groups[key], lines


def _what(bill: Bill) -> str:
    """Say what was bought: the model, the size and the length."""
    parts = [bill.model]
    if bill.width_px is not None and bill.duration_s is not None:
        parts += [f"{bill.width_px}\u00a0×\u00a0{bill.height_px}", f"{bill.duration_s:.2f}\u00a0s"]  # noqa: RUF001
    else:
        parts.append("no video")
    return " · ".join([*parts, *([bill.stage] if bill.stage else [])])


@cache
def _template() -> Template:
    return template(
        "statement.html.j2",
        usd=usd_text,
        counted="{:,}".format,
        day=day_of,
        what=_what,
        clean=clean,
        basis=BASES.__getitem__,
    )


def spending_lines(
    parts: Iterable[Spending], by: Sequence[Grouping]
) -> list[tuple[tuple[str, ...], Spending]]:
    """Add up the parts by these groupings: names and sums, in order of the names. None gives one, or nothing.

    A client is one client however it is typed; the first spelling is shown. A submission counts in the day
    (UTC) in which its money was held, as in the caps per day.
    """
    groups: dict[tuple[str, ...], list[Spending]] = {}
    clients: dict[str, str] = {}
    for part in parts:
        names = tuple(
            clients.setdefault(client_key(part.client), part.client)
            if grouping == "client"
            else str(getattr(part, grouping))
            for grouping in by
        )
        groups.setdefault(names, []).append(part)
    return [(names, total(groups[names])) for names in sorted(groups)]
