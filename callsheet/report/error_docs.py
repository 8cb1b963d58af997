"""docs/errors.md, made from the table: `python -m callsheet.report.error_docs > docs/errors.md`."""

from __future__ import annotations

import sys

from callsheet.report.error_table import BOUGHT_OFTEN_ENOUGH, ERROR_CLASSES, ErrorClass

_HEAD = f"""\
# Why a job failed, and what to do

Generated from `callsheet/report/error_table.py`; a test checks that it is up to date. `error_type` and
`charged` are columns of the results; the `error` column ends with the advice of this table.

- `callsheet retry RUN` retries the errors with "yes" here, and skipped and cancelled jobs; `--all` retries
  every failure. Each try is a new purchase under the caps.
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
