"""A run keeps the prices that it was planned with."""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column; runs from before it have no pin and go by the price book of the day."""
    op.get_bind().exec_driver_sql("ALTER TABLE run ADD COLUMN prices TEXT DEFAULT '' NOT NULL")
