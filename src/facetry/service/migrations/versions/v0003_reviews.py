"""What people are asked about a catalogue, and what they decide."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Make the tables of reviews."""
    op.create_table(
        "reviews",
        sa.Column("id", sa.String(16), nullable=False),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("catalogue", sa.Text, nullable=False),
        sa.Column("model", sa.String(200), nullable=False),
        sa.Column("model_version", sa.String(64), nullable=False),
        sa.Column("precision", sa.Double),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.Column("is_ready", sa.Boolean, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_reviews"),
        sa.UniqueConstraint("name", name="uq_reviews_name"),
    )
    op.create_table(
        "review_products",
        sa.Column("review", sa.String(16), nullable=False),
        sa.Column("row", sa.Integer, nullable=False),
        sa.Column("product_id", sa.Text, nullable=False),
        sa.Column("category", sa.Text, nullable=False),
        sa.Column("title", sa.Text),
        sa.Column("photos", sa.Text, nullable=False),
        sa.Column("problem", sa.Text, nullable=False),
        sa.Column("is_flagged", sa.Boolean, nullable=False),
        sa.Column("holder", sa.String(16)),
        sa.Column("held_until", sa.Double),
        sa.PrimaryKeyConstraint("review", "row", name="pk_review_products"),
    )
    op.create_table(
        "review_cells",
        sa.Column("review", sa.String(16), nullable=False),
        sa.Column("row", sa.Integer, nullable=False),
        sa.Column("head", sa.Integer, nullable=False),
        sa.Column("known", sa.Text),
        sa.Column("predicted", sa.Text),
        sa.Column("confidence", sa.Double),
        sa.Column("action", sa.String(16)),
        sa.Column("alternatives", sa.Text, nullable=False),
        sa.Column("stream", sa.String(16), nullable=False),
        sa.Column("priority", sa.Double, nullable=False),
        sa.Column("num_wanted", sa.Integer, nullable=False),
        sa.Column("num_decided", sa.Integer, nullable=False),
        sa.Column("is_open", sa.Boolean, nullable=False),
        sa.Column("decided", sa.Text),
        sa.Column("decided_by", sa.String(16)),
        sa.Column("decided_at", sa.Double),
        sa.Column("is_disputed", sa.Boolean, nullable=False),
        sa.PrimaryKeyConstraint("review", "row", "head", name="pk_review_cells"),
    )
    op.create_index("ix_review_cells_queue", "review_cells", ["review", "stream", "is_open", "priority"])
    op.create_table(
        "review_events",
        sa.Column(
            "number",
            sa.BigInteger().with_variant(sa.Integer, "sqlite"),
            autoincrement=True,
            nullable=False,
        ),
        sa.Column("key", sa.String(64), nullable=False),
        sa.Column("review", sa.String(16), nullable=False),
        sa.Column("row", sa.Integer, nullable=False),
        sa.Column("head", sa.Integer),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("answer", sa.Text),
        sa.Column("person", sa.String(16), nullable=False),
        sa.Column("at", sa.Double, nullable=False),
        sa.Column("seconds", sa.Double),
        sa.Column("predicted", sa.Text),
        sa.Column("confidence", sa.Double),
        sa.Column("was_shown", sa.Boolean, nullable=False),
        sa.Column("stream", sa.String(16), nullable=False),
        sa.Column("model_version", sa.String(64), nullable=False),
        sa.Column("undone_at", sa.Double),
        sa.PrimaryKeyConstraint("number", name="pk_review_events"),
        sa.UniqueConstraint("key", name="uq_review_events_key"),
    )
    op.create_index("ix_review_events_person", "review_events", ["review", "person", "number"])
    op.create_index("ix_review_events_cell", "review_events", ["review", "row", "head"])
