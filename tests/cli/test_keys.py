"""`facetry keys`: what is printed, and that what was made is good."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from facetry.cli import main
from facetry.errors import DatabaseUnavailable, FacetryError, SettingError
from facetry.service.config import embedded_database, sqlite_url
from facetry.service.database import Database
from facetry.service.keys import Key, KeyStore

Run = Callable[..., Result]

WIDTH = 100


@pytest.fixture
def run(tmp_path: Path) -> Run:
    runner = CliRunner(env={"COLUMNS": str(WIDTH), "FACETRY_DATA": str(tmp_path / "data")})

    def invoke(*words: object, **env: str) -> Result:
        result = runner.invoke(main.app, ["keys", *map(str, words)], env=env)
        if result.exception and not isinstance(result.exception, FacetryError | SystemExit):
            raise result.exception
        return result

    return invoke


def verified(secret: str, data: Path) -> Key:
    database = Database.open(sqlite_url(embedded_database(data)))
    try:
        return KeyStore(database).verify(secret)
    finally:
        database.close()


def test_the_key_alone_is_on_standard_output(run: Run, tmp_path: Path) -> None:
    result = run("create", "shop", "--scope", "predict", "--scope", "review", "--expires-days", 90)
    assert result.exit_code == 0
    key = verified(result.stdout.strip(), tmp_path / "data")
    assert (key.name, key.scopes) == ("shop", {"predict", "review"})
    assert key.expires_at is not None
    assert abs(key.expires_at - time.time() - 90 * 86_400) < 60
    assert f"Key {key.id} for shop: predict, review; expires on 20" in result.stderr
    assert "cannot be shown again" in result.stderr


def test_a_key_predicts_and_never_expires_unless_said_otherwise(run: Run, tmp_path: Path) -> None:
    result = run("create", "shop")
    key = verified(result.stdout.strip(), tmp_path / "data")
    assert (key.scopes, key.expires_at) == ({"predict"}, None)
    assert "never expires" in result.stderr


def test_the_list_shows_keys_but_no_secret(run: Run) -> None:
    names = ["shop", "[red]bold[/red] <b>", "'; DROP TABLE api_keys; --", "n" * 150]
    secrets = [run("create", name, "--scope", "admin", "--scope", "review").stdout for name in names]
    shown = run("list").stdout
    assert all(len(line) <= WIDTH for line in shown.splitlines())
    assert all(name in shown for name in names[:2])
    assert shown.count("valid") == len(names)
    assert "n" * 20 in shown
    assert not any(secret.strip() in shown for secret in secrets)


def test_a_revoked_key_is_listed_as_such(run: Run, tmp_path: Path) -> None:
    secret = run("create", "shop").stdout.strip()
    key_id = verified(secret, tmp_path / "data").id
    assert run("revoke", key_id).stdout == f"Key {key_id} is revoked.\n"
    assert "revoked" in run("list").stdout


def test_an_empty_list_says_how_to_make_a_key(run: Run, tmp_path: Path) -> None:
    Database.open(sqlite_url(embedded_database(tmp_path / "data"))).close()
    assert "facetry keys create NAME" in run("list").stdout


@pytest.mark.parametrize("words", [["list"], ["revoke", "x"]])
def test_without_a_database_nothing_is_made(words: list[str], run: Run, tmp_path: Path) -> None:
    result = run(*words)
    assert isinstance(result.exception, SettingError)
    assert "There is no database" in str(result.exception)
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("by", ["option", "environment"])
def test_another_database_can_be_named(by: str, run: Run, tmp_path: Path) -> None:
    url = sqlite_url(embedded_database(tmp_path / "other"))
    words, env = (["--database", url], {}) if by == "option" else ([], {"FACETRY_DATABASE": url})
    secret = run("create", "shop", *words, **env).stdout.strip()
    assert verified(secret, tmp_path / "other").name == "shop"
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["create", "a" * 201], SettingError),
        (["create", "shop", "--scope", "predcit"], SettingError),
        (["create", "shop", "--database", "mysql://x"], SettingError),
        (["create", "shop", "--database", "postgresql://u:secret@127.0.0.1:1/x"], DatabaseUnavailable),
    ],
)
def test_what_cannot_be_done_is_an_error_that_the_user_can_fix(
    words: list[str], error: type[Exception], run: Run
) -> None:
    result = run(*words)
    assert isinstance(result.exception, error)
    assert "secret" not in str(result.exception)


@pytest.mark.parametrize("days", ["0", "-1", "1e9", "nan", "soon"])
def test_an_expiry_that_is_not_allowed_is_refused(days: str, run: Run) -> None:
    assert run("create", "shop", "--expires-days", days).exit_code == 2
