"""The book: signed entries in a hash chain, and the accounts they add up to.

Every change of money is here: entries and balances change in the same transaction, or not at all.
"""

from __future__ import annotations

import hashlib
from typing import Any

from sqlalchemy import Connection, case, select

from callsheet.ledger import schema
from callsheet.ledger.records import EntryKind


def entry_hash(
    previous: str, *, entry_id: int, at_ms: int, submission_id: int, kind: str, amount_nano: int
) -> str:
    """Return the hash of an entry: SHA-256 over the previous entry's hash and this one's content.

    A changed, removed or inserted line breaks every hash after it.
    """
    content = f"{previous}\n{entry_id}\n{at_ms}\n{submission_id}\n{kind}\n{amount_nano}"
    return hashlib.sha256(content.encode("ascii")).hexdigest()


def write_entry(
    connection: Connection, *, at_ms: int, submission_id: int, kind: EntryKind, amount_nano: int
) -> None:
    """Append one entry. The caller holds the gate, so numbers have no gaps and the chain no forks."""
    gate = schema.gate
    entries, head = connection.execute(select(gate.c.entries, gate.c.head)).one()
    content = {
        "entry_id": entries + 1,
        "at_ms": at_ms,
        "submission_id": submission_id,
        "kind": kind,
        "amount_nano": amount_nano,
    }
    new_head = entry_hash(head, **content)
    connection.execute(schema.entry.insert(), {**content, "hash": new_head})
    connection.execute(gate.update().values(entries=entries + 1, head=new_head))


def book_accounts(
    connection: Connection, submission_id: int, *, hold_nano: int, cost_nano: int, overrun: bool
) -> None:
    """Take a hold away from every account of a submission and add its cost.

    What is spent is booked in full, also past a limit: `over_nano` then grows to explain it. An overrun, a
    cost above its hold, freezes the accounts until a person has looked.
    """
    account, counted = schema.account, schema.submission_account
    mine = select(counted.c.account_id).where(counted.c.submission_id == submission_id)
    beyond_nano = account.c.held_nano + account.c.spent_nano - hold_nano + cost_nano - account.c.limit_nano
    changes: dict[str, Any] = {
        "held_nano": account.c.held_nano - hold_nano,
        "spent_nano": account.c.spent_nano + cost_nano,
        "over_nano": case((beyond_nano > account.c.over_nano, beyond_nano), else_=account.c.over_nano),
    }
    if overrun:
        changes["frozen"] = 1
    connection.execute(account.update().where(account.c.account_id.in_(mine)).values(changes))
