"""What tells an older lease on a job from a newer one, and how often a job was begun."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

_ADDED = ("fence", "attempts")


def upgrade() -> None:
    """Add both columns: 0 in the rows that are there; new rows have to give them."""
    with op.batch_alter_table("jobs") as jobs:
        for name in _ADDED:
            jobs.add_column(sa.Column(name, sa.Integer, nullable=False, server_default="0"))
    with op.batch_alter_table("jobs") as jobs:
        for name in _ADDED:
            jobs.alter_column(name, server_default=None)
