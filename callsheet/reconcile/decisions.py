"""What a person decides about a submission that nobody knows about, with the reason written down."""

from __future__ import annotations

import getpass

from callsheet.errors import UsageError
from callsheet.ledger import JobRow, Ledger, State, queries, settlement
from callsheet.reconcile.desk import claimed
from callsheet.reconcile.findings import Finding, finding

MAX_REASON = 500


def assume_spent(ledger: Ledger, name: str, *, reason: str) -> Finding:
    """Count the hold of an unknown submission as spent; the job fails, and `retry` may buy it again."""
    row = unknown_job(ledger, name)
    why = signed("assumed spent", reason)
    with claimed(ledger, [row.run_id]) as mine:
        require_owned(row, mine)
        ledger.do(settlement.write_off, row.job_id, why=why, attempt=row.attempt)
    return finding("lost", row, why)


def resubmit(ledger: Ledger, name: str, *, reason: str) -> Finding:
    """Take it on oneself that an unknown submission never arrived: its money is free, the job pending."""
    row = unknown_job(ledger, name)
    why = signed("resubmitted", reason)
    with claimed(ledger, [row.run_id]) as mine:
        require_owned(row, mine)
        ledger.do(settlement.declare_absent, row.job_id, why=why, attempt=row.attempt)
    return finding("absent", row, why)


def require_owned(row: JobRow, mine: frozenset[str]) -> None:
    """Raise UsageError where another process works on the job's run."""
    if row.run_id not in mine:
        raise UsageError(f"run {row.run_id} is being worked on by another process; stop it first")


def unknown_job(ledger: Ledger, name: str) -> JobRow:
    """Return the unknown job of that number or custom_id. Raises UsageError where it is not exactly one."""
    rows = ledger.do(queries.open_jobs, states={State.UNKNOWN})
    named = [row for row in rows if str(row.job_id) == name] or [row for row in rows if row.custom_id == name]
    if len(named) == 1:
        return named[0]
    if named:
        which = ", ".join(f"{row.job_id} (run {row.run_id})" for row in named)
        raise UsageError(f"{len(named)} unknown submissions are called {name!r}; say one by number: {which}")
    which = ", ".join(f"{row.job_id} ({row.custom_id})" for row in rows) or "none"
    raise UsageError(f"there is no unknown submission {name!r}; unknown are: {which}")


def signed(decision: str, reason: str) -> str:
    """Return a decision with who made it and why. Raises UsageError for a reason that says nothing."""
    words = " ".join(reason.split())
    if not words:
        raise UsageError("a decision about money needs its reason: --reason 'seen in fal's dashboard'")
    if len(words) > MAX_REASON or not words.isprintable():
        raise UsageError(f"the reason must be printable and at most {MAX_REASON} characters long")
    return f"{decision} by {_person()}: {words}"


def _person() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container without a user name
        return "a person"
