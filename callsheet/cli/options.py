"""Options that several commands share, each with its environment variable and its help."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Group, Parameter

_MESSAGES = Group("Messages (every command)", sort_key=99)


def _flag(name: str | list[str], env_var: str, text: str) -> Parameter:
    return Parameter(name=name, negative="", env_var=env_var, help=text)


def _message_flag(name: str | list[str], env_var: str, text: str) -> Parameter:
    return Parameter(name=name, negative="", env_var=env_var, help=text, group=_MESSAGES)


Source = Annotated[
    str,
    Parameter(
        help="A manifest (CSV, XLSX, Parquet, JSONL; a path, https://, s3:// or gs://), a campaign file "
        "(.toml) or a plan file (.json)"
    ),
]
Budget = Annotated[
    str | None,
    Parameter(
        name=["--budget-usd", "--max-cost"], env_var="CALLSHEET_BUDGET_USD", help="Spend at most this much"
    ),
]
Concurrency = Annotated[
    int | None,
    Parameter(
        name=["--concurrency", "-j"],
        env_var="CALLSHEET_CONCURRENCY",
        help="Renders at a time, over all runs of the ledger (default 10)",
    ),
]
Out = Annotated[
    str | None,
    Parameter(name="--out", env_var="CALLSHEET_OUT", help="The folder for run folders (default: runs)"),
]
Sandbox = Annotated[bool, _flag("--sandbox", "CALLSHEET_SANDBOX", "Use the local sandbox: no key, no money")]
Speed = Annotated[
    float,
    Parameter(
        name="--speed",
        env_var="CALLSHEET_SANDBOX_SPEED",
        help="How many times faster than fal the sandbox renders",
    ),
]
Yes = Annotated[bool, _flag(["--yes", "-y"], "CALLSHEET_YES", "Do not ask for confirmation")]
Json = Annotated[bool, _flag("--json", "CALLSHEET_JSON", "Print one JSON document")]
AcceptPrices = Annotated[
    bool,
    _flag("--accept-prices", "CALLSHEET_ACCEPT_PRICES", "Continue if fal's prices differ from the plan"),
]
Again = Annotated[bool, _flag("--again", "CALLSHEET_AGAIN", "Buy again videos you already have")]
Canary = Annotated[
    int | None,
    Parameter(
        name="--canary",
        env_var="CALLSHEET_CANARY",
        help="First render one job of each price group, of at most this many groups; render the rest only if "
        "their bills and files are as planned",
    ),
]
HeaderRow = Annotated[
    int | None,
    Parameter(
        name="--header-row",
        env_var="CALLSHEET_HEADER_ROW",
        help="Row of the header in a CSV or XLSX manifest, if it is not found",
    ),
]
SkipHidden = Annotated[
    bool,
    Parameter(
        name="--skip-hidden",
        negative="",
        env_var="CALLSHEET_SKIP_HIDDEN",
        help="Leave out hidden and filtered rows of a workbook",
    ),
]
RunId = Annotated[str | None, Parameter(help="A run's id (default: the latest run)")]
UnfinishedRunId = Annotated[str | None, Parameter(help="A run's id (default: the latest unfinished run)")]
Fit = Annotated[
    bool, _flag("--fit", "CALLSHEET_FIT", "Take the jobs that fit the budget, highest priority first")
]
Verbose = Annotated[
    bool, _message_flag(["--verbose", "-v"], "CALLSHEET_VERBOSE", "Also log every step on standard error")
]
Quiet = Annotated[bool, _message_flag(["--quiet", "-q"], "CALLSHEET_QUIET", "Print warnings and errors only")]
LogJson = Annotated[
    bool,
    _message_flag("--log-json", "CALLSHEET_LOG_JSON", "Write messages and the log as one JSON object a line"),
]
