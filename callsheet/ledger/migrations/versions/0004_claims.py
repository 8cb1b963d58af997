"""How often a run, or a part of it, was claimed: what tells a late owner that it is none any more."""

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table; who works on a run right now is not in it until the next claim."""
    connection = op.get_bind()
    on_server = connection.dialect.name == "postgresql"
    whole, strict = ("BIGINT", "") if on_server else ("INTEGER", " STRICT")
    connection.exec_driver_sql(
        f"CREATE TABLE claim (run_id TEXT NOT NULL, part TEXT NOT NULL, number {whole} NOT NULL, "
        f"PRIMARY KEY (run_id, part)){strict}"
    )
