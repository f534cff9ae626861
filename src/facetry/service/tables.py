"""The tables of the database. Times are seconds since 1970 (UTC), by the service's own clock."""

from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ColumnElement,
    Double,
    Index,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    Text,
    column,
    false,
    true,
)

METADATA: Final = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_name)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def _where(condition: ColumnElement[bool]) -> dict[str, Any]:
    """The rows that an index has, as SQLAlchemy takes them for both databases."""
    return {f"{kind}_where": condition for kind in ("sqlite", "postgresql")}


_IS_OPEN: Final = column("is_open", Boolean) == true()
_IS_DISPUTED: Final = column("is_disputed", Boolean) == true()
_IS_DECIDED: Final = column("decided", Text).is_not(None)
_IS_PROPOSED: Final = column("proposed", Text).is_not(None)
_IS_SINGLE: Final = column("bulk", String).is_(None)


API_KEYS: Final = Table(
    "api_keys",
    METADATA,
    Column("id", String(16), primary_key=True),
    Column("name", String(200), nullable=False),
    Column("digest", String(64), nullable=False, unique=True),  # SHA-256 of the key, hex
    Column("scopes", String(100), nullable=False),  # joined by commas
    Column("created_at", Double, nullable=False),
    Column("expires_at", Double),
    Column("revoked_at", Double),
)

JOBS: Final = Table(
    "jobs",
    METADATA,
    Column("id", String(32), primary_key=True),  # random hex; also the name of its folder
    Column("owner", String(16), nullable=False),  # the key's id, "" without keys
    Column("model", String(200), nullable=False),
    Column("state", String(16), nullable=False),  # waiting, running, done, failed, cancelled
    Column("options", Text, nullable=False),  # JSON: JobOptions
    Column("created_at", Double, nullable=False),
    Column("started_at", Double),
    Column("ended_at", Double),
    Column("num_products", BigInteger),
    Column("num_done", BigInteger, nullable=False, default=0),
    Column("summary", Text),  # JSON, once done
    Column("error", Text),  # JSON: reason, message, hint
    Column("is_cancel_requested", Boolean, nullable=False, default=False),
    Column("worker", String(64)),  # who holds the lease
    Column("lease_until", Double),
    Column("fence", Integer, nullable=False, default=0),  # counts leases: an older one may not write
    Column("attempts", Integer, nullable=False, default=0),
    Index(None, "state"),
    Index(None, "owner"),
)

REVIEWS: Final = Table(
    "reviews",
    METADATA,
    Column("id", String(16), primary_key=True),
    Column("name", String(200), nullable=False, unique=True),  # as addresses have it
    Column("catalogue", Text, nullable=False),  # path
    Column("model", String(200), nullable=False),
    Column("model_version", String(64), nullable=False),
    Column("precision", Double),
    Column("created_at", Double, nullable=False),
    Column("is_ready", Boolean, nullable=False),  # whether all products are in
    Column("shares", Text),  # JSON: how the streams are mixed, where an admin has set it
    Column("images", Text),  # path of the photo folder, where it was named
)

REVIEW_RUNS: Final = Table(
    "review_runs",
    METADATA,
    Column("review", String(16), nullable=False),
    Column("number", Integer, nullable=False),  # from 1
    Column("table", String(64), nullable=False),  # SHA-256 of what identifies the table that was read
    Column("heads", String(64), nullable=False),  # SHA-256 of the heads' names, whose indices cells have
    Column("model", String(200), nullable=False),
    Column("model_path", Text, nullable=False),
    Column("model_version", String(64), nullable=False),
    Column("fingerprint", Text, nullable=False),
    Column("precision", Double),
    Column("begun_at", Double, nullable=False),
    Column("ended_at", Double),  # null while it goes on
    PrimaryKeyConstraint("review", "number"),
)
"""Each time that a model predicted the table of a review."""

REVIEW_PRODUCTS: Final = Table(
    "review_products",
    METADATA,
    Column("review", String(16), nullable=False),
    Column("row", Integer, nullable=False),  # in the table, from 0
    Column("product_id", Text, nullable=False),
    Column("category", Text, nullable=False),
    Column("title", Text),
    Column("photos", Text, nullable=False),  # JSON: paths
    Column("problem", Text, nullable=False),  # why nothing was predicted, "" where something was
    Column("is_flagged", Boolean, nullable=False, default=False),  # a person says its photo is bad
    Column("holder", String(16)),  # the person who has it on the screen
    Column("held_until", Double),
    Column("neighbours", Text, nullable=False, server_default="[]"),  # JSON: rows, most similar first
    Column("run", Integer, nullable=False, server_default="1"),  # the last one that saw it
    PrimaryKeyConstraint("review", "row"),
    Index("ix_review_products_product", "review", "product_id"),
    Index("ix_review_products_holder", "review", "holder"),
)

REVIEW_CELLS: Final = Table(
    "review_cells",
    METADATA,
    Column("review", String(16), nullable=False),
    Column("row", Integer, nullable=False),
    Column("head", Integer, nullable=False),  # index in the taxonomy
    Column("known", Text),  # what the table had
    Column("predicted", Text),
    Column("confidence", Double),
    Column("action", String(16)),  # fill, review, abstain; null where nothing is promised
    Column("alternatives", Text, nullable=False),  # JSON, the most probable first
    Column("stream", String(16), nullable=False),  # by which it is asked; "" for not at all
    Column("priority", Double, nullable=False),
    Column("num_wanted", Integer, nullable=False),  # people who are to decide it
    Column("num_decided", Integer, nullable=False, default=0),
    Column("is_open", Boolean, nullable=False),
    Column("decided", Text),  # a value, or one of the answers that are none
    Column("decided_by", String(16)),
    Column("decided_at", Double),
    Column("is_disputed", Boolean, nullable=False, default=False),
    Column("proposed", Text),  # a value that the taxonomy lacks, until an admin says what becomes of it
    Column("value", Text),  # what the catalogue has as things stand
    Column("source", String(16), nullable=False, server_default="none"),  # table, model, person, none
    Column("run", Integer, nullable=False, server_default="1"),  # that predicted it
    PrimaryKeyConstraint("review", "row", "head"),
    # Of few cells each: counting them, and finding the first, takes no longer in a large review.
    Index("ix_review_cells_open", "review", "stream", "priority", **_where(_IS_OPEN)),
    Index("ix_review_cells_disputed", "review", "priority", **_where(_IS_DISPUTED)),
    Index("ix_review_cells_decided", "review", "decided_at", **_where(_IS_DECIDED)),
    Index("ix_review_cells_proposed", "review", "row", **_where(_IS_PROPOSED)),
    Index("ix_review_cells_head", "review", "head", "source", "row"),
    # What the grid of a catalogue is filtered by, so that few rows of the table are read; texts of
    # people are left out, as PostgreSQL bounds what an index may hold.
    Index(
        "ix_review_cells_grid",
        "review",
        "row",
        "head",
        "source",
        "action",
        "confidence",
        "decided_by",
        "is_open",
        "is_disputed",
    ),
)

REVIEW_EVENTS: Final = Table(
    "review_events",
    METADATA,
    Column("number", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    Column("key", String(64), nullable=False, unique=True),  # so that one key press counts once
    Column("review", String(16), nullable=False),
    Column("row", Integer, nullable=False),
    Column("head", Integer),  # null: about the product
    Column("kind", String(16), nullable=False),
    Column("answer", Text),
    Column("person", String(16), nullable=False),
    Column("at", Double, nullable=False),
    Column("seconds", Double),  # from the cell's being shown to the answer
    Column("predicted", Text),
    Column("confidence", Double),
    Column("was_shown", Boolean, nullable=False),  # whether the prediction was
    Column("stream", String(16), nullable=False),
    Column("model_version", String(64), nullable=False),
    Column("known", Text),  # what the table had
    Column("is_ruling", Boolean, nullable=False, server_default=false()),  # it settles the cell alone
    Column("bulk", String(32)),  # the change of many cells that it is a part of
    Column("undone_at", Double),
    Index("ix_review_events_latest", "review", "number", **_where(_IS_SINGLE)),
    Index("ix_review_events_person", "review", "person", "number", **_where(_IS_SINGLE)),
    Index("ix_review_events_cell", "review", "row", "head"),
    Index("ix_review_events_bulk", "bulk"),
)

REVIEW_BULKS: Final = Table(
    "review_bulks",
    METADATA,
    Column("id", String(32), primary_key=True),
    Column("review", String(16), nullable=False),
    Column("person", String(16), nullable=False),
    Column("at", Double, nullable=False),
    Column("what", Text, nullable=False),  # in words: the filter, or the file that was imported
    Column("num_cells", Integer, nullable=False),
    Column("undone_at", Double),
    Index(None, "review"),
)
"""Changes of many cells at once, which can be taken back as one."""

REVIEW_VALUES: Final = Table(
    "review_values",
    METADATA,
    Column("review", String(16), nullable=False),
    Column("head", Integer, nullable=False),
    Column("value", Text, nullable=False),
    Column("person", String(16), nullable=False),  # the admin
    Column("at", Double, nullable=False),
    Column("verdict", String(16), nullable=False),  # added, replaced, refused
    Column("replacement", Text),
    PrimaryKeyConstraint("review", "head", "value"),
)
"""What admins have said of proposed values."""

REVIEW_EXPORTS: Final = Table(
    "review_exports",
    METADATA,
    Column("id", String(32), primary_key=True),  # also the name of its folder
    Column("review", String(16), nullable=False),
    Column("person", String(16), nullable=False),
    Column("at", Double, nullable=False),
    Column("form", String(16), nullable=False),
    Index(None, "review"),
)
"""Files that were handed out; what they held is kept, so that a changed one can be compared with it."""
