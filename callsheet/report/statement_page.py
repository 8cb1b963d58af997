"""The printable page of a statement. It has no script, fetches nothing, and opens from a disk."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby

from markupsafe import Markup

from callsheet.ledger.bills import Bill
from callsheet.report.bill_statement import BASES, BillStatement, Group, Line, day_of
from callsheet.report.markup import policy_hash, template
from pricing.money import usd_text

PIECES_AT_ONCE = 200
"""Pieces of the page that are joined before they are written."""


def page_pieces(statement: BillStatement) -> Iterator[str]:
    """Yield the page as HTML, a few bills at a time."""
    stream = _TEMPLATE.stream(
        facts=statement.facts,
        terms=statement.facts.terms,
        groups=statement.groups,
        total=statement.total,
        sections=_sections(statement),
        charge=statement.charge_text,
        title=_title(statement),
        style=Markup(_STYLE),  # noqa: S704  (our own file)
        style_hash=policy_hash(_STYLE),
    )
    stream.enable_buffering(PIECES_AT_ONCE)
    return iter(stream)


def _title(statement: BillStatement) -> str:
    names = {group.sums.client for group in statement.groups}
    if statement.facts.client:
        return next(iter(names), statement.facts.client)
    return statement.facts.campaign or "All clients"


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


def _visible(text: str) -> str:
    """Drop control characters and those that turn the direction of text; joiners and fixed spaces stay."""
    return "".join(char for char in text if char.isprintable() or char in "\u00a0\u200c\u200d")


_TEMPLATE = template(
    "statement.html.j2", usd=usd_text, day=day_of, what=_what, visible=_visible, basis=BASES.__getitem__
)
_STYLE = _TEMPLATE.environment.get_template("statement.css").render()
