"""Options that several commands share, each with its environment variable and its help."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

Source = Annotated[
    str,
    Parameter(
        help="A manifest (CSV, XLSX, Parquet, JSONL; a path, https://, s3://, gs://), a campaign or plan file"
    ),
]
Budget = Annotated[
    str | None,
    Parameter(name=["--budget-usd", "--max-cost"], env_var="CALLSHEET_BUDGET_USD", help="Most it may cost"),
]
Concurrency = Annotated[
    int | None,
    Parameter(name=["--concurrency", "-j"], env_var="CALLSHEET_CONCURRENCY", help="Renders at a time (10)"),
]
Out = Annotated[
    str | None, Parameter(name="--out", env_var="CALLSHEET_OUT", help="Where run folders go (runs)")
]
Sandbox = Annotated[
    bool, Parameter(name="--sandbox", negative="", env_var="CALLSHEET_SANDBOX", help="Local sandbox, no key")
]
Speed = Annotated[
    float,
    Parameter(name="--speed", env_var="CALLSHEET_SANDBOX_SPEED", help="How much faster the sandbox renders"),
]
Yes = Annotated[bool, Parameter(name=["--yes", "-y"], negative="", env_var="CALLSHEET_YES", help="Don't ask")]
Json = Annotated[
    bool, Parameter(name="--json", negative="", env_var="CALLSHEET_JSON", help="One JSON document on stdout")
]
AcceptPrices = Annotated[
    bool,
    Parameter(
        name="--accept-prices",
        negative="",
        env_var="CALLSHEET_ACCEPT_PRICES",
        help="Go on at fal's prices where they are not those of the plan",
    ),
]
Again = Annotated[
    bool,
    Parameter(
        name="--again",
        negative="",
        env_var="CALLSHEET_AGAIN",
        help="Buy also what was made and paid for already",
    ),
]
Canary = Annotated[
    int | None,
    Parameter(
        name="--canary",
        env_var="CALLSHEET_CANARY",
        help="First one job of each price cell, of so many cells at most; the rest when bill and file agree",
    ),
]
RunId = Annotated[str | None, Parameter(help="A run's id; without it the latest")]
UnfinishedRunId = Annotated[str | None, Parameter(help="A run's id; without it the latest unfinished one")]
Fit = Annotated[
    bool,
    Parameter(
        name="--fit", negative="", env_var="CALLSHEET_FIT", help="Take what fits, highest priority first"
    ),
]
