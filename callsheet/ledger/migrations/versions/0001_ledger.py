"""The ledger as it began: runs, jobs, submissions, accounts, entries, events, uploads."""

import secrets
from pathlib import Path

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create everything; statements stand in the .sql file, separated by empty lines."""
    # Without parameters a percent sign in the text is just that, for psycopg too.
    connection = op.get_bind().execution_options(no_parameters=True)
    script = Path(__file__).with_name(f"0001_{connection.dialect.name}.sql").read_text(encoding="utf-8")
    for statement in script.split("\n\n"):
        connection.exec_driver_sql(statement)
    # Which ledger this is: an output folder can tell a ledger from its older copy or from another one.
    ledger_id = secrets.token_hex(16)
    connection.exec_driver_sql(f"INSERT INTO gate VALUES (1, '{ledger_id}', 0, '')")  # noqa: S608 - hex digits
