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
    # A server that vanished must be noticed, or a verb would wait for it for minutes.
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 25_000,
    # pgbouncer hands each transaction to another session, which does not know a prepared statement.
    "prepare_threshold": None,
}

STANDSTILL_MS = 20_000
"""How long a write may stand still between two statements, in milliseconds, before the server ends it."""

_NOW_MS: Final = sa.cast(sa.func.floor(sa.extract("epoch", sa.func.clock_timestamp()) * 1000), sa.BigInteger)

_head = sa.select(schema.ledger_head.c.ledger_id).with_for_update().subquery()
_LOCK_HEAD: Final = sa.select(  # the time is asked for after the lock: it is that of this transaction's turn
    sa.func.set_config("idle_in_transaction_session_timeout", sa.bindparam("limit"), sa.true()),
    _head.c.ledger_id,
    _NOW_MS,
)


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
                f"{_how_to_set(connection, setting)}"
            )


def _how_to_set(connection: sa.Connection, setting: str) -> str:
    if setting == "fsync":  # of the whole server
        return (
            "set it to on for this server, as its superuser: "
            'psql -c "ALTER SYSTEM SET fsync = on" -c "SELECT pg_reload_conf()"'
        )
    name = connection.exec_driver_sql("SELECT quote_ident(current_database())").scalar_one()
    return f"set it to on for this database: ALTER DATABASE {name} SET {setting} = on"


def lock_head(connection: sa.Connection) -> int:
    """Wait until no other transaction writes; return the server's time in Unix milliseconds.

    A process that stops in the middle of its write (suspended, SIGSTOP) would keep everybody waiting for as
    long as it stands still: the server ends its session instead, and undoes what it had begun.
    """
    _, _, server_ms = connection.execute(_LOCK_HEAD, {"limit": str(STANDSTILL_MS)}).one()
    return int(server_ms)


def now_ms(connection: sa.Connection) -> int:
    """Return the server's time in Unix milliseconds."""
    return int(connection.execute(sa.select(_NOW_MS)).scalar_one())


def is_unavailable(error: BaseException) -> bool:
    """Whether an error says that the server is away, and not that a statement is wrong.

    SQLSTATE class 08: the connection; 57P01-57P05: it was shut down, crashed, is starting, was dropped, or
    ended an idle session (postgresql.org/docs/current/errcodes-appendix.html). No SQLSTATE: no server spoke.
    pgbouncer in statement mode also answers with class 08, although it will never do a transaction.
    """
    if isinstance(error, sa.exc.DBAPIError):
        if "statement pooling mode" in str(error.orig):
            return False
        if error.connection_invalidated:
            return True
        driver: Any = error.orig
        state: str | None = getattr(driver, "sqlstate", None)
        named = type(driver).__name__ in ("OperationalError", "ConnectionTimeout")
        return named if state is None else state.startswith(("08", "57P"))
    return isinstance(error, sa.exc.TimeoutError)


def is_in_transaction(connection: sa.Connection) -> bool:
    """Say whether what was done can still be committed: after an error, COMMIT undoes it and says nothing."""
    driver: Any = connection.connection.driver_connection
    return bool(driver.info.transaction_status.name == "INTRANS")
