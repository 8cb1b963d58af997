# ruff: noqa: INP001 -- Alembic loads it by path
"""How Alembic runs our migrations: on the connection, and in the transaction, that it is handed."""

from alembic import context


def run() -> None:
    """Run them. Migrating by Alembic's own command line is not meant; opening the ledger does it."""
    connection = context.config.attributes["connection"]
    context.configure(connection=connection, transactional_ddl=True)
    with context.begin_transaction():
        context.run_migrations()


run()
