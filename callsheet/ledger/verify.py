"""Every promise of the ledger as a query that finds where it is broken."""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import text

from callsheet.ledger.booking import entry_hash
from callsheet.ledger.schema import one_of
from callsheet.ledger.states import ARROWS, HAS_OPEN_SUBMISSION, HAS_REQUEST, State
from callsheet.ledger.transaction import Transaction, read


def _account_check(column: str, amount: str, table: str, where: str = "1 = 1") -> str:
    """SQL: accounts whose `column` is not what the rows `r` of a table about their submissions add up to."""
    return (
        f'SELECT a.scope, a.key, a."window", {column}, COALESCE(t.amount, 0) '  # noqa: S608 - constants
        f"FROM account a LEFT JOIN (SELECT sa.account_id, SUM({amount}) AS amount FROM submission_account sa "
        f"JOIN {table} r ON r.submission_id = sa.submission_id WHERE {where} GROUP BY sa.account_id) t "
        f"ON t.account_id = a.account_id WHERE {column} <> COALESCE(t.amount, 0) ORDER BY 1, 2, 3"
    )


CHECKS: dict[str, str] = {
    "I1: the account {0} {1} ({2}) holds {3} nano-dollars, its open submissions {4}": _account_check(
        "a.held_nano", "r.hold_nano", "submission", "r.booked_ms IS NULL"
    ),
    "I2: the account {0} {1} ({2}) spent {3} nano-dollars, its booked submissions cost {4}": _account_check(
        "a.spent_nano", "r.cost_nano", "submission", "r.booked_ms IS NOT NULL"
    ),
    "I3: the account {0} {1} ({2}) has taken {3} nano-dollars, its entries add up to {4}": _account_check(
        "a.held_nano + a.spent_nano", "r.amount_nano", "entry"
    ),
    "I3: the account {0} {1} ({2}) spent {3} nano-dollars, its settle entries add up to {4}": _account_check(
        "a.spent_nano", "r.amount_nano", "entry", "r.kind = 'settle'"
    ),
    "I3: job {0} spent {1} nano-dollars, its submissions cost {2}": (
        "SELECT j.job_id, j.spent_nano, COALESCE(SUM(s.cost_nano), 0) FROM job j "
        "LEFT JOIN submission s ON s.job_id = j.job_id GROUP BY j.job_id, j.spent_nano "
        "HAVING j.spent_nano <> COALESCE(SUM(s.cost_nano), 0) ORDER BY 1"
    ),
    "I4: the account {0} {1} ({2}) has taken {3} nano-dollars of {4}, and no overrun explains it": (
        'SELECT scope, key, "window", held_nano + spent_nano, limit_nano FROM account '
        "WHERE limit_nano IS NOT NULL AND held_nano + spent_nano > limit_nano + over_nano ORDER BY 1, 2, 3"
    ),
    "I4: the spending of run {0} ({1}, {2}, {3}) holds {4} and spent {5} in {6} submissions, {7}": (
        "SELECT p.run_id, p.client, p.model, p.day, p.held_nano, p.spent_nano, p.submissions, "
        "CAST(COALESCE(t.held, 0) AS TEXT) || ', ' || CAST(COALESCE(t.spent, 0) AS TEXT) || ' in ' || "
        "CAST(COALESCE(t.bought, 0) AS TEXT) || ' are what its submissions say' "
        "FROM spending p LEFT JOIN (SELECT spending_id, "
        "SUM(CASE WHEN booked_ms IS NULL THEN hold_nano ELSE 0 END) AS held, "
        "SUM(COALESCE(cost_nano, 0)) AS spent, "
        "SUM(CASE WHEN cost_basis <> 'none' THEN 1 ELSE 0 END) AS bought "
        "FROM submission GROUP BY spending_id) t ON t.spending_id = p.spending_id "
        "WHERE p.held_nano <> COALESCE(t.held, 0) OR p.spent_nano <> COALESCE(t.spent, 0) "
        "OR p.submissions <> COALESCE(t.bought, 0) ORDER BY 1, 2, 3, 4"
    ),
    "I5: request {0} belongs to {1} submissions": (
        "SELECT request_id, COUNT(*) FROM submission WHERE request_id IS NOT NULL "
        "GROUP BY request_id HAVING COUNT(*) > 1 ORDER BY 1"
    ),
    "I6: job {0} has {1} open submissions": (
        "SELECT job_id, COUNT(*) FROM submission WHERE closed_ms IS NULL "
        "GROUP BY job_id HAVING COUNT(*) > 1 ORDER BY 1"
    ),
    "I6: job {0} is {1}, and its last submission is not open, or is open when it should not be": (
        "SELECT j.job_id, j.state FROM job j LEFT JOIN submission s "  # noqa: S608 - constants
        "ON s.job_id = j.job_id AND s.number = j.submissions "
        f"WHERE ({one_of('j.state', HAS_OPEN_SUBMISSION)}) "
        "<> (s.submission_id IS NOT NULL AND s.closed_ms IS NULL) ORDER BY 1"
    ),
    "I6: job {0} counts {1} submissions and has {2}": (
        "SELECT j.job_id, j.submissions, COUNT(s.submission_id) FROM job j "
        "LEFT JOIN submission s ON s.job_id = j.job_id GROUP BY j.job_id, j.submissions "
        "HAVING j.submissions <> COUNT(s.submission_id) ORDER BY 1"
    ),
    "I7: job {0} is {1} and has no file": (
        "SELECT j.job_id, j.state FROM job j LEFT JOIN output o ON o.output_id = j.output_id "
        "WHERE j.state IN ('succeeded', 'already_made') AND (o.sha256 IS NULL OR o.sha256 = '') ORDER BY 1"
    ),
    "I8: job {0} is {1} and has no request id": (
        "SELECT j.job_id, j.state FROM job j LEFT JOIN submission s "  # noqa: S608 - constants
        "ON s.job_id = j.job_id AND s.number = j.submissions "
        f"WHERE {one_of('j.state', HAS_REQUEST)} AND s.request_id IS NULL ORDER BY 1"
    ),
    "I10: job {0} is {1}, its last event leads to {2}": (
        "SELECT j.job_id, j.state, COALESCE(e.to_state, 'pending') FROM job j LEFT JOIN event e "
        "ON e.event_id = (SELECT MAX(x.event_id) FROM event x WHERE x.job_id = j.job_id) "
        "WHERE j.state <> COALESCE(e.to_state, 'pending') ORDER BY 1"
    ),
}
"""Sentence -> query; the query's columns fill the sentence's places. An empty result is a kept promise.

I9, slots within the cap, is a promise about every moment, and the cap is the caller's: `admit` keeps it.
"""


@read()
def verify(tx: Transaction) -> list[str]:
    """Return every broken promise as a sentence."""
    found = [sentence.format(*row) for sentence, query in CHECKS.items() for row in tx.execute(text(query))]
    return [*found, *_broken_arrows(tx), *_broken_chain(tx), *_broken_file(tx)]


def _broken_arrows(tx: Transaction) -> Iterator[str]:
    """I10: every event is an arrow of the table, and begins where the job's last one ended."""
    before: dict[int, str] = {}
    rows = tx.stream(text("SELECT job_id, event, from_state, to_state FROM event ORDER BY event_id"))
    arrows = {(s.value, e.value, t.value) for s, after in ARROWS.items() for e, t in after.items()}
    for job_id, event, from_state, to_state in rows:
        if (from_state, event, to_state) not in arrows:
            yield f"I10: job {job_id} went {from_state} -{event}-> {to_state}, which is no arrow"
        if before.get(job_id, State.PENDING.value) != from_state:
            yield f"I10: job {job_id} was {before.get(job_id)} when {event} found it {from_state}"
        before[job_id] = to_state


def _broken_chain(tx: Transaction) -> Iterator[str]:
    """Report where the entries are not the ones that were written: changed, removed or added."""
    count, head = tx.execute(text("SELECT entries, head FROM ledger_head")).one()
    previous, seen = "", 0
    query = "SELECT entry_id, at_ms, submission_id, kind, amount_nano, hash FROM entry ORDER BY entry_id"
    rows = tx.stream(text(query))
    for row in rows:
        seen += 1
        content = dict(row._mapping)
        written = content.pop("hash")
        if row.entry_id != seen or entry_hash(previous, **content) != written:
            yield f"the book was tampered with at entry {seen}: it is not what was written there"
            return
        previous = written
    if (seen, previous) != (count, head):
        yield f"the book was tampered with: it has {seen} entries, {count} were written"


def _broken_file(tx: Transaction) -> Iterator[str]:
    if tx.connection.dialect.name != "sqlite":
        return
    for row in tx.connection.exec_driver_sql("PRAGMA integrity_check"):
        if row[0] != "ok":
            yield f"the database file is damaged: {row[0]}"
    for row in tx.connection.exec_driver_sql("PRAGMA foreign_key_check"):
        yield f"the database file is damaged: row {row[1]} of {row[0]} points to a missing row of {row[2]}"
