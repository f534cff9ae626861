"""Keys: what is stored of them, when they are good, and that they come through a backup."""

import re
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import make_url, select

from facetry.errors import SettingError
from facetry.service.database import Database
from facetry.service.keys import KeyStore
from facetry.service.problems import Problem
from facetry.service.tables import API_KEYS

NASTY = ["'; DROP TABLE api_keys; --", "<script>alert(1)</script>", 'a"b', "%s %(id)s :id", "ünï ☃"]


class FakeClock:
    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    opened = Database.open(database_url)
    yield opened
    opened.close()


@pytest.fixture
def keys(database: Database, clock: FakeClock) -> KeyStore:
    return KeyStore(database, clock)


def test_a_key_is_verified_by_its_secret(keys: KeyStore) -> None:
    key, secret = keys.create("shop", ["predict", "review"], expires_at=2000.0)
    assert keys.verify(secret) == key
    assert keys.all() == [key]
    assert (key.scopes, key.created_at, key.expires_at) == ({"predict", "review"}, 1000.0, 2000.0)


def test_secrets_have_256_bits_and_differ(keys: KeyStore) -> None:
    secrets = {keys.create("shop", ["predict"])[1] for _ in range(20)}
    assert len(secrets) == 20
    assert all(re.fullmatch(r"facetry_[\w-]{43}", secret, re.ASCII) for secret in secrets)


def test_nothing_stored_gives_the_secret_away(keys: KeyStore, database: Database) -> None:
    _, secret = keys.create("shop", ["predict"])
    with database.transaction() as connection:
        row = connection.execute(select(API_KEYS)).one()
    assert not any(secret[8:16] in str(cell) for cell in row)


@pytest.mark.parametrize(
    "change", [str.upper, lambda s: s[:-1], lambda s: s + "a", lambda _: "", str.title]
)
def test_a_wrong_secret_is_refused(change: object, keys: KeyStore) -> None:
    assert callable(change)
    _, secret = keys.create("shop", ["predict"])
    with pytest.raises(Problem, match="not known") as caught:
        keys.verify(change(secret))
    assert caught.value.status == 401
    assert secret not in repr(caught.value)


@pytest.mark.parametrize("secret", [*NASTY, "facetry_" + "a" * 100_000, "\x00", "' OR 1=1 --"])
def test_what_looks_like_code_is_a_wrong_secret(secret: str, keys: KeyStore) -> None:
    keys.create("shop", ["predict"])
    with pytest.raises(Problem):
        keys.verify(secret)
    assert len(keys.all()) == 1


@pytest.mark.parametrize(
    ("now", "is_good"), [(1999.9, True), (2000.0, False), (9e9, False), (0.0, True)]
)
def test_a_key_is_good_until_it_expires(
    now: float, is_good: bool, keys: KeyStore, clock: FakeClock
) -> None:
    key, secret = keys.create("shop", ["predict"], expires_at=2000.0)
    clock.now = now
    assert (key.state(now) == "valid") == is_good
    if is_good:
        assert keys.verify(secret) == key
    else:
        with pytest.raises(Problem, match="expired") as caught:
            keys.verify(secret)
        assert caught.value.reason == "unauthorized"


def test_a_revoked_key_is_refused_and_others_are_not(keys: KeyStore, clock: FakeClock) -> None:
    (gone, secret), (_, other) = keys.create("gone", ["admin"]), keys.create("other", ["admin"])
    keys.revoke(gone.id)
    clock.now += 10
    keys.revoke(gone.id)
    with pytest.raises(Problem, match="revoked"):
        keys.verify(secret)
    assert keys.verify(other).name == "other"
    assert {key.name: key.revoked_at for key in keys.all()} == {"gone": 1000.0, "other": None}


@pytest.mark.parametrize("key_id", ["nothing", *NASTY])
def test_a_key_that_is_not_there_cannot_be_revoked(key_id: str, keys: KeyStore) -> None:
    key, secret = keys.create("shop", ["predict"])
    with pytest.raises(SettingError, match="There is no key") as caught:
        keys.revoke(key_id)
    assert key.id in caught.value.hint
    assert keys.verify(secret) == key


@pytest.mark.parametrize("name", NASTY)
def test_any_printable_name_is_kept_as_it_is(name: str, keys: KeyStore) -> None:
    _, secret = keys.create(name, ["predict"])
    assert keys.verify(secret).name == name
    assert [key.name for key in keys.all()] == [name]


@pytest.mark.parametrize(
    ("name", "scopes", "expires_at", "message"),
    [
        ("", ["predict"], None, "1 to 200"),
        (" ", ["predict"], None, "1 to 200"),
        ("a" * 201, ["predict"], None, "1 to 200"),
        ("a\x1b[31m", ["predict"], None, "printable"),
        ("a\nb", ["predict"], None, "printable"),
        ("shop", [], None, "needs a scope"),
        ("shop", ["predcit"], None, "Unknown scope 'predcit'"),
        ("shop", ["predict"], 1000.0, "expire before"),
    ],
)
def test_a_key_that_makes_no_sense_is_not_made(
    name: str, scopes: list[str], expires_at: float | None, message: str, keys: KeyStore
) -> None:
    with pytest.raises(SettingError, match=message):
        keys.create(name, scopes, expires_at)
    assert keys.all() == []


def vacuum(source: Path, copy: Path) -> None:
    connection = sqlite3.connect(source)
    connection.execute("VACUUM INTO ?", (str(copy),))
    connection.close()


def copy_files(source: Path, copy: Path) -> None:
    for path in source.parent.glob(f"{source.name}*"):
        shutil.copy(path, copy.parent / path.name.replace(source.name, copy.name))


@pytest.mark.parametrize("back_up", [vacuum, copy_files])
def test_keys_of_a_restored_backup_are_verified(
    back_up: object, sqlite_url: str, clock: FakeClock, tmp_path: Path
) -> None:
    """Copies of the files are sound if nobody writes meanwhile; VACUUM INTO is at any time."""
    assert callable(back_up)
    database = Database.open(sqlite_url)
    keys = KeyStore(database, clock)
    key, secret = keys.create("shop", ["predict"])
    back_up(Path(make_url(sqlite_url).database or ""), tmp_path / "restored.db")
    _, later = keys.create("later", ["predict"])
    database.close()

    restored = Database.open(f"sqlite:///{tmp_path / 'restored.db'}")
    keys = KeyStore(restored, clock)
    assert keys.verify(secret) == key
    with pytest.raises(Problem):
        keys.verify(later)
    keys.create("new", ["predict"])
    restored.close()
