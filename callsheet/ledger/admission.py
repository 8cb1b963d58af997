"""Admission: hold the maximum, take a slot, write the intent. One transaction, or nothing."""

from __future__ import annotations

from sqlalchemy import Connection, bindparam, func, or_, select, text

from callsheet.errors import CapReached, NoSlot, RunStopping
from callsheet.ledger import schema
from callsheet.ledger.booking import write_entry
from callsheet.ledger.caps import account_ids, as_account
from callsheet.ledger.records import Submission
from callsheet.ledger.scopes import account_refs
from callsheet.ledger.states import Event, next_state
from callsheet.ledger.steps import current, step
from pricing.money import usd_text


def admit(connection: Connection, job_id: int, *, slots: int, at_ms: int) -> Submission:
    """Admit a job. See `Ledger.admit` for what it raises."""
    now = current(connection, job_id)
    next_state(now.state, Event.ADMIT)
    wanted = connection.execute(_wanted, {"job": job_id}).one()
    if wanted.stopping_ms is not None or wanted.closed_ms is not None:
        raise RunStopping(f"run {now.run_id} is stopping; nothing more is admitted until it is resumed")
    if slots_taken(connection) >= slots:
        raise NoSlot(slots)
    refs = account_refs(
        campaign=wanted.campaign,
        client=wanted.client,
        model=wanted.model,
        run_id=now.run_id,
        at_ms=at_ms,
    )
    accounts = account_ids(connection, refs)
    _hold(connection, accounts, wanted.maximum_nano)
    number = now.number + 1
    submission_id = _write_intent(connection, job_id, number, wanted.maximum_nano, accounts, at_ms)
    write_entry(
        connection, at_ms=at_ms, submission_id=submission_id, kind="hold", amount_nano=wanted.maximum_nano
    )
    step(connection, now, Event.ADMIT, at_ms, job={"submissions": number, **NO_ERROR})
    return Submission(
        submission_id=submission_id,
        job_id=job_id,
        number=number,
        hold_nano=wanted.maximum_nano,
        admitted_ms=at_ms,
    )


_job, _run, _account = schema.job, schema.run, schema.account
_slots = select(func.count()).select_from(_job).where(text(schema.IN_SLOT))
_wanted = (
    select(
        _job.c.client,
        _job.c.model,
        _job.c.maximum_nano,
        _run.c.campaign,
        _run.c.stopping_ms,
        _run.c.closed_ms,
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
_write_submission = schema.submission.insert()
_write_accounts = schema.submission_account.insert()

NO_ERROR = {"error_type": "", "error": "", "charged": ""}
"""What a new attempt writes over the last one's failure."""


def slots_taken(connection: Connection) -> int:
    """Count the places at fal that are taken, over the whole ledger."""
    return connection.execute(_slots).scalar_one()


def _hold(connection: Connection, accounts: list[int], amount_nano: int) -> None:
    """Add a hold to every account, if it fits into every one of them.

    The condition stands in the UPDATE itself, so it cannot be true when read and false when written.
    """
    held = connection.execute(_hold_if_it_fits, {"accounts": accounts, "amount_nano": amount_nano}).scalars()
    if refused := sorted(set(accounts) - set(held)):
        raise _refusal(connection, refused[0], amount_nano)


def _refusal(connection: Connection, account_id: int, amount_nano: int) -> CapReached:
    """Name the account that refused. Those that took the hold give it back with the transaction."""
    table = schema.account
    account = as_account(connection.execute(select(table).where(table.c.account_id == account_id)).one())
    if account.frozen:
        message = (
            f"{account.ref} is frozen: a cost came out above what was held for it. "
            "Look at it with `callsheet budget list`, then go on with `callsheet budget unfreeze`"
        )
    else:
        message = (
            f"the cap on {account.ref} is {usd_text(account.limit_nano or 0)} USD; "
            f"{usd_text(account.taken_nano)} USD are held or spent, "
            f"and the next job needs {usd_text(amount_nano)} USD"
        )
    return CapReached(
        message,
        scope=str(account.ref),
        limit_nano=account.limit_nano or 0,
        taken_nano=account.taken_nano,
        needed_nano=amount_nano,
    )


def _write_intent(
    connection: Connection, job_id: int, number: int, hold_nano: int, accounts: list[int], at_ms: int
) -> int:
    submission = {"job_id": job_id, "number": number, "hold_nano": hold_nano, "admitted_ms": at_ms}
    written = connection.execute(_write_submission, submission)
    key = written.inserted_primary_key
    assert key is not None
    submission_id = int(key[0])
    connection.execute(
        _write_accounts,
        [{"submission_id": submission_id, "account_id": account_id} for account_id in accounts],
    )
    return submission_id
