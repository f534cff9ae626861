"""The database: transactions, what makes it unavailable, and that it is available again afterwards."""

import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import Connection, func, insert, make_url, select
from sqlalchemy.exc import IntegrityError

from facetry.errors import DatabaseUnavailable, SettingError
from facetry.service.database import Database
from facetry.service.tables import API_KEYS

KEY = {"name": "shop", "scopes": "predict", "created_at": 1.0}
TIMEOUT_S = 0.1


def url_of(path: Path) -> str:
    return f"sqlite:///{path}"


def add_key(database: Database, key_id: str) -> None:
    with database.transaction() as connection:
        connection.execute(insert(API_KEYS).values(id=key_id, digest=key_id * 8, **KEY))


def num_keys(database: Database) -> int:
    with database.transaction() as connection:
        return connection.execute(select(func.count()).select_from(API_KEYS)).scalar_one()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "facetry.db"


@pytest.fixture
def database(path: Path) -> Iterator[Database]:
    opened = Database.open(url_of(path), timeout_s=TIMEOUT_S)
    yield opened
    opened.close()


def test_a_new_file_is_made_with_its_folder_for_its_owner_only(database: Database, path: Path) -> None:
    database.check()
    assert path.stat().st_mode & 0o777 == 0o600


def test_what_is_committed_is_there_when_opened_again(database: Database, path: Path) -> None:
    add_key(database, "a")
    database.close()
    again = Database.open(url_of(path))
    assert num_keys(again) == 1
    again.close()


def test_an_error_rolls_back_and_is_not_hidden(database: Database) -> None:
    def add_twice() -> None:
        with database.transaction() as connection:
            for _ in range(2):
                connection.execute(insert(API_KEYS).values(id="a", digest="d", **KEY))

    with pytest.raises(IntegrityError):
        add_twice()
    assert num_keys(database) == 0


@pytest.mark.parametrize("folder", ["with space", "per%20cent", "ünï", "quo'te"])
def test_any_folder_name_can_be_used(folder: str, tmp_path: Path) -> None:
    path = tmp_path / folder / "facetry.db"
    database = Database.open(url_of(path).replace("%", "%25"))
    database.check()
    database.close()
    assert path.is_file()


def test_eight_threads_open_one_new_file(path: Path) -> None:
    start = threading.Barrier(8)

    def open_and_add(number: int) -> None:
        start.wait(timeout=10)
        database = Database.open(url_of(path))
        add_key(database, str(number))
        database.close()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(open_and_add, range(8)))
    database = Database.open(url_of(path))
    assert num_keys(database) == 8
    with database.transaction() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert connection.exec_driver_sql("PRAGMA foreign_keys").scalar() == 1
    database.close()


def test_many_threads_write_at_once_and_none_is_refused(path: Path) -> None:
    database = Database.open(url_of(path))
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: add_key(database, str(number)), range(40)))
    assert num_keys(database) == 40
    database.close()


def test_locked_for_longer_than_the_timeout_is_unavailable_until_it_is_not(
    database: Database, path: Path
) -> None:
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(DatabaseUnavailable, match="database is locked"):
        add_key(database, "a")
    with pytest.raises(DatabaseUnavailable):
        database.check()
    other.close()
    add_key(database, "a")
    assert num_keys(database) == 1


def test_locked_for_less_than_the_timeout_is_waited_for(path: Path) -> None:
    database = Database.open(url_of(path), timeout_s=10)
    other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    timer = threading.Timer(0.05, other.close)
    timer.start()
    add_key(database, "a")
    timer.join()
    database.close()


def test_all_connections_in_use_is_unavailable(database: Database) -> None:
    connections = [database._engine.connect() for _ in range(15)]
    with pytest.raises(DatabaseUnavailable, match="limit"):
        database.check()
    for connection in connections:
        connection.close()
    database.check()


def test_a_file_that_is_gone_is_unavailable_until_it_is_back(database: Database, path: Path) -> None:
    add_key(database, "a")
    away = path.with_name("away")
    path.rename(away)
    with pytest.raises(DatabaseUnavailable, match="unable to open"):
        add_key(database, "lost")
    assert not path.exists(), "an empty database in its place"
    away.rename(path)
    assert num_keys(database) == 1


def test_a_file_that_is_no_database_is_unavailable(database: Database, path: Path) -> None:
    for each in path.parent.glob(f"{path.name}*"):
        each.unlink()
    path.write_bytes(b"no database " * 1000)
    with pytest.raises(DatabaseUnavailable, match="not a database"):
        database.check()


def test_a_file_that_was_replaced_is_the_one_that_is_used(database: Database, path: Path) -> None:
    """A connection that stays open would write to the file that nobody can open any more."""
    add_key(database, "a")
    with database.transaction() as connection:
        connection.exec_driver_sql("SELECT 1")
    backup = path.with_name("backup.db")
    source = sqlite3.connect(path)
    source.execute("VACUUM INTO ?", (str(backup),))
    source.close()
    add_key(database, "b")
    for name in ("facetry.db-wal", "facetry.db-shm"):
        path.with_name(name).unlink(missing_ok=True)
    backup.replace(path)
    assert num_keys(database) == 1
    add_key(database, "c")
    other = sqlite3.connect(path)
    assert other.execute("SELECT id FROM api_keys ORDER BY id").fetchall() == [("a",), ("c",)]
    other.close()


def test_a_damaged_file_is_refused(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"no database" * 1000)
    with pytest.raises(DatabaseUnavailable, match="not a database"):
        Database.open(url_of(path))


def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DatabaseUnavailable, match=r"exists|directory"):
        Database.open(url_of(tmp_path / "file" / "facetry.db"))


@pytest.mark.parametrize(
    "url", ["", "facetry.db", "mysql://root@localhost/x", "sqlite://", "sqlite:///:memory:", "a://b:c/d"]
)
def test_another_url_is_refused(url: str) -> None:
    with pytest.raises(SettingError, match="URL") as caught:
        Database.open(url)
    assert "postgresql://" in caught.value.hint


@pytest.mark.parametrize("options", ["", "?password=secret"])
def test_a_server_that_does_not_answer_is_unavailable_and_no_password_is_shown(options: str) -> None:
    with pytest.raises(DatabaseUnavailable, match="is unavailable") as caught:
        Database.open(f"postgresql://facetry:secret@127.0.0.1:1/shop{options}")
    assert "secret" not in str(caught.value)
    assert "postgresql://127.0.0.1:1/shop" in caught.value.message


@pytest.fixture
def shop(postgres_url: str) -> Iterator[Database]:
    """A database on PostgreSQL with one key."""
    database = Database.open(postgres_url, timeout_s=TIMEOUT_S)
    add_key(database, "a")
    yield database
    database.close()


@pytest.mark.postgres
def test_a_row_locked_for_longer_than_the_timeout_is_unavailable(shop: Database) -> None:
    def rename() -> None:
        with shop.transaction() as connection:
            connection.execute(API_KEYS.update().values(name="new"))

    with shop.transaction() as other:
        other.execute(select(API_KEYS).with_for_update())
        with pytest.raises(DatabaseUnavailable, match="lock timeout"):
            rename()
    rename()


def end_others(connection: Connection) -> None:
    """What a restart of the server does to connections."""
    connection.exec_driver_sql(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )


@pytest.mark.postgres
def test_a_connection_lost_in_a_transaction_is_unavailable_and_the_next_works(
    shop: Database,
) -> None:
    def lose() -> None:
        with shop.transaction() as connection:
            with shop.transaction() as other:
                end_others(other)
            connection.exec_driver_sql("SELECT 1")

    with pytest.raises(DatabaseUnavailable, match="terminating connection"):
        lose()
    add_key(shop, "b")
    assert num_keys(shop) == 2


@pytest.mark.postgres
def test_connections_lost_between_transactions_go_unnoticed(shop: Database, postgres_url: str) -> None:
    other = Database.open(postgres_url)
    with other.transaction() as connection:
        end_others(connection)
    other.close()
    assert num_keys(shop) == 1


@pytest.mark.postgres
@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"password": "wrong-secret"}, "password authentication failed"),
        ({"database": "nowhere"}, "does not exist"),
        ({"username": "reader", "password": "wrong-secret"}, "permission denied"),
    ],
)
def test_a_server_that_refuses_is_unavailable(
    changes: dict[str, str], reason: str, postgres_url: str
) -> None:
    url = make_url(postgres_url)
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("DROP ROLE IF EXISTS reader")
        connection.execute("CREATE ROLE reader LOGIN PASSWORD 'wrong-secret'")
        with pytest.raises(DatabaseUnavailable, match=reason) as caught:
            Database.open(url.set(**changes).render_as_string(hide_password=False))
        connection.execute("DROP ROLE reader")
    assert str(url.password) not in str(caught.value)
    assert "wrong-secret" not in str(caught.value)


@pytest.mark.slow
def test_four_processes_open_one_new_file(path: Path) -> None:
    code = (
        "import sys\n"
        "from facetry.service.database import Database\n"
        "database = Database.open(sys.argv[1])\n"
        "database.check()\n"
        "database.close()"
    )
    command = [sys.executable, "-W", "error", "-c", code, url_of(path)]
    running = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(4)]
    try:
        errors = [process.communicate(timeout=60)[1] for process in running]
    finally:
        for process in running:
            process.kill()
    assert errors == [""] * 4
    assert [process.returncode for process in running] == [0] * 4


def test_who_reads_waits_for_nobody_who_writes(tmp_path: Path) -> None:
    database = Database.open(f"sqlite:///{tmp_path / 'facetry.db'}", timeout_s=0.2)
    with closing(database), database.transaction() as writing:
        writing.exec_driver_sql("CREATE TABLE t (x INTEGER)")
        with database.reading() as reading:
            names = reading.exec_driver_sql("SELECT name FROM sqlite_master").scalars().all()
        assert "api_keys" in names
        assert "t" not in names
        with pytest.raises(DatabaseUnavailable), database.transaction():
            pass
