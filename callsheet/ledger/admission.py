"""Admission: hold the maximum, take a slot, write the intent; and the caps that admission obeys.

All of it is one transaction, or nothing. A cap outlives every run.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import Row, and_, bindparam, case, func, or_, select, text, tuple_

from callsheet.errors import AccountFrozen, CapReached, NoSlot, RunStopping, TurnedUp, UsageError
from callsheet.ledger import schema
from callsheet.ledger.accounts import (
    WINDOW_KINDS,
    Account,
    AccountRef,
    account_refs,
    window_at,
    window_kind,
)
from callsheet.ledger.booking import hold_spending, write_entry
from callsheet.ledger.records import Submission
from callsheet.ledger.states import Event, next_state
from callsheet.ledger.steps import current, step
from callsheet.ledger.transaction import Transaction, purchase, read, write
from callsheet.ledger.turns import take_turn
from pricing.budgets import Cap, Scope, Window
from pricing.money import usd_text

logger = logging.getLogger(__name__)

RELEASED = "freeze.released "
"""What the keys of releases begin with; the number of the last entry follows, in 20 digits."""


@purchase(short=True, urgent=True)
def admit(tx: Transaction, job_id: int, *, slots: int, turned_up: bool = False) -> Submission:
    """Hold the job's maximum in every account it counts in, take one of `slots`, write the intent.

    Raises NoSlot (also where another campaign goes first), CapReached, RunStopping, and TurnedUp as
    `refuse_turned_up` does; with `turned_up` such a job is admitted, only to be ended.
    """
    now = current(tx, job_id)
    next_state(now.state, Event.ADMIT)
    wanted = tx.execute(_wanted, {"job": job_id}).one()
    if wanted.opened_ms is None:
        raise RunStopping(f"run {now.run_id} was not opened completely; nothing of it is admitted")
    if wanted.stopping_ms is not None or wanted.closed_ms is not None:
        raise RunStopping(f"run {now.run_id} is stopping; nothing more is admitted until it is resumed")
    if wanted.turned_up is not None and not turned_up:
        raise TurnedUp(job_id, wanted.turned_up)
    taken = slots_taken(tx)
    if taken >= slots:
        raise NoSlot(slots)
    take_turn(tx, wanted, slots=slots, taken=taken)
    refs = account_refs(
        campaign=wanted.campaign,
        client=wanted.client,
        model=wanted.model,
        run_id=now.run_id,
        at_ms=tx.at_ms,
        is_retake=wanted.retake > 0,
    )
    accounts = account_ids(tx, refs)
    _hold(tx, accounts, wanted.maximum_nano)
    number, hold_nano = now.number + 1, wanted.maximum_nano
    spending_id = hold_spending(
        tx,
        run_id=now.run_id,
        client=wanted.client,
        model=wanted.model,
        day=window_at("day", tx.at_ms),
        hold_nano=hold_nano,
    )
    intent = {
        "job_id": job_id,
        "number": number,
        "endpoint": wanted.endpoint,
        "hold_nano": hold_nano,
        "admitted_ms": tx.at_ms,
    }
    submission_id = tx.insert(schema.submission, {**intent, "spending_id": spending_id})
    tx.execute(
        schema.submission_account.insert(),
        [{"submission_id": submission_id, "account_id": account_id} for account_id in accounts],
    )
    write_entry(tx, submission_id, "hold", hold_nano)
    step(tx, now, Event.ADMIT, job={"submissions": number, **NO_ERROR})
    usd = usd_text(hold_nano)
    told = {"run": now.run_id, "job": now.custom_id, "usd": usd}
    text = "run %s job %d attempt %d: admitted, %s USD held"
    logger.info(text, now.run_id, job_id, number, usd, extra=told)
    return Submission(submission_id=submission_id, **intent)


@read()
def refuse_turned_up(tx: Transaction, job_id: int) -> None:
    """Raise TurnedUp where fal has named a request of the job that nothing is booked for.

    Its attempt was declared absent and its money freed. The submission that ends such a job is booked in its
    place, so a person's `retry` afterwards buys the job again.
    """
    request_id = tx.execute(_turned_up, {"job": job_id}).scalar()
    if request_id is not None:
        raise TurnedUp(job_id, request_id)


_job, _run, _account = schema.job, schema.run, schema.account
_orphan, _submission = schema.orphan, schema.submission
_is_accounted_for = or_(
    _submission.c.request_id == _orphan.c.request_id,
    and_(
        _submission.c.job_id == _orphan.c.job_id,
        _submission.c.number >= _orphan.c.number,
        _submission.c.cost_basis != "none",
    ),
)
_turned_up = (
    select(_orphan.c.request_id)
    .where(
        _orphan.c.job_id == bindparam("job"),
        ~select(_submission.c.submission_id).where(_is_accounted_for).exists(),
    )
    .order_by(_orphan.c.at_ms.desc())
    .limit(1)
)
_slots = select(func.count()).select_from(_job).where(text(schema.IN_SLOT))
_wanted = (
    select(
        _job.c.client,
        _job.c.model,
        _job.c.endpoint,
        _job.c.maximum_nano,
        _job.c.retake,
        _run.c.run_id,
        _run.c.campaign,
        _run.c.priority,
        _run.c.share,
        _run.c.opened_ms,
        _run.c.stopping_ms,
        _run.c.closed_ms,
        _turned_up.scalar_subquery().label("turned_up"),
    )
    .join_from(_job, _run, _job.c.run_id == _run.c.run_id)
    .where(_job.c.job_id == bindparam("job"))
)
_held_then_nano = _account.c.held_nano + bindparam("amount_nano")
_hold_if_it_fits = (
    _account.update()
    .where(
        _account.c.account_id.in_(bindparam("accounts", expanding=True)),
        _account.c.frozen == 0,
        or_(
            _account.c.limit_nano.is_(None),
            _held_then_nano + _account.c.spent_nano <= _account.c.limit_nano,
        ),
    )
    .values(held_nano=_held_then_nano)
    .returning(_account.c.account_id)
)

NO_ERROR = {"error_type": "", "error": "", "charged": ""}
"""What a new attempt writes over the last one's failure."""


def slots_taken(tx: Transaction) -> int:
    """Count the places at fal that are taken, over the whole ledger."""
    return int(tx.execute(_slots).scalar_one())


def _hold(tx: Transaction, accounts: list[int], amount_nano: int) -> None:
    """Add a hold to every account, if it fits into every one of them.

    The condition stands in the UPDATE itself, so it cannot be true when read and false when written.
    """
    held = tx.execute(_hold_if_it_fits, {"accounts": accounts, "amount_nano": amount_nano}).scalars()
    if refused := sorted(set(accounts) - set(held)):
        raise _refusal(tx, refused[0], amount_nano)


def _refusal(tx: Transaction, account_id: int, amount_nano: int) -> CapReached:
    """Name the account that refused. Those that took the hold give it back with the transaction."""
    table = schema.account
    account = as_account(tx.execute(select(table).where(table.c.account_id == account_id)).one())
    if account.frozen:
        kind: type[CapReached] = AccountFrozen
        message = f"{account.ref} is frozen: a cost came out above what was held for it"
    else:
        kind = CapReached
        message = (
            f"the cap on {account.ref} is {usd_text(account.limit_nano or 0)} USD; "
            f"{usd_text(account.taken_nano)} USD are held or spent, "
            f"and the next job needs {usd_text(amount_nano)} USD"
        )
    return kind(
        message,
        scope=str(account.ref),
        limit_nano=account.limit_nano or 0,
        taken_nano=account.taken_nano,
        needed_nano=amount_nano,
    )


@write()
def set_cap(tx: Transaction, scope: Scope, key: str, window: Window, limit_nano: int | None) -> None:
    """Set a cap, or lift it with None; every account that inherits it obeys at once.

    A limit below what is taken already lets nothing more in. A frozen account stays frozen (`unfreeze`): runs
    set their campaign's caps too, and must not thaw what a person has not looked at. Raises UsageError for a
    scope that keeps no such windows, for a name that does not belong there, and for a negative limit.
    """
    kinds = WINDOW_KINDS.get(scope)
    if kinds is None:
        raise UsageError(f"no cap on {scope!r}; there are caps on {', '.join(WINDOW_KINDS)}")
    if window not in kinds:
        raise UsageError(f"a cap on {scope} counts per {' or '.join(kinds)}, not per {window}")
    if (key == "") != (scope == "ledger"):
        raise UsageError(f"a cap on {scope} takes {'no' if scope == 'ledger' else 'a'} name")
    if limit_nano is not None and limit_nano < 0:
        raise UsageError("a cap is at least 0")
    table = schema.cap
    mine = (table.c.scope == scope, table.c.key == key, table.c.window == window)
    tx.execute(table.delete().where(*mine))
    if limit_nano is not None:
        row = {"scope": scope, "key": key, "window": window, "limit_nano": limit_nano}
        tx.execute(table.insert(), row)
    account = schema.account
    taken = account.c.held_nano + account.c.spent_nano
    over = 0 if limit_nano is None else case((taken > limit_nano, taken - limit_nano), else_=0)
    found = tx.execute(
        select(account.c.account_id, account.c.window).where(account.c.scope == scope, account.c.key == key)
    )
    heirs = [account_id for account_id, each in found if window_kind(each) == window]
    tx.execute(
        account.update().where(account.c.account_id.in_(heirs)).values(limit_nano=limit_nano, over_nano=over)
    )


@write()
def unfreeze(tx: Transaction) -> int:
    """Let frozen accounts admit again, once a person has looked; return how many there were.

    Which entry was the last one then is kept: overruns up to it were looked at (`history.overruns`).
    """
    account, told = schema.account, schema.announcement
    count = tx.execute(account.update().where(account.c.frozen == 1).values(frozen=0)).rowcount
    entries = tx.execute(select(schema.ledger_head.c.entries)).scalar_one()
    if count and entries > released_up_to(tx):
        tx.execute(told.insert(), {"key": f"{RELEASED}{entries:020}", "at_ms": tx.at_ms})
    return count


@read()
def released_up_to(tx: Transaction) -> int:
    """Return the number of the last entry when frozen accounts were last released, 0 if they never were."""
    key = schema.announcement.c.key
    last = tx.execute(select(func.max(key)).where(key.startswith(RELEASED))).scalar_one()
    return int(last.removeprefix(RELEASED)) if last else 0


@read()
def caps(tx: Transaction) -> list[Cap]:
    """Return every cap in force, in order of scope, key and window."""
    table = schema.cap
    rows = tx.execute(select(table).order_by(table.c.scope, table.c.key, table.c.window))
    return [Cap(row.scope, row.key, row.window, row.limit_nano) for row in rows]


_name = tuple_(_account.c.scope, _account.c.key, _account.c.window)
_by_name = select(_account.c.account_id, _account.c.scope, _account.c.key, _account.c.window).where(
    _name.in_(bindparam("names", expanding=True))
)


def account_ids(tx: Transaction, refs: Sequence[AccountRef]) -> list[int]:
    """Return the accounts' ids in ascending order, opening those that do not exist yet under their cap."""
    known = _known_ids(tx, refs)
    if missing := [ref for ref in refs if ref not in known]:
        limits = _limits(tx)
        rows = [{**ref._asdict(), "limit_nano": limits.get(ref.cap)} for ref in missing]
        tx.execute(schema.account.insert(), rows)
        known = _known_ids(tx, refs)
    return sorted(known.values())


def _known_ids(tx: Transaction, refs: Sequence[AccountRef]) -> dict[AccountRef, int]:
    rows = tx.execute(_by_name, {"names": [tuple(ref) for ref in refs]})
    return {AccountRef(scope, key, window): account_id for account_id, scope, key, window in rows}


def _limits(tx: Transaction) -> dict[tuple[str, str, str], int]:
    return {(cap.scope, cap.key, cap.window): cap.limit_nano for cap in caps(tx)}


@read()
def balances(tx: Transaction, *, scope: Scope | None = None, key: str | None = None) -> list[Account]:
    """Return the accounts of a scope and key, or all of them, in order of scope, key and window."""
    account = schema.account
    query = select(account).order_by(account.c.scope, account.c.key, account.c.window)
    if scope is not None:
        query = query.where(account.c.scope == scope)
    if key is not None:
        query = query.where(account.c.key == key)
    return [as_account(row) for row in tx.execute(query)]


@read()
def headroom(tx: Transaction, refs: Iterable[AccountRef]) -> dict[AccountRef, Account]:
    """Return each named account as it stands; one that nothing counts in yet is empty under its cap."""
    wanted = list(dict.fromkeys(refs))
    rows = tx.rows_with(select(_account), _name, map(tuple, wanted), 200)
    found = {account.ref: account for account in map(as_account, rows)}
    limits = _limits(tx)
    return {ref: found.get(ref) or Account(ref=ref, limit_nano=limits.get(ref.cap)) for ref in wanted}


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
