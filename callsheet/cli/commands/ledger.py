"""`callsheet ledger`: where the money is and where it went; checks and copies of the ledger."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from operator import attrgetter
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Parameter

from callsheet.cli.options import Csv, Json, Sandbox, option, run_settings
from callsheet.cli.output import document, result, say, show_table, write_csv
from callsheet.cli.views.bill_statement import Format, show_bills
from callsheet.engine import rollback_guard
from callsheet.errors import UsageError
from callsheet.files import naming_full_disk
from callsheet.ledger import Entry, EntryFilter, Ledger, activity, history
from callsheet.ledger.accounts import Grouping, Spending
from callsheet.ledger.verify import verify as check_ledger
from callsheet.report.rows import iso_utc
from callsheet.report.statement import StatementFacts, spending_lines, total
from callsheet.wording import number_of
from pricing.charges import Terms, parse_terms, split
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
            "--from",
        ),
    ] = None
    until: Annotated[
        str | None, option("LEDGER_UNTIL", "Up to and including this day", "--until", "--to")
    ] = None
    month: Annotated[str | None, option("LEDGER_MONTH", "Only this month (UTC), e.g. 2026-11", "--month")] = (
        None
    )


Wanted = Annotated[EntryOptions | None, Parameter(name="*")]


@dataclass(frozen=True, slots=True)
class ChargeOptions:
    """What is charged for a cost. None leaves the ledger's own amounts."""

    markup: Annotated[str | None, option("LEDGER_MARKUP", "Charge so much more, e.g. 15%", "--markup")] = None
    currency: Annotated[
        str | None, option("LEDGER_CURRENCY", "Also show charges in this currency, e.g. EUR", "--currency")
    ] = None
    rate: Annotated[
        str | None, option("LEDGER_RATE", "How much of that currency a dollar is, e.g. 0.92", "--rate")
    ] = None


Charge = Annotated[ChargeOptions | None, Parameter(name="*")]
By = Annotated[list[Grouping], option("LEDGER_BY", "Group by this; may be given several times")]
As = Annotated[
    Format,
    option(
        "LEDGER_FORMAT", "List every clip with its bill: a table, CSV, JSON, a page to print, or FOCUS CSV"
    ),
]
StatementFile = Annotated[Path, option("LEDGER_OUT", "Write the list of bills into this file", "--out")]
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
    charge: Charge = None,
    format: As | None = None,  # noqa: A002 -- the option's name
    out: StatementFile | None = None,
    sandbox: Sandbox = False,
    csv: Csv = False,
    json: Json = False,
) -> int:
    """Sum what was spent and what is held, by campaign, client, model, day or run.

    With --format it is a statement by client and campaign that lists every
    clip with its bill. A mark-up and another currency are shown beside USD.

    Example: callsheet ledger

    Example: callsheet ledger statement --by client --by day --since 2026-11-01 --csv

    Example: callsheet ledger statement --client acme --month 2026-11 --markup 15% --format html --out a.html
    """
    filters, terms = filter_of(wanted), _terms_of(charge)
    if out is not None and format in (None, "text"):
        raise UsageError("--out needs --format csv, html, focus or json; other statements are printed")
    if format is not None and (by or csv or json):
        raise UsageError(
            "--format lists every bill by client and campaign; --by, --csv and --json are for sums"
        )
    with Ledger.open(run_settings(sandbox=sandbox).ledger) as opened:
        if format is not None:
            facts = StatementFacts(ledger_id=opened.id, wanted=filters, terms=terms, is_sandbox=sandbox)
            with _naming_the_file(out) if out else nullcontext():
                show_bills(opened, facts, format, out)
            return 0
        groupings: list[Grouping] = by or ["campaign"]
        sums = opened.do(history.spending, groupings, filters)
        held = opened.do(history.held_submissions, groupings, filters)
        lines = spending_lines([*sums, *held], groupings)
    _show_sums(lines, groupings, terms, as_csv=csv, as_json=json)
    return 0


def _show_sums(
    lines: list[tuple[tuple[str, ...], Spending]],
    groupings: list[Grouping],
    terms: Terms | None,
    *,
    as_csv: bool,
    as_json: bool,
) -> None:
    parts = [sums for _, sums in lines]
    header: tuple[str, ...] = SUMS
    cells: list[list[Any]] = [
        [each.submissions, usd_text(each.spent_nano), usd_text(each.held_nano)]
        for each in (*parts, total(parts))
    ]
    if terms is not None:
        header = (*SUMS, f"charge_{terms.currency.lower()}")
        most, shares, _ = split(terms, [[each.spent_nano] for each in parts])
        for line, charge in zip(cells, (*shares, most), strict=True):
            line.append(terms.text(charge))
    *cells, whole = cells
    rows = [[*names, *each] for (names, _), each in zip(lines, cells, strict=True)]
    if as_json:
        told = [dict(zip((*groupings, *header), row, strict=True)) for row in rows]
        document({"lines": told, "total": dict(zip(header, whole, strict=True))})
    elif as_csv:
        write_csv([*groupings, *header], rows)
    else:
        last = ["total", *([""] * (len(groupings) - 1)), *whole]
        show_table([*groupings, *header], [*rows, last], right=frozenset(header))


def _terms_of(options: ChargeOptions | None) -> Terms | None:
    given = options or ChargeOptions()
    try:
        return parse_terms(given.markup, given.currency, given.rate)
    except ValueError as error:
        raise UsageError(f"--markup, --currency, --rate: {error}") from error


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
        found = number_of(len(broken), "finding")
        say(
            f"callsheet: {label} is damaged ({found}). Do not use it; see docs/operations.md, "
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
        entries = opened.do(activity.extent).entries
    if json:
        before = None if mark is None else {"entries": mark.entries, "run_id": mark.run_id}
        document({"entries": entries, "was": before})
    elif mark is None:
        result(f"{out} has no record of a newer state of this ledger; nothing to accept")
    else:
        result(f"accepted; entries: {entries:,} (before: {mark.entries:,}, with run {mark.run_id})")
    return 0


@contextmanager
def _naming_the_file(file: Path) -> Iterator[None]:
    try:
        with naming_full_disk(file.parent, "make room or name another file"):
            yield
    except OSError as error:
        raise UsageError(f"cannot write {file}: {error.strerror}; name another file") from error


def filter_of(options: EntryOptions | None) -> EntryFilter:
    """Return the ledger's filter. Raises UsageError if a day is not valid or the last is before the first."""
    given = options or EntryOptions()
    since_ms, until_ms = day_ms(given.since, "--since"), day_ms(given.until, "--until", days_later=1)
    if given.month is not None:
        if given.since is not None or given.until is not None:
            raise UsageError("give --month, or --since and --until")
        since_ms, until_ms = month_ms(given.month)
    if since_ms is not None and until_ms is not None and since_ms >= until_ms:
        raise UsageError(f"--since {given.since} is after --until {given.until}")
    return EntryFilter(
        run_id=given.run,
        campaign=given.campaign,
        client=given.client,
        model=given.model,
        since_ms=since_ms,
        until_ms=until_ms,
    )


def month_ms(text: str) -> tuple[int, int]:
    """Return the first millisecond of a UTC month such as 2026-11, and the first one after it.

    Raises UsageError if the text is not a month.
    """
    try:
        first = _day(f"{text}-01", "--month")
    except UsageError:
        raise UsageError(f"--month is {text[:40]!r}; it must be a month (UTC) such as 2026-11") from None
    return _ms(first), _ms((first + timedelta(days=31)).replace(day=1))


def day_ms(text: str | None, option: str, *, days_later: int = 0) -> int | None:
    """Return the first millisecond (Unix time) of a day such as 2026-11-21, in UTC, or of one after it.

    Raises UsageError if the text is not a day.
    """
    return None if text is None else _ms(_day(text, option) + timedelta(days=days_later))


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
