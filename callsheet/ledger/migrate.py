"""Bringing a database to the schema of this version: only where it is behind, in one transaction.

Alembic is imported only where there is something to migrate. A ledger that is up to date opens without it,
and so does a new one on SQLite: it is made from the tables that the program is written against, as all
migrations together would leave it (a test holds one against the other).
"""

from __future__ import annotations

import itertools
import secrets
from pathlib import Path
from typing import Final

import sqlalchemy as sa

from callsheet.errors import LedgerUnsafe
from callsheet.ledger import postgres, schema

HEAD: Final = "0004"
REVISIONS: Final = ("0001", "0002", "0003", HEAD)
"""Every revision that this version knows, oldest first; a test compares it with the files."""

_MIGRATIONS: Final = Path(__file__).with_name("migrations")
_REVISION_TABLE: Final = (
    "CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL, "
    "CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num))"
)
"""As Alembic makes it."""

_LOCK: Final = 0x63616C6C73686565  # "callshee": this number is ours on whatever server


def bring_up_to_date(engine: sa.Engine) -> None:
    """Create or migrate the tables. Raises LedgerUnsafe for a ledger of a newer Callsheet."""
    with engine.execution_options(reads=True).connect() as connection:
        if engine.dialect.name == "postgresql":
            postgres.refuse_unsafe(connection)
        found = revision_of(connection)
    if found is None and engine.dialect.name == "sqlite":
        found = make_new(engine)
    if found == HEAD:
        return
    if found is not None and found not in REVISIONS:
        raise LedgerUnsafe(f"this ledger was written by a newer Callsheet (schema {found}); update Callsheet")
    upgrade(engine)


def make_new(engine: sa.Engine) -> str:
    """Make a new SQLite ledger, unless another process just did; returns its revision."""
    with engine.begin() as connection:
        if (found := revision_of(connection)) is not None:
            return found
        schema.metadata.create_all(connection, checkfirst=False)
        for table, change in itertools.product(schema.APPEND_ONLY, ("update", "delete")):
            connection.exec_driver_sql(
                f"CREATE TRIGGER {table}_no_{change} BEFORE {change.upper()} ON {table}\n"
                f"BEGIN\n  SELECT RAISE(ABORT, '{table} is append-only');\nEND"
            )
        # Which ledger this is, as in the first migration.
        connection.exec_driver_sql("INSERT INTO gate VALUES (1, ?, 0, '')", (secrets.token_hex(16),))
        connection.exec_driver_sql(_REVISION_TABLE)
        connection.exec_driver_sql("INSERT INTO alembic_version VALUES (?)", (HEAD,))
    return HEAD


def revision_of(connection: sa.Connection) -> str | None:
    """Return the schema's revision, None for an empty database."""
    if not sa.inspect(connection).has_table("alembic_version"):
        return None
    version: str | None = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()
    return version


def upgrade(engine: sa.Engine) -> None:
    """Run what is missing. Two processes may try at once: the second one waits and finds it done."""
    from alembic import command  # noqa: PLC0415  # 0.3 s that an up-to-date ledger does not pay
    from alembic.config import Config  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    with engine.begin() as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK)))
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
