"""What Alembic runs for an upgrade: the revisions, in the transaction of the connection it is given."""

from alembic import context

from facetry.service.migrations import VERSION_TABLE
from facetry.service.tables import METADATA

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=METADATA,
    version_table=VERSION_TABLE,
    render_as_batch=True,  # SQLite changes a table by making a new one
)
with context.begin_transaction():
    context.run_migrations()
