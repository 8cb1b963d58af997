"""Every way in which a job can fail (error_table.toml): is it worth retrying, is it charged, who says so.

`callsheet retry`, the `error` column of the results, the report page and docs/errors.md read it. `charged` is
the rule where fal's reply does not say; what the reply or the bill says is in the row itself and wins.
"""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final

from callsheet.errors import Charged

DOCS = "fal.ai/docs"
BOUGHT_OFTEN_ENOUGH: Final = 3
"""Purchases of one job after which `retry` leaves it alone: what failed three times fails a fourth time."""


CHARGED_TEXT: Final = {"no": "not charged", "yes": "charged", "unknown": "may be charged"}


@dataclass(frozen=True, slots=True)
class ErrorClass:
    """One kind of failure. `status` is the HTTP status fal uses for it, 0 for failures of our own finding.

    `retry` says whether the same job may well succeed when it is bought again, `advice` what to do.
    """

    error_type: str
    status: int
    retry: bool
    charged: Charged
    advice: str
    source: str


def _error_classes() -> Iterator[ErrorClass]:
    """Read error_table.toml."""
    groups = tomllib.loads(Path(__file__).with_name("error_table.toml").read_text("utf-8"))["errors"]
    rules = {"no": "pricing: never charged for server errors", "unknown": "FAQ: a 422 may still be charged"}
    for group in groups:
        status, charged = group.get("status", 0), group["charged"]
        source = f"{DOCS}, {group['source']}; {DOCS}, {rules[charged]}" if status else "Callsheet"
        for name in group["types"]:
            yield ErrorClass(name, status, group["retry"], charged, group["advice"], source)


ERROR_CLASSES: Final = tuple(_error_classes())
_BY_TYPE: Final[Mapping[str, ErrorClass]] = MappingProxyType({row.error_type: row for row in ERROR_CLASSES})


def error_class(error_type: str, charged: str) -> ErrorClass:
    """Return the class of a failure.

    A word that is not in the table is worth trying again only where fal charged nothing: such a try costs
    nothing when it fails in the same way.
    """
    known = _BY_TYPE.get(error_type)
    if known is not None:
        return known
    free = charged == "no"
    advice = "a try that fails like this is free" if free else "unknown to us: look at it first"
    return ErrorClass(error_type, 0, free, "no" if free else "unknown", advice, "Callsheet")


def worth_trying(error_type: str, charged: str, purchases: int) -> bool:
    """Say whether a failed job is worth another purchase.

    `purchases` counts what fal has accepted for it so far; tries that never arrived do not count.
    """
    return purchases < BOUGHT_OFTEN_ENOUGH and error_class(error_type, charged).retry


def advice_text(error_type: str, charged: str, purchases: int) -> str:
    """Say in one sentence whether to try again, what it cost, and whose rule that is."""
    found = error_class(error_type, charged)
    again = "yes" if worth_trying(error_type, charged, purchases) else "no"
    often = f"bought {purchases} times already; " if found.retry and again == "no" else ""
    paid = CHARGED_TEXT.get(charged, CHARGED_TEXT["unknown"])
    return f"Try again: {again} ({often}{found.advice}). {paid.capitalize()} ({found.source})."


_HEAD = f"""\
# Why a job failed, and what to do

Generated from `callsheet/report/error_table.toml`; a test checks that it is up to date. `error_type` and
`charged` are columns of the results; the `error` column ends with the advice of this table.

- `callsheet retry RUN` retries the errors with "yes" here, and skipped and cancelled jobs; `--all` retries
  every failure. Each try is a new purchase under the caps.
- Where a failure was paid for and fal may still have its video, `retry` asks fal first and downloads what is
  there, for free. What fal says that it no longer has is bought with `--all`, and by the next run of the
  campaign. Only `--all --again` buys such a job without asking.
- A job that fal has accepted {BOUGHT_OFTEN_ENOUGH} times and never delivered is retried with `--all` only.
  Tries that never arrived at fal do not count.
- *charged* applies if fal's reply says nothing. Billable units in the reply, or a billing event, win.
- An `error_type` that is not listed is retried only if fal charged nothing.
- `unknown` jobs have not failed: their outcome is not known yet. `callsheet reconcile` settles them;
  `retry` leaves them alone.

| error_type | HTTP | retry | charged | what to do | source |
| --- | --- | --- | --- | --- | --- |
"""


def errors_page() -> str:
    """Return docs/errors.md."""
    return _HEAD + "".join(map(_line, ERROR_CLASSES))


def _line(row: ErrorClass) -> str:
    again = "yes" if row.retry else "no"
    cells = (f"`{row.error_type}`", str(row.status or ""), again, row.charged, row.advice, row.source)
    return f"| {' | '.join(cells)} |\n"


if __name__ == "__main__":
    sys.stdout.write(errors_page())
