"""What a cell has as things stand, the runs of models over a review, and changes of many cells."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Add to the tables of reviews what the pages of a catalogue and of a model need."""
    _add_columns()
    _add_tables()
    op.execute(_WHAT_CELLS_HAVE)
    _replace_indexes()


_WHAT_CELLS_HAVE = """
UPDATE review_cells SET
    value = CASE
        WHEN decided IN ('not applicable', 'not visible') THEN NULL
        WHEN decided IS NOT NULL THEN decided
        WHEN known IS NOT NULL THEN known
        WHEN action = 'fill' THEN predicted
    END,
    source = CASE
        WHEN decided IS NOT NULL THEN 'person'
        WHEN known IS NOT NULL THEN 'table'
        WHEN action = 'fill' THEN 'model'
        ELSE 'none'
    END
"""


_GRID = [
    "review",
    "row",
    "head",
    "source",
    "action",
    "confidence",
    "decided_by",
    "is_open",
    "is_disputed",
]


def _add_columns() -> None:
    op.add_column("reviews", sa.Column("shares", sa.Text))
    op.add_column("reviews", sa.Column("images", sa.Text))
    op.add_column(
        "review_products", sa.Column("neighbours", sa.Text, nullable=False, server_default="[]")
    )
    op.add_column("review_products", sa.Column("run", sa.Integer, nullable=False, server_default="1"))
    op.create_index("ix_review_products_product", "review_products", ["review", "product_id"])
    op.create_index("ix_review_products_holder", "review_products", ["review", "holder"])
    op.add_column("review_cells", sa.Column("proposed", sa.Text))
    op.add_column("review_cells", sa.Column("value", sa.Text))
    op.add_column(
        "review_cells", sa.Column("source", sa.String(16), nullable=False, server_default="none")
    )
    op.add_column("review_cells", sa.Column("run", sa.Integer, nullable=False, server_default="1"))
    op.create_index("ix_review_cells_head", "review_cells", ["review", "head", "source", "row"])
    op.create_index("ix_review_cells_grid", "review_cells", _GRID)
    op.add_column("review_events", sa.Column("known", sa.Text))
    op.add_column(
        "review_events", sa.Column("is_ruling", sa.Boolean, nullable=False, server_default=sa.false())
    )
    op.add_column("review_events", sa.Column("bulk", sa.String(32)))
    op.create_index("ix_review_events_bulk", "review_events", ["bulk"])


def _replace_indexes() -> None:
    """Those of cells and events, by ones of the rows alone that are looked for."""
    op.drop_index("ix_review_cells_queue", "review_cells")
    op.drop_index("ix_review_events_person", "review_events")
    is_open, is_disputed = (
        sa.column(name, sa.Boolean) == sa.true() for name in ("is_open", "is_disputed")
    )
    is_single = sa.column("bulk", sa.String).is_(None)
    is_decided, is_proposed = (sa.column(name, sa.Text).is_not(None) for name in ("decided", "proposed"))
    for table, name, columns, where in (
        ("review_cells", "open", ["review", "stream", "priority"], is_open),
        ("review_cells", "disputed", ["review", "priority"], is_disputed),
        ("review_cells", "decided", ["review", "decided_at"], is_decided),
        ("review_cells", "proposed", ["review", "row"], is_proposed),
        ("review_events", "latest", ["review", "number"], is_single),
        ("review_events", "person", ["review", "person", "number"], is_single),
    ):
        options: dict[str, Any] = {"sqlite_where": where, "postgresql_where": where}
        op.create_index(f"ix_{table}_{name}", table, columns, **options)


def _add_tables() -> None:
    op.create_table(
        "review_runs",
        sa.Column("review", sa.String(16), nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("table", sa.String(64), nullable=False),
        sa.Column("heads", sa.String(64), nullable=False),
        sa.Column("model", sa.String(200), nullable=False),
        sa.Column("model_path", sa.Text, nullable=False),
        sa.Column("model_version", sa.String(64), nullable=False),
        sa.Column("fingerprint", sa.Text, nullable=False),
        sa.Column("precision", sa.Double),
        sa.Column("begun_at", sa.Double, nullable=False),
        sa.Column("ended_at", sa.Double),
        sa.PrimaryKeyConstraint("review", "number", name="pk_review_runs"),
    )
    op.create_table(
        "review_bulks",
        sa.Column("id", sa.String(32), nullable=False),
        sa.Column("review", sa.String(16), nullable=False),
        sa.Column("person", sa.String(16), nullable=False),
        sa.Column("at", sa.Double, nullable=False),
        sa.Column("what", sa.Text, nullable=False),
        sa.Column("num_cells", sa.Integer, nullable=False),
        sa.Column("undone_at", sa.Double),
        sa.PrimaryKeyConstraint("id", name="pk_review_bulks"),
    )
    op.create_index("ix_review_bulks_review", "review_bulks", ["review"])
    op.create_table(
        "review_values",
        sa.Column("review", sa.String(16), nullable=False),
        sa.Column("head", sa.Integer, nullable=False),
        sa.Column("value", sa.Text, nullable=False),
        sa.Column("person", sa.String(16), nullable=False),
        sa.Column("at", sa.Double, nullable=False),
        sa.Column("verdict", sa.String(16), nullable=False),
        sa.Column("replacement", sa.Text),
        sa.PrimaryKeyConstraint("review", "head", "value", name="pk_review_values"),
    )
    op.create_table(
        "review_exports",
        sa.Column("id", sa.String(32), nullable=False),
        sa.Column("review", sa.String(16), nullable=False),
        sa.Column("person", sa.String(16), nullable=False),
        sa.Column("at", sa.Double, nullable=False),
        sa.Column("form", sa.String(16), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_review_exports"),
    )
    op.create_index("ix_review_exports_review", "review_exports", ["review"])
