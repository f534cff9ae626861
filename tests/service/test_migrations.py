"""The tables after an upgrade, from an empty database and from an older one with rows in it."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, Engine, column, create_engine, inspect, table, text, update

from facetry.errors import DatabaseUnavailable
from facetry.service.database import Database
from facetry.service.migrations import VERSION_TABLE, current_revisions, upgrade
from facetry.service.tables import JOBS, METADATA

OLD_KEY = (
    "INSERT INTO api_keys (id, name, digest, scopes, created_at) VALUES ('k', 'a', 'd', 'predict', 1)"
)
OLD_JOB = (
    "INSERT INTO jobs (id, owner, model, state, options, created_at, num_done, is_cancel_requested) "
    "VALUES ('j', 'k', 'm', 'running', '{}', 1.5, 7, false)"
)


@contextmanager
def plain(url: str) -> Iterator[Engine]:
    """The database, without what the service does to it."""
    engine = create_engine(url.replace("postgresql:", "postgresql+psycopg:"))
    yield engine
    engine.dispose()


def differences(connection: Connection) -> list[object]:
    options = {
        "version_table": VERSION_TABLE,
        "compare_type": True,
        "compare_server_default": True,
        "target_metadata": METADATA,
    }
    return compare_metadata(MigrationContext.configure(connection, opts=options), METADATA)


@pytest.fixture
def old_url(database_url: str) -> str:
    """A database of the first revision, with a key and a job in it."""
    Database.open(database_url).close()
    with plain(database_url) as engine, engine.begin() as connection:
        METADATA.drop_all(connection)
        connection.execute(text(f"DROP TABLE {VERSION_TABLE}"))
        upgrade(connection, "0001")
        connection.execute(text(OLD_KEY))
        connection.execute(text(OLD_JOB))
    return database_url


def test_an_empty_database_gets_the_tables_that_the_code_declares(database_url: str) -> None:
    Database.open(database_url).close()
    with plain(database_url) as engine, engine.connect() as connection:
        assert not differences(connection)
        names = {each.name for each in METADATA.sorted_tables} | {VERSION_TABLE}
        assert set(inspect(connection).get_table_names()) == names


def test_an_older_database_gets_them_and_keeps_its_rows(old_url: str) -> None:
    database = Database.open(old_url)
    with database.transaction() as connection:
        assert not differences(connection)
        job = connection.execute(JOBS.select()).mappings().one()
        assert connection.execute(text("SELECT digest FROM api_keys")).scalar_one() == "d"
    database.close()
    wanted = {"id": "j", "created_at": 1.5, "num_done": 7, "is_cancel_requested": False}
    assert {name: job[name] for name in wanted} == wanted
    assert (job["fence"], job["attempts"]) == (0, 0)


def test_constraints_and_indexes_have_the_names_that_the_code_declares(old_url: str) -> None:
    Database.open(old_url).close()
    with plain(old_url) as engine:
        found = inspect(engine)
        assert {each["name"] for each in found.get_indexes("jobs")} == {"ix_jobs_state", "ix_jobs_owner"}
        assert found.get_pk_constraint("jobs")["name"] == "pk_jobs"
        unique = [each["name"] for each in found.get_unique_constraints("api_keys")]
        assert unique == ["uq_api_keys_digest"]


def test_several_that_open_an_older_database_upgrade_it_once(old_url: str) -> None:
    with ThreadPoolExecutor(4) as pool:
        for database in pool.map(Database.open, [old_url] * 4):
            database.close()
    with plain(old_url) as engine, engine.connect() as connection:
        assert not differences(connection)
        assert current_revisions(connection) == ("0004",)


def test_an_upgrade_that_fails_leaves_the_older_database_as_it_was(
    old_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(connection: Connection) -> None:
        upgrade(connection)
        raise OSError("disk full")

    monkeypatch.setattr("facetry.service.database.upgrade", fail)
    with pytest.raises(DatabaseUnavailable, match="disk full"):
        Database.open(old_url)
    with plain(old_url) as engine, engine.connect() as connection:
        assert current_revisions(connection) == ("0001",)
        assert "fence" not in {each["name"] for each in inspect(connection).get_columns("jobs")}


def test_a_database_of_a_newer_version_is_refused_and_left_alone(database_url: str) -> None:
    Database.open(database_url).close()
    with plain(database_url) as engine, engine.begin() as connection:
        connection.execute(
            update(table(VERSION_TABLE, column("version_num"))).values(version_num="9999")
        )
    with pytest.raises(DatabaseUnavailable, match=r"newer version .* 9999, the newest known here is"):
        Database.open(database_url)
    with plain(database_url) as engine, engine.connect() as connection:
        assert current_revisions(connection) == ("9999",)
