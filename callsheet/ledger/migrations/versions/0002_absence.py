"""What absence is judged by: the wait for a start that was sent, and the first look that saw nothing."""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns; of submissions from before nobody knows what was sent with them."""
    connection = op.get_bind()
    whole = "BIGINT" if connection.dialect.name == "postgresql" else "INTEGER"
    above_0 = "CONSTRAINT submission_start_timeout_positive CHECK (start_timeout_s > 0)"
    for column in (f"start_timeout_s {whole} {above_0}", f"unseen_ms {whole}"):
        connection.exec_driver_sql(f"ALTER TABLE submission ADD COLUMN {column}")
