"""A statement of every bill, as a table, CSV, JSON, FOCUS or a page: printed, or written into a file."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile
from typing import Literal, TextIO

from callsheet.cli.output import result, show_table
from callsheet.errors import UsageError
from callsheet.files import atomically
from callsheet.ledger import Ledger
from callsheet.ledger.bill_lines import Bill, BillSums, read_bills
from callsheet.report.focus import FOCUS_COLUMNS, focus_cells, focus_header
from callsheet.report.safe_text import BOM, guarded, write_csv
from callsheet.report.statement import (
    BillStatement,
    StatementFacts,
    bill_cells,
    bill_header,
    json_pieces,
    page_pieces,
)
from pricing.money import usd_text

Format = Literal["text", "csv", "json", "html", "focus"]

_BEGINNING = 4096
_BEGINS_WITH = (
    '"client","campaign","day",',
    f'"{FOCUS_COLUMNS[0]}","{FOCUS_COLUMNS[1]}",',
    '{\n  "ledger_id": ',
)
"""How a statement begins as CSV, FOCUS and JSON; a page has `_TITLE` near its beginning."""
_TITLE = "<title>Statement · "


def show_bills(ledger: Ledger, facts: StatementFacts, form: Format, out: Path | None) -> None:
    """Write the statement of the wanted bills.

    Raises OSError where `out` cannot be written, UsageError where it would take the place of something else.
    """
    if out is not None:
        _refuse_to_replace(out)
    stream = ledger.stream(read_bills, facts.wanted, with_costs=facts.terms is not None)
    sums = next(stream)
    assert isinstance(sums, BillSums)
    statement = BillStatement.of(facts, sums, (each for each in stream if isinstance(each, Bill)))
    if form == "text":
        _show(statement)
        return
    with _target(out, form) as file:
        _write(file, statement, form)
    if out is not None:
        result(str(out))


def _refuse_to_replace(path: Path) -> None:
    """Raise UsageError where the path is there and is no statement: it may be a manifest or a ledger."""
    if not path.exists() or (path.is_file() and _is_statement(path)):
        return
    raise UsageError(f"{path} is not a statement and will not be replaced; name another with --out")


def _is_statement(path: Path) -> bool:
    with path.open("rb") as file:
        beginning = file.read(_BEGINNING).decode("utf-8", "replace").removeprefix(BOM)
    return not beginning or beginning.startswith(_BEGINS_WITH) or _TITLE in beginning


@contextmanager
def _target(out: Path | None, form: Format) -> Iterator[TextIO]:
    if out is None:
        yield sys.stdout
        return
    with atomically(out) as part:
        with part.open("w", encoding="utf-8", errors="replace", newline="") as file:
            yield file
        if form == "csv":
            _mark(part)


def _mark(part: Path) -> None:
    """Begin a CSV file with the mark that spreadsheets need, where it has more than ASCII."""
    with part.open("r+b") as file:
        if all(map(bytes.isascii, file)):
            return
        file.seek(0)
        with TemporaryFile(dir=part.parent) as copy:
            shutil.copyfileobj(file, copy)
            copy.seek(0)
            file.seek(0)
            file.write(BOM.encode())
            shutil.copyfileobj(copy, file)


def _write(file: TextIO, statement: BillStatement, form: Format) -> None:
    if form in ("json", "html"):
        file.writelines(json_pieces(statement) if form == "json" else page_pieces(statement))
        return
    header, cells = (bill_header, bill_cells) if form == "csv" else (focus_header, focus_cells)
    rows = ([guarded(cell) for cell in cells(statement, line)] for line in statement.lines())
    write_csv(file, header(statement), rows)


def _show(statement: BillStatement) -> None:
    """Print the sums, then every bill."""
    terms = statement.facts.terms
    header = ["client", "campaign", "bills", "cost_usd", "held_usd"]
    header += [f"charge_{terms.currency.lower()}"] if terms else []
    show_table(header, _rows(statement), right=frozenset(header[2:]))
    result("")
    columns = ["day", "custom_id", "status", "cost_usd"]
    columns += ["charge"] if terms else []
    names = bill_header(statement)
    places = [names.index(name) for name in columns]
    cells = (bill_cells(statement, line) for line in statement.lines())
    rows = ([each[at] for at in places] for each in cells)
    show_table(columns, rows, right=frozenset(("cost_usd", "charge")))


def _rows(statement: BillStatement) -> list[list[str]]:
    rows = []
    for group in (*statement.groups, statement.total):
        sums = group.sums
        names = ["total", ""] if group is statement.total else [sums.client, sums.campaign]
        row = [*names, str(sums.submissions), usd_text(sums.spent_nano), usd_text(sums.held_nano)]
        rows.append(row if group.charge is None else [*row, statement.charge_text(group.charge)])
    return rows
