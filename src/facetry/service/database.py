"""The service's database: SQLite in one file, or PostgreSQL; brought up to date when it is opened.

SQLite writes ahead (WAL), and a transaction takes the write lock when it begins: one that read first and
then wrote could fail at once, however long it is ready to wait.
"""

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final

from sqlalchemy import URL, Connection, Engine, QueuePool, create_engine, event, make_url
from sqlalchemy.exc import (
    ArgumentError,
    DatabaseError,
    DBAPIError,
    DisconnectionError,
    OperationalError,
)
from sqlalchemy.exc import TimeoutError as PoolTimeout

from facetry.errors import DatabaseUnavailable, SettingError, first_line
from facetry.runtime.files import hold_lock
from facetry.service.migrations import upgrade

Clock = Callable[[], float]
"""The time, in seconds since 1970."""

TIMEOUT_S: Final = 5.0
"""How long to wait for a connection, or for a lock that another transaction holds."""

_PAUSE_S: Final = 0.02

_HINTS: Final = {
    "sqlite": "Its file may be gone, its disk full, or another process is writing it for long.",
    "postgresql": "See that the server runs, can be reached, and lets this user change tables.",
}
_UPGRADE_LOCK: Final = 0x_FACE_7121  # any number that no other program is likely to choose

_ONLY_READS: Final = "facetry_only_reads"  # an execution option of ours


class Database:
    """A database that is open; for use by any number of threads.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     database = Database.open(f"sqlite:///{folder}/facetry.db")
    ...     with database.transaction() as connection:
    ...         print(connection.exec_driver_sql("SELECT count(*) FROM jobs").scalar())
    ...     database.close()
    0
    """

    def __init__(self, engine: Engine, name: str) -> None:
        self._engine = engine
        self._name = name

    @classmethod
    def open(cls, url: str, *, timeout_s: float = TIMEOUT_S) -> "Database":
        """Open a database, and bring its tables up to date; a SQLite file is made with its folder.

        Several processes may open the same new or older database at once.

        Raises:
            DatabaseUnavailable: it cannot be reached, made or changed, or a newer version made it.
            SettingError: a URL that is neither of SQLite nor of PostgreSQL.
        """
        parsed = _parse(url)
        is_file = parsed.get_backend_name() == "sqlite"
        engine = (_sqlite_engine if is_file else _postgresql_engine)(parsed, timeout_s)
        database = cls(engine, _without_secrets(parsed))
        try:
            with database._reporting(DBAPIError, sqlite3.Error, OSError):  # too few rights, for one
                (_upgrade_sqlite if is_file else _upgrade_postgresql)(engine, parsed)
        except BaseException:
            database.close()
            raise
        return database

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """A transaction: committed at the end, rolled back on an error; it may wait for a lock.

        Raises:
            DatabaseUnavailable: the database cannot be reached, or is locked for too long.
        """
        with self._reporting(OperationalError, PoolTimeout), self._engine.begin() as connection:
            yield connection

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A transaction that only reads: it sees the database as it is now, and waits for nobody.

        Raises:
            DatabaseUnavailable: the database cannot be reached.
        """
        with (
            self._reporting(OperationalError, PoolTimeout),
            self._engine.connect() as connection,
            connection.execution_options(**{_ONLY_READS: True}).begin(),
        ):
            yield connection

    def check(self) -> None:
        """Check that the database can be used.

        Raises:
            DatabaseUnavailable: it cannot.
        """
        with self.transaction() as connection:
            connection.exec_driver_sql("SELECT 1")

    def close(self) -> None:
        """Close all connections that are not in use."""
        self._engine.dispose()

    @contextmanager
    def _reporting(self, *kinds: type[Exception]) -> Iterator[None]:
        """Say in our own words that the database is unavailable: an error of one of the kinds."""
        try:
            yield
        except Exception as error:
            is_damaged = type(error) is DatabaseError  # none of its kinds: the file is no database
            is_lost = getattr(error, "connection_invalidated", False)
            if not (isinstance(error, kinds) or is_damaged or is_lost):
                raise
            reason = first_line(getattr(error, "orig", None) or error)
            message = f"The database {self._name} is unavailable: {reason}."
            raise DatabaseUnavailable(message, hint=_HINTS[self._engine.dialect.name]) from error


def let_others_in() -> None:
    """Pause between two of many transactions: who waits for SQLite's lock asks for it now and then."""
    time.sleep(_PAUSE_S)


def _parse(url: str) -> URL:
    """The parts of a URL, with the driver that is installed for its kind of database."""
    hint = "Allowed are sqlite:///FILE and postgresql://USER:PASSWORD@HOST/DATABASE."
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError) as error:
        raise SettingError("The database's URL is malformed.", hint=hint) from error
    if parsed.drivername in {"postgresql", "postgresql+psycopg"}:
        return parsed.set(drivername="postgresql+psycopg")
    if parsed.drivername == "sqlite" and parsed.database not in {None, "", ":memory:"}:
        return parsed
    raise SettingError(f"The database's URL is of {parsed.drivername!r}.", hint=hint)


def _without_secrets(url: URL) -> str:
    """The database for messages: a file's path, or a URL without its password and options."""
    kind = url.get_backend_name()
    if kind == "sqlite":
        return str(_path(url))
    return URL.create(kind, host=url.host, port=url.port, database=url.database).render_as_string()


def _path(url: URL) -> Path:
    return Path(url.database or "").absolute()


def _sqlite_engine(url: URL, timeout_s: float) -> Engine:
    path = _path(url)

    def connect() -> sqlite3.Connection:
        # rw: a file that has gone is an error, not a new and empty database.
        connection = sqlite3.connect(
            f"{path.as_uri()}?mode=rw",
            uri=True,
            timeout=timeout_s,
            isolation_level=None,  # or Python begins transactions of its own
            check_same_thread=False,  # the pool gives a connection to one thread at a time
        )
        connection.execute("PRAGMA foreign_keys = ON")
        return connection

    engine = create_engine(
        "sqlite://", creator=connect, poolclass=QueuePool, pool_timeout=timeout_s, hide_parameters=True
    )

    @event.listens_for(engine, "connect")
    def remember(_: sqlite3.Connection, record: Any) -> None:
        record.info["file"] = _file_id(path)

    @event.listens_for(engine, "checkout")
    def refuse_gone(_: sqlite3.Connection, record: Any, __: Any) -> None:
        """Connect anew if the file was moved or replaced: what is written to the old one is lost."""
        if record.info["file"] != _file_id(path):
            raise DisconnectionError

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        only_reads = connection.get_execution_options().get(_ONLY_READS)
        connection.exec_driver_sql("BEGIN" if only_reads else "BEGIN IMMEDIATE")

    return engine


def _file_id(path: Path) -> tuple[int, int] | None:
    """What tells a file from another one in its place; None if there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _upgrade_sqlite(engine: Engine, url: URL) -> None:
    """One process at a time: several that turn to writing ahead at once would find the file locked."""
    path = _path(url)
    path.parent.mkdir(parents=True, exist_ok=True)
    with hold_lock(path.parent):
        path.touch(mode=0o600)  # who has sent what is nobody else's business
        with closing(engine.raw_connection()) as connection:
            connection.cursor().execute("PRAGMA journal_mode = WAL")
        with engine.begin() as connection:
            upgrade(connection)


def _postgresql_engine(url: URL, timeout_s: float) -> Engine:
    engine = create_engine(
        url,
        pool_pre_ping=True,
        pool_timeout=timeout_s,
        hide_parameters=True,
        connect_args={
            "connect_timeout": max(2, round(timeout_s)),  # libpq takes 1 for 2
            "tcp_user_timeout": round(1000 * 2 * timeout_s),  # a server that is silent is lost
        },
    )

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        connection.exec_driver_sql(f"SET LOCAL lock_timeout = {round(1000 * timeout_s)}")

    return engine


def _upgrade_postgresql(engine: Engine, _: URL) -> None:
    """One process at a time, which also waits longer for tables that other servers are using."""
    with engine.begin() as connection:
        connection.exec_driver_sql("SET LOCAL lock_timeout = '5min'")
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_UPGRADE_LOCK})")
        upgrade(connection)
