"""Brings the tables of the database up to date, from an empty or from an older one."""

from pathlib import Path
from typing import Final

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

from facetry.errors import DatabaseUnavailable

VERSION_TABLE: Final = "facetry_schema"
"""The table with the revision: not Alembic's default, as other programs may use the same database."""


def upgrade(connection: Connection, revision: str = "head") -> None:
    """Bring the tables to a revision, within the connection's transaction.

    Not for several threads at once: Alembic keeps what it works on in a global variable.

    Raises:
        DatabaseUnavailable: a newer version of Facetry has made the tables.
    """
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    config.attributes["connection"] = connection
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    if unknown := set(current_revisions(connection)) - known:
        raise DatabaseUnavailable(
            f"A newer version of Facetry made the database: its revision is {min(unknown)}, "
            f"the newest known here is {max(known)}.",
            hint="Install the newer version, or restore the backup that was made before the upgrade.",
        )
    command.upgrade(config, revision)


def current_revisions(connection: Connection) -> tuple[str, ...]:
    """The revision of the tables; none of an empty database."""
    context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE})
    return context.get_current_heads()
