"""`callsheet ledger`: where the money is and went, whether the book is sound, and a copy of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Parameter

from callsheet.cli.console import document, result, say
from callsheet.cli.entry_options import Wanted, filter_of
from callsheet.cli.options import Json, Sandbox
from callsheet.cli.runs import run_settings
from callsheet.cli.tables import show_table, write_csv
from callsheet.engine import high_water
from callsheet.errors import UsageError
from callsheet.files import FULL
from callsheet.ledger import Entry, Ledger, history, queries
from callsheet.ledger.verify import verify as check_ledger
from callsheet.report.rows import iso_utc
from callsheet.report.statement import Grouping, Line, statement, total
from pricing.money import usd_text

DAMAGED = 1


Csv = Annotated[bool, Parameter(name="--csv", negative="", env_var="CALLSHEET_CSV", help="CSV on stdout")]
By = Annotated[
    list[Grouping],
    Parameter(
        name="--by",
        negative="",
        env_var="CALLSHEET_LEDGER_BY",
        help="One line for each; may be given several times",
    ),
]
CopyTo = Annotated[Path, Parameter(help="A new file; an existing one is never overwritten")]
RunsFolder = Annotated[Path, Parameter(help="The folder that run folders are made in")]

app = App(name="ledger")

ENTRY_COLUMNS = (
    "entry",
    "at",
    "kind",
    "amount_usd",
    "campaign",
    "client",
    "model",
    "run_id",
    "custom_id",
    "request_id",
    "why",
)
SUMS = ("submissions", "spent_usd", "held_usd")


@app.default
def ledger(*, sandbox: Sandbox = False, json: Json = False) -> int:
    """Show where the money is and went, by campaign.

    Example: callsheet ledger statement --by client --by day --since 2026-11-01 --csv
    """
    return show_statement(sandbox=sandbox, json=json)


@app.command(name="statement")
def show_statement(
    *,
    by: By | None = None,
    wanted: Wanted = None,
    sandbox: Sandbox = False,
    csv: Csv = False,
    json: Json = False,
) -> int:
    """Add up what was spent and what is held, by campaign, client, model, day or run.

    Example: callsheet ledger statement --by client --by model --since 2026-11-01
    """
    groupings: list[Grouping] = by or ["campaign"]
    with Ledger.open(run_settings(sandbox=sandbox).ledger) as opened:
        lines = statement(opened.stream(history.entries, filter_of(wanted)), groupings)
    header = [*groupings, *SUMS]
    if json:
        rows = [dict(zip(header, _line_cells(line), strict=True)) for line in lines]
        document({"lines": rows, "total": dict(zip(SUMS, _sums(total(lines)), strict=True))})
    elif csv:
        write_csv(header, map(_line_cells, lines))
    else:
        last = ["total", *([""] * (len(groupings) - 1)), *_sums(total(lines))]
        show_table(header, [*map(_line_cells, lines), last], right=frozenset(SUMS))
    return 0


@app.command
def entries(
    *,
    wanted: Wanted = None,
    sandbox: Sandbox = False,
    csv: Csv = False,
    json: Json = False,
) -> int:
    """Show every line of the book: holds, releases, costs and corrections, in the order they were written.

    Example: callsheet ledger entries --campaign spring-launch --csv
    """
    with Ledger.open(run_settings(sandbox=sandbox).ledger) as opened:
        lines: Iterable[list[Any]] = map(_entry_cells, opened.stream(history.entries, filter_of(wanted)))
        if csv:
            write_csv(ENTRY_COLUMNS, lines)
        elif json:
            document({"entries": [dict(zip(ENTRY_COLUMNS, line, strict=True)) for line in lines]})
        else:
            show_table(ENTRY_COLUMNS, lines, right=frozenset({"entry", "amount_usd"}))
    return 0


@app.command
def verify(*, sandbox: Sandbox = False, json: Json = False) -> int:
    """Check every invariant, the chain of hashes and the file; exit 1 and say what is wrong where one is.

    Example: callsheet ledger verify
    """
    with Ledger.open(run_settings(sandbox=sandbox).ledger) as opened:
        broken = opened.do(check_ledger)
        label = opened.label
    if json:
        document({"ledger": label, "sound": not broken, "broken": broken})
    else:
        for sentence in broken:
            result(sentence)
        if not broken:
            result(f"{label}: every invariant holds, every entry is as it was written")
    if broken:
        say(
            f"callsheet: {label} is damaged ({len(broken)} findings). Run nothing on it: docs/operations.md, "
            '"The ledger is damaged", says how to go back to a copy'
        )
    return DAMAGED if broken else 0


@app.command
def backup(file: CopyTo, *, sandbox: Sandbox = False, json: Json = False) -> int:
    """Copy the ledger as it is now into a new file, while runs may go on; PostgreSQL has pg_dump for this.

    Example: callsheet ledger backup ledger-2026-11-21.sqlite
    """
    with Ledger.open(run_settings(sandbox=sandbox).ledger) as opened:
        with _unwritable_named(file):
            opened.backup(file)
        label = opened.label
    if json:
        document({"ledger": label, "file": str(file)})
    else:
        result(str(file))
    return 0


@app.command
def accept(out: RunsFolder, *, sandbox: Sandbox = False, json: Json = False) -> int:
    """Go on with a ledger that was restored from a copy, once what it has forgotten is dealt with.

    Example: callsheet ledger accept runs
    """
    if not out.is_dir():
        raise UsageError(f"there is no folder {out}; name the one that run folders are made in")
    with Ledger.open(run_settings(sandbox=sandbox).ledger) as opened:
        mark = high_water.accept(opened, out)
        entries = opened.do(queries.identity)[1]
    if json:
        before = None if mark is None else {"entries": mark.entries, "run_id": mark.run_id}
        document({"entries": entries, "was": before})
    elif mark is None:
        result(f"nothing in {out} says that this ledger was ever further than it is")
    else:
        result(f"accepted: {entries} entries; it once had {mark.entries}, and the run {mark.run_id}")
    return 0


@contextmanager
def _unwritable_named(file: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in FULL:
            raise
        raise UsageError(f"cannot write {file}: {error.strerror}") from error


def _line_cells(line: Line) -> list[Any]:
    return [*line.names, *_sums(line)]


def _sums(line: Line) -> list[Any]:
    return [line.submissions, usd_text(line.spent_nano), usd_text(line.held_nano)]


def _entry_cells(entry: Entry) -> list[Any]:
    return [
        entry.entry_id,
        iso_utc(entry.at_ms),
        entry.kind,
        usd_text(entry.amount_nano),
        entry.campaign,
        entry.client,
        entry.model,
        entry.run_id,
        entry.custom_id,
        entry.request_id or "",
        entry.why,
    ]
