"""The book: signed entries in a hash chain, and the accounts they add up to.

Every change of money is here: entries and balances change in the same transaction, or not at all.
"""

from __future__ import annotations

import hashlib

from sqlalchemy import bindparam, case, select, text

from callsheet.ledger import schema
from callsheet.ledger.accounts import EntryKind
from callsheet.ledger.transaction import Transaction

_ledger_head, _account, _counted = schema.ledger_head, schema.account, schema.submission_account
_head = select(_ledger_head.c.entries, _ledger_head.c.head)
_new_head = _ledger_head.update().values(entries=bindparam("to_entries"), head=bindparam("to_head"))
_write_entry = schema.entry.insert()
_held_then_nano = _account.c.held_nano - bindparam("hold_nano")
_spent_then_nano = _account.c.spent_nano + bindparam("cost_nano")
_beyond_nano = _held_then_nano + _spent_then_nano - _account.c.limit_nano
_mine = select(_counted.c.account_id).where(_counted.c.submission_id == bindparam("submission"))
_book = (
    _account.update()
    .where(_account.c.account_id.in_(_mine))
    .values(
        held_nano=_held_then_nano,
        spent_nano=_spent_then_nano,
        over_nano=case((_beyond_nano > _account.c.over_nano, _beyond_nano), else_=_account.c.over_nano),
    )
)
_book_and_freeze = _book.values(frozen=1)
_spending = schema.spending
_hold_spending = text(
    "INSERT INTO spending (run_id, client, model, day, held_nano) "
    "VALUES (:run_id, :client, :model, :day, :hold_nano) "
    "ON CONFLICT (run_id, client, model, day) "
    "DO UPDATE SET held_nano = spending.held_nano + excluded.held_nano RETURNING spending_id"
)
_its_spending = (
    select(schema.submission.c.spending_id)
    .where(schema.submission.c.submission_id == bindparam("submission"))
    .scalar_subquery()
)
_book_spending = (
    _spending.update()
    .where(_spending.c.spending_id == _its_spending)
    .values(
        held_nano=_spending.c.held_nano - bindparam("hold_nano"),
        spent_nano=_spending.c.spent_nano + bindparam("cost_nano"),
        submissions=_spending.c.submissions + bindparam("bought"),
    )
)


def entry_hash(
    previous: str, *, entry_id: int, at_ms: int, submission_id: int, kind: str, amount_nano: int
) -> str:
    """Return the hash of an entry: SHA-256 over the previous entry's hash and this one's content.

    A changed, removed or inserted line breaks every hash after it.
    """
    content = f"{previous}\n{entry_id}\n{at_ms}\n{submission_id}\n{kind}\n{amount_nano}"
    return hashlib.sha256(content.encode("ascii")).hexdigest()


def write_entry(tx: Transaction, submission_id: int, kind: EntryKind, amount_nano: int) -> None:
    """Append one entry. No other transaction writes meanwhile: numbers have no gaps, the chain no forks."""
    entries, head = tx.execute(_head).one()
    content = {
        "entry_id": entries + 1,
        "at_ms": tx.at_ms,
        "submission_id": submission_id,
        "kind": kind,
        "amount_nano": amount_nano,
    }
    new_head = entry_hash(head, **content)
    tx.execute(_write_entry, {**content, "hash": new_head})
    tx.execute(_new_head, {"to_entries": entries + 1, "to_head": new_head})


def hold_spending(tx: Transaction, *, run_id: str, client: str, model: str, day: str, hold_nano: int) -> int:
    """Add a hold to the day's spending of a run, a client and a model; return its id."""
    row = {"run_id": run_id, "client": client, "model": model, "day": day, "hold_nano": hold_nano}
    return int(tx.execute(_hold_spending, row).scalar_one())


def book_accounts(
    tx: Transaction, submission_id: int, hold_nano: int, cost_nano: int, *, overrun: bool, bought: bool
) -> None:
    """Take a hold away from every account of a submission, and from its day's spending, and add its cost.

    `bought` says that the submission counts from now on as one that was bought.
    What is spent is booked in full, also past a limit: `over_nano` then grows to explain it. An overrun, a
    cost above its hold, freezes the accounts until a person has looked.
    """
    values = {"submission": submission_id, "hold_nano": hold_nano, "cost_nano": cost_nano}
    tx.execute(_book_and_freeze if overrun else _book, values)
    tx.execute(_book_spending, {**values, "bought": int(bought)})
