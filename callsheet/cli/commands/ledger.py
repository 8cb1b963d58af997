"""`callsheet ledger`: where the money is and where it went; checks and copies of the ledger."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from operator import attrgetter
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Parameter

from callsheet.cli.options import Csv, Json, Sandbox, option, run_settings
from callsheet.cli.output import document, result, say, show_table, write_csv
from callsheet.engine import rollback_guard
from callsheet.errors import UsageError
from callsheet.files import FULL
from callsheet.ledger import Entry, EntryFilter, Ledger, history, queries
from callsheet.ledger.accounts import Grouping
from callsheet.ledger.verify import verify as check_ledger
from callsheet.report.rows import iso_utc
from callsheet.report.statement import Line, statement, total
from pricing.money import usd_text

DAMAGED = 1
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)


@dataclass(frozen=True, slots=True)
class EntryOptions:
    """The filters that `ledger statement` and `ledger entries` share; None filters nothing."""

    run: Annotated[str | None, option("LEDGER_RUN", "Only this run", "--run")] = None
    campaign: Annotated[str | None, option("LEDGER_CAMPAIGN", "Only this campaign", "--campaign")] = None
    client: Annotated[str | None, option("LEDGER_CLIENT", "Only this client", "--client")] = None
    model: Annotated[str | None, option("LEDGER_MODEL", "Only this model", "--model")] = None
    since: Annotated[
        str | None,
        option(
            "LEDGER_SINCE",
            "From this day (UTC) on, e.g. 2026-11-01; counted by the day of the hold",
            "--since",
        ),
    ] = None
    until: Annotated[str | None, option("LEDGER_UNTIL", "Up to and including this day", "--until")] = None


Wanted = Annotated[EntryOptions | None, Parameter(name="*")]


By = Annotated[list[Grouping], option("LEDGER_BY", "Group by this; may be given several times")]
CopyTo = Annotated[Path, Parameter(help="The copy's file; an existing file is never overwritten")]
RunsFolder = Annotated[Path, Parameter(help="The folder that holds the run folders")]

app = App(name="ledger")

ENTRY_CELLS: dict[str, Callable[[Entry], Any]] = {
    "entry": attrgetter("entry_id"),
    "at": lambda entry: iso_utc(entry.at_ms),
    "kind": attrgetter("kind"),
    "amount_usd": lambda entry: usd_text(entry.amount_nano),
    **{name: attrgetter(name) for name in ("campaign", "client", "model", "run_id", "custom_id")},
    "request_id": lambda entry: entry.request_id or "",
    "why": attrgetter("why"),
}
SUMS = ("submissions", "spent_usd", "held_usd")


@app.default
@app.command(name="statement")
def ledger(
    *,
    by: By | None = None,
    wanted: Wanted = None,
    sandbox: Sandbox = False,
    csv: Csv = False,
    json: Json = False,
) -> int:
    """Sum what was spent and what is held, by campaign, client, model, day or run.

    Example: callsheet ledger

    Example: callsheet ledger statement --by client --by day --since 2026-11-01 --csv
    """
    groupings: list[Grouping] = by or ["campaign"]
    with Ledger.open(run_settings(sandbox=sandbox).ledger) as opened:
        lines = statement(opened.do(history.spending, groupings, filter_of(wanted)), groupings)
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
    """Show every entry of the ledger in order: holds, releases, costs and corrections.

    Example: callsheet ledger entries --campaign spring-launch --csv
    """
    with Ledger.open(run_settings(sandbox=sandbox).ledger) as opened:
        lines: Iterable[list[Any]] = (
            [cell(entry) for cell in ENTRY_CELLS.values()]
            for entry in opened.stream(history.entries, filter_of(wanted))
        )
        if csv:
            write_csv([*ENTRY_CELLS], lines)
        elif json:
            document({"entries": [dict(zip(ENTRY_CELLS, line, strict=True)) for line in lines]})
        else:
            show_table([*ENTRY_CELLS], lines, right=frozenset({"entry", "amount_usd"}))
    return 0


@app.command
def verify(*, sandbox: Sandbox = False, json: Json = False) -> int:
    """Check every invariant, the hash chain and the file. Exits with 1 and names what is wrong.

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
            result(f"{label}: no errors")
    if broken:
        say(
            f"callsheet: {label} is damaged ({len(broken)} findings). Do not use it; see docs/operations.md, "
            '"The ledger is damaged", for how to restore a copy'
        )
    return DAMAGED if broken else 0


@app.command
def backup(file: CopyTo, *, sandbox: Sandbox = False, json: Json = False) -> int:
    """Copy the ledger into a new file. Runs may be active. For PostgreSQL use pg_dump.

    Example: callsheet ledger backup ledger-2026-11-21.sqlite
    """
    with Ledger.open(run_settings(sandbox=sandbox).ledger) as opened:
        with _naming_the_file(file):
            opened.backup(file)
        label = opened.label
    if json:
        document({"ledger": label, "file": str(file)})
    else:
        result(str(file))
    return 0


@app.command
def accept(out: RunsFolder, *, sandbox: Sandbox = False, json: Json = False) -> int:
    """Accept a ledger that was restored from a copy. Do this after the steps in docs/operations.md.

    Example: callsheet ledger accept runs
    """
    if not out.is_dir():
        raise UsageError(f"there is no folder {out}; name the one that holds the run folders")
    with Ledger.open(run_settings(sandbox=sandbox).ledger) as opened:
        mark = rollback_guard.accept(opened, out)
        entries = opened.do(queries.identity)[1]
    if json:
        before = None if mark is None else {"entries": mark.entries, "run_id": mark.run_id}
        document({"entries": entries, "was": before})
    elif mark is None:
        result(f"{out} has no record of a newer state of this ledger; nothing to accept")
    else:
        result(f"accepted: {entries} entries (before: {mark.entries}, with run {mark.run_id})")
    return 0


@contextmanager
def _naming_the_file(file: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in FULL:
            raise
        raise UsageError(f"cannot write {file}: {error.strerror}; name another file") from error


def _line_cells(line: Line) -> list[Any]:
    return [*line.names, *_sums(line)]


def _sums(line: Line) -> list[Any]:
    return [line.submissions, usd_text(line.spent_nano), usd_text(line.held_nano)]


def filter_of(options: EntryOptions | None) -> EntryFilter:
    """Return the ledger's filter. Raises UsageError if a day is not valid."""
    given = options or EntryOptions()
    return EntryFilter(
        run_id=given.run,
        campaign=given.campaign,
        client=given.client,
        model=given.model,
        since_ms=first_ms(given.since, "--since"),
        until_ms=end_ms(given.until, "--until"),
    )


def first_ms(text: str | None, option: str) -> int | None:
    """Return the first millisecond (Unix time) of a day such as 2026-11-21, in UTC.

    Raises UsageError if the text is not a day.
    """
    return None if text is None else _ms(_day(text, option))


def end_ms(text: str | None, option: str) -> int | None:
    """Return the first millisecond after that day. Raises UsageError if the text is not a day."""
    return None if text is None else _ms(_day(text, option) + timedelta(days=1))


def _day(text: str, option: str) -> date:
    try:
        day = date.fromisoformat(text) if _DAY.fullmatch(text) else None
    except ValueError:
        day = None
    if day is None or not 1970 <= day.year <= 9998:
        raise UsageError(f"{option} is {text[:40]!r}; it must be a day (UTC) such as 2026-11-21")
    return day


def _ms(day: date) -> int:
    return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()) * 1000
