"""PostgreSQL: the ledger for many machines.

READ COMMITTED, and one row that each writing transaction locks before it looks at anything: so admissions
stand in one line, and what one of them has read cannot be out of date when it writes. Who only reads sees
one moment (REPEATABLE READ), however many statements it takes.
"""

from __future__ import annotations

from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.engine import URL

from callsheet.errors import LedgerUnsafe
from callsheet.ledger import schema

_CONNECT_ARGS: Final[dict[str, Any]] = {
    "connect_timeout": 10,
    # A claim is a lock that lives as long as its connection: a dead peer must be noticed soon.
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
}

STANDSTILL_MS = 60_000
"""How long a write may stand still between two statements, in milliseconds, before the server ends it."""

_LOCK_HEAD: Final = sa.select(
    sa.func.set_config("idle_in_transaction_session_timeout", sa.bindparam("limit"), sa.true()),
    schema.ledger_head.c.id,
).with_for_update()


def engine_for(url: URL) -> sa.Engine:
    """Return an engine for psycopg 3. Nothing is connected yet."""
    return sa.create_engine(
        url.set(drivername="postgresql+psycopg"),
        isolation_level="READ COMMITTED",
        pool_pre_ping=True,
        connect_args=_CONNECT_ARGS,
        hide_parameters=True,
    )


def refuse_unsafe(connection: sa.Connection) -> None:
    """Raise LedgerUnsafe where the server acknowledges commits that it has not written."""
    for setting in ("synchronous_commit", "fsync"):
        if connection.exec_driver_sql(f"SHOW {setting}").scalar_one() == "off":
            raise LedgerUnsafe(
                f"PostgreSQL runs with {setting}=off and may forget what was paid for; "
                f"set it to on for this database: ALTER DATABASE ... SET {setting} = on"
            )


def lock_head(connection: sa.Connection) -> None:
    """Wait until no other transaction writes.

    A process that stops in the middle of its write (suspended, SIGSTOP) would keep everybody waiting for as
    long as it stands still: the server ends its session instead, and undoes what it had begun.
    """
    connection.execute(_LOCK_HEAD, {"limit": str(STANDSTILL_MS)}).one()


def is_in_transaction(connection: sa.Connection) -> bool:
    """Say whether what was done can still be committed: after an error, COMMIT undoes it and says nothing."""
    driver: Any = connection.connection.driver_connection
    return bool(driver.info.transaction_status.name == "INTRANS")
