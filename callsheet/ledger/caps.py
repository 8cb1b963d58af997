"""Caps and the accounts that obey them. A cap outlives every run."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import Connection, Row, bindparam, case, select, tuple_

from callsheet.errors import UsageError
from callsheet.ledger import schema
from callsheet.ledger.records import Account, Cap, NewCap
from callsheet.ledger.scopes import WINDOW_KINDS, AccountRef, Scope, window_kind


def set_cap(connection: Connection, new: NewCap) -> None:
    """Set or lift a cap; every account that inherits it obeys at once.

    A limit below what is taken already lets nothing more in. A frozen account stays frozen (`unfreeze`): runs
    set their campaign's caps too, and must not thaw what a person has not looked at. Raises UsageError for a
    scope that keeps no such windows, for a name that does not belong there, and for a negative limit.
    """
    kinds = WINDOW_KINDS.get(new.scope)
    if kinds is None:
        raise UsageError(f"no cap on {new.scope!r}; there are caps on {', '.join(WINDOW_KINDS)}")
    if new.window not in kinds:
        raise UsageError(f"a cap on {new.scope} counts per {' or '.join(kinds)}, not per {new.window}")
    if (new.key == "") != (new.scope == "ledger"):
        raise UsageError(f"a cap on {new.scope} takes {'no' if new.scope == 'ledger' else 'a'} name")
    if new.limit_nano is not None and new.limit_nano < 0:
        raise UsageError("a cap is at least 0")
    cap = schema.cap
    connection.execute(
        cap.delete().where(cap.c.scope == new.scope, cap.c.key == new.key, cap.c.window == new.window)
    )
    if new.limit_nano is not None:
        row = {"scope": new.scope, "key": new.key, "window": new.window, "limit_nano": new.limit_nano}
        connection.execute(cap.insert(), row)
    _hand_down(connection, new)


def _hand_down(connection: Connection, new: NewCap) -> None:
    account = schema.account
    taken = account.c.held_nano + account.c.spent_nano
    limit = new.limit_nano
    over = 0 if limit is None else case((taken > limit, taken - limit), else_=0)
    found = connection.execute(
        select(account.c.account_id, account.c.window).where(
            account.c.scope == new.scope, account.c.key == new.key
        )
    ).all()
    heirs = [account_id for account_id, window in found if window_kind(window) == new.window]
    connection.execute(
        account.update().where(account.c.account_id.in_(heirs)).values(limit_nano=limit, over_nano=over)
    )


def unfreeze(connection: Connection) -> int:
    """Let frozen accounts admit again, once a person has looked; return how many there were."""
    account = schema.account
    return connection.execute(account.update().where(account.c.frozen == 1).values(frozen=0)).rowcount


def caps(connection: Connection) -> list[Cap]:
    """Return every cap in force, in order of scope, key and window."""
    table = schema.cap
    rows = connection.execute(select(table).order_by(table.c.scope, table.c.key, table.c.window))
    return [Cap(**row._mapping) for row in rows]  # noqa: SLF001 - SQLAlchemy's documented name


_account = schema.account
_by_name = select(_account.c.account_id, _account.c.scope, _account.c.key, _account.c.window).where(
    tuple_(_account.c.scope, _account.c.key, _account.c.window).in_(bindparam("names", expanding=True))
)


def account_ids(connection: Connection, refs: Sequence[AccountRef]) -> list[int]:
    """Return the accounts' ids in ascending order, opening those that do not exist yet under their cap."""
    known = _known_ids(connection, refs)
    missing = [ref for ref in refs if ref not in known]
    if missing:
        limits = {(cap.scope, cap.key, cap.window): cap.limit_nano for cap in caps(connection)}
        rows = [
            {**ref._asdict(), "limit_nano": limits.get((ref.scope, ref.key, window_kind(ref.window)))}
            for ref in missing
        ]
        connection.execute(schema.account.insert(), rows)
        known = _known_ids(connection, refs)
    return sorted(known.values())


def _known_ids(connection: Connection, refs: Sequence[AccountRef]) -> dict[AccountRef, int]:
    rows = connection.execute(_by_name, {"names": [tuple(ref) for ref in refs]})
    return {AccountRef(scope, key, window): account_id for account_id, scope, key, window in rows}


def balances(connection: Connection, *, scope: Scope | None = None, key: str | None = None) -> list[Account]:
    """Return the accounts of a scope and key, or all of them, in order of scope, key and window."""
    account = schema.account
    query = select(account).order_by(account.c.scope, account.c.key, account.c.window)
    if scope is not None:
        query = query.where(account.c.scope == scope)
    if key is not None:
        query = query.where(account.c.key == key)
    return [as_account(row) for row in connection.execute(query)]


def headroom(connection: Connection, refs: Iterable[AccountRef]) -> dict[AccountRef, Account]:
    """Return each named account as it stands; one that nothing counts in yet is empty under its cap."""
    wanted = list(dict.fromkeys(refs))
    account = schema.account
    name = tuple_(account.c.scope, account.c.key, account.c.window)
    found: dict[AccountRef, Account] = {}
    for start in range(0, len(wanted), 200):
        piece = [tuple(ref) for ref in wanted[start : start + 200]]
        rows = connection.execute(select(account).where(name.in_(piece)))
        found.update((row.ref, row) for row in map(as_account, rows))
    limits = {(cap.scope, cap.key, cap.window): cap.limit_nano for cap in caps(connection)}
    return {
        ref: found.get(ref)
        or Account(ref=ref, limit_nano=limits.get((ref.scope, ref.key, window_kind(ref.window))))
        for ref in wanted
    }


def as_account(row: Row[Any]) -> Account:
    """Read one row of `account`."""
    return Account(
        ref=AccountRef(row.scope, row.key, row.window),
        limit_nano=row.limit_nano,
        held_nano=row.held_nano,
        spent_nano=row.spent_nano,
        over_nano=row.over_nano,
        frozen=bool(row.frozen),
    )
