"""Options that several commands share, and the settings that they make."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import Group, Parameter
from cyclopts.completion import CompletionContext
from cyclopts.validators import Number

from callsheet.errors import CallsheetError, UsageError
from callsheet.files import has_ledger, usable_data_folder
from callsheet.settings import Settings, sandbox_ledger, settings_from
from pricing.money import parse_usd

MAX_PORT = 65_535

_OF_MESSAGES = Parameter(group=Group("Messages (every command)", sort_key=99))


def option(variable: str, text: str, *names: str) -> Parameter:
    """Return an option with its environment variable (without `CALLSHEET_`), its help and its names.

    Without names it is called after its argument. A flag has no `--no-` form.
    """
    return Parameter(name=names or None, negative="", env_var=f"CALLSHEET_{variable}", help=text)


def keep_option(what: str, default: str = "") -> Parameter:
    """Return `--keep`, which names what a person keeps."""
    return Parameter(
        name="--keep",
        negative="",
        consume_multiple=True,
        env_var="CALLSHEET_KEEP",
        help=f"{what}: ids, or a file with the column custom_id; if it also has the column verdict, the rows "
        f"that say keep{default}",
    )


Source = Annotated[
    str | Path,  # read as text, which may be an address; completed as a file
    Parameter(
        help="A manifest (CSV, XLSX, Parquet, JSONL; a path, https://, s3:// or gs://), a campaign file "
        "(.toml) or a plan file (.json)"
    ),
]


def _run_ids(context: CompletionContext) -> list[str]:
    """Return the ids of the newest runs, for completion; none where there is no ledger that can be read."""
    settings = settings_from(os.environ, sandbox=context["--sandbox"].provided)
    if not has_ledger(settings):
        return []
    from callsheet.ledger import Ledger, queries

    try:
        with Ledger.open(settings.ledger) as ledger:
            return [run.run_id for run in ledger.do(queries.runs)]
    except CallsheetError:
        return []


RunId = Annotated[str | None, Parameter(help="A run's id (default: the latest run)", completer=_run_ids)]
UnfinishedRunId = Annotated[
    str | None, Parameter(help="A run's id (default: the latest unfinished run)", completer=_run_ids)
]
RunToStop = Annotated[str, Parameter(help="A run's id (`callsheet status` shows it)", completer=_run_ids)]
Budget = Annotated[str | None, option("BUDGET_USD", "Spend at most this much", "--budget-usd", "--max-cost")]
Concurrency = Annotated[
    int | None,
    option(
        "CONCURRENCY",
        "Renders at a time, over all runs of the ledger (default 10)",
        "--concurrency",
        "-j",
    ),
]
Out = Annotated[str | None, option("OUT", "The folder for run folders (default: runs)")]
Sandbox = Annotated[bool, option("SANDBOX", "Use the local sandbox: no key, no money")]
Speed = Annotated[float, option("SANDBOX_SPEED", "How many times faster than fal the sandbox renders")]
Yes = Annotated[bool, option("YES", "Do not ask for confirmation", "--yes", "-y")]
Json = Annotated[bool, option("JSON", "Print one JSON document")]
AcceptPrices = Annotated[bool, option("ACCEPT_PRICES", "Continue if fal's prices differ from the plan")]
Again = Annotated[bool, option("AGAIN", "Buy again videos you already have")]
Fit = Annotated[bool, option("FIT", "Take the jobs that fit the budget, highest priority first")]
Canary = Annotated[
    int | None,
    option(
        "CANARY",
        "First render one job of each price group, of at most this many groups; render the rest only if "
        "their bills and files are as planned",
    ),
]
HeaderRow = Annotated[
    int | None,
    option("HEADER_ROW", "Row of the header in a CSV or XLSX manifest, if it is not found"),
    Parameter(validator=Number(gte=1)),
]
SkipHidden = Annotated[bool, option("SKIP_HIDDEN", "Leave out hidden and filtered rows of a workbook")]


def _lines(_type: object, value: str, *, delimiter: str | None = None) -> list[str]:  # noqa: ARG001 -- cyclopts
    """Split a variable's value into its lines."""
    return value.splitlines()


@dataclass(frozen=True, slots=True, kw_only=True)
class RowOptions:
    """Which rows of a manifest are taken, and how a table is read: `plan`, `run` and `deploy` share these."""

    first: Annotated[
        int | None,
        option("FIRST", "Take the first so many rows (with --where: of those)", "--first", "-n"),
    ] = None
    where: Annotated[
        tuple[str, ...],
        Parameter(
            name="--where",
            negative="",
            env_var="CALLSHEET_WHERE",
            env_var_split=_lines,  # a value may have spaces
            help="COLUMN=VALUE: take only rows with this value (with any of the values given for one column)",
        ),
    ] = ()
    sample: Annotated[
        int | None,
        option("SAMPLE", "Take a sample of so many rows, the same rows each time (after -n)", "--sample"),
    ] = None
    header_row: HeaderRow = None
    skip_hidden: SkipHidden = False


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions(RowOptions):
    """What `run` and `deploy` share besides: fields of `RunRequest`, by the same names."""

    budget_usd: Budget = None
    concurrency: Concurrency = None
    fit: Fit = False
    again: Again = False
    canary: Canary = None
    accept_prices: AcceptPrices = False
    sandbox: Sandbox = False
    speed: Speed = 1.0


Rows = Annotated[RowOptions, Parameter(name="*")]
Asked = Annotated[RunOptions, Parameter(name="*")]
ALL_ROWS, NOTHING_ASKED = RowOptions(), RunOptions()
Csv = Annotated[bool, option("CSV", "Print CSV")]
Verbose = Annotated[
    bool,
    option("VERBOSE", "Also log every step on standard error", "--verbose", "-v"),
    _OF_MESSAGES,
]
Quiet = Annotated[bool, option("QUIET", "Print warnings and errors only", "--quiet", "-q"), _OF_MESSAGES]
LogJson = Annotated[
    bool, option("LOG_JSON", "Write messages and the log as one JSON object a line"), _OF_MESSAGES
]


def budget_nano_of(text: str | None) -> int | None:
    """Return `--budget-usd` in nano-dollars, None where it is not given. Raises UsageError for no amount."""
    try:
        return None if text is None else parse_usd(text)
    except ValueError as error:
        raise UsageError(f"--budget-usd: {error}") from error


def run_settings(*, sandbox: bool, makes_ledger: bool = True) -> Settings:
    """Return settings with the ledger that the command uses.

    Raises UsageError if it is, or would be created, in a data folder that cannot be used.
    """
    settings = settings_from(os.environ)
    if makes_ledger and not settings.ledger_url:
        usable_data_folder(settings)
    return sandbox_ledger(settings) if sandbox else settings


def require_port(option_name: str, port: int, *, least: int = 0) -> None:
    """Raise UsageError for a number that is no port. 0 picks a free one."""
    if not least <= port <= MAX_PORT:
        free = "" if least else " (0 picks a free one)"
        raise UsageError(f"{option_name} is {port}; use {least} to {MAX_PORT}{free}")
