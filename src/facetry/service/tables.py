"""The tables of the database. Times are seconds since 1970 (UTC), by the service's own clock."""

from typing import Final

from sqlalchemy import BigInteger, Boolean, Column, Double, Index, Integer, MetaData, String, Table, Text

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
