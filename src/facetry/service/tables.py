"""The tables of the database. Times are seconds since 1970 (UTC), by the service's own clock."""

from typing import Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Double,
    Index,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    Text,
)

METADATA: Final = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_name)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)

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
)

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
    PrimaryKeyConstraint("review", "row"),
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
    PrimaryKeyConstraint("review", "row", "head"),
    Index("ix_review_cells_queue", "review", "stream", "is_open", "priority"),
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
    Column("undone_at", Double),
    Index("ix_review_events_person", "review", "person", "number"),
    Index("ix_review_events_cell", "review", "row", "head"),
)
