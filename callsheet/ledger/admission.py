"""Admission: hold the maximum, take a slot, write the intent. One transaction, or nothing."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Row, func, or_, select, text

from callsheet.errors import CapReached, NoSlot, RunStopping
from callsheet.ledger import schema
from callsheet.ledger.booking import write_entry
from callsheet.ledger.caps import account_ids, as_account
from callsheet.ledger.records import Submission
from callsheet.ledger.scopes import account_refs
from callsheet.ledger.steps import current, step
from callsheet.ledger.submission import Event, next_state
from pricing.money import usd_text


def admit(connection: Connection, job_id: int, *, slots: int, at_ms: int) -> Submission:
    """Admit a job. See `Ledger.admit` for what it raises."""
    now = current(connection, job_id)
    next_state(now.state, Event.ADMIT)
    wanted = _wanted(connection, job_id)
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


NO_ERROR = {"error_type": "", "error": "", "charged": ""}
"""What a new attempt writes over the last one's failure."""


def slots_taken(connection: Connection) -> int:
    """Count the places at fal that are taken, over the whole ledger."""
    return connection.execute(
        select(func.count()).select_from(schema.job).where(text(schema.IN_SLOT))
    ).scalar_one()


def _wanted(connection: Connection, job_id: int) -> Row[Any]:
    job, run = schema.job, schema.run
    return connection.execute(
        select(
            job.c.client, job.c.model, job.c.maximum_nano, run.c.campaign, run.c.stopping_ms, run.c.closed_ms
        )
        .join_from(job, run, job.c.run_id == run.c.run_id)
        .where(job.c.job_id == job_id)
    ).one()


def _hold(connection: Connection, accounts: list[int], amount_nano: int) -> None:
    """Add a hold to every account, if it fits into every one of them.

    The condition stands in the UPDATE itself, so it cannot be true when read and false when written.
    """
    account = schema.account
    fits = or_(
        account.c.limit_nano.is_(None),
        account.c.held_nano + account.c.spent_nano + amount_nano <= account.c.limit_nano,
    )
    held = connection.execute(
        account.update()
        .where(account.c.account_id.in_(accounts), account.c.frozen == 0, fits)
        .values(held_nano=account.c.held_nano + amount_nano)
        .returning(account.c.account_id)
    ).scalars()
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
    written = connection.execute(
        schema.submission.insert().values(
            job_id=job_id, number=number, hold_nano=hold_nano, admitted_ms=at_ms
        )
    )
    key = written.inserted_primary_key
    assert key is not None
    submission_id = int(key[0])
    connection.execute(
        schema.submission_account.insert(),
        [{"submission_id": submission_id, "account_id": account_id} for account_id in accounts],
    )
    return submission_id
