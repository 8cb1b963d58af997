"""docs/errors.md, made from the table: `python -m callsheet.report.error_docs > docs/errors.md`."""

from __future__ import annotations

import sys

from callsheet.report.error_table import BOUGHT_OFTEN_ENOUGH, ERROR_CLASSES, ErrorClass

_HEAD = f"""\
# Why a job failed, and what to do

Made from `callsheet/report/error_table.py`; a test holds that it is up to date. `error_type` and `charged`
are columns of the results; the `error` column ends with the advice of this table.

- `callsheet retry RUN` tries what has "yes" here, and what was left out or cancelled; `--all` tries
  everything that failed. Each try is a purchase of its own under the caps.
- What fal has accepted {BOUGHT_OFTEN_ENOUGH} times and never delivered is tried again with `--all` only.
  Tries that never arrived at fal do not count.
- *charged* is the rule where fal's reply says nothing. Billable units in the reply, or a billing event, win.
- An `error_type` that is not listed is tried again only where fal charged nothing.
- `unknown` jobs have not failed: nobody knows yet. `callsheet reconcile` finds out; `retry` never touches
  them.

| error_type | HTTP | try again | charged | what to do | source |
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
