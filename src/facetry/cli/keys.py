"""`facetry keys`: make, list and revoke the API keys of a service."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.table import Table

    from facetry.service.keys import Key, KeyStore

_DAY_S = 86_400.0

app = typer.Typer(no_args_is_help=True, help="Make, list and revoke the API keys of a service.")

Data = Annotated[Path, typer.Option(envvar="FACETRY_DATA", help="The service's data folder.")]
DatabaseUrl = Annotated[
    str,
    typer.Option(
        "--database",
        envvar="FACETRY_DATABASE",
        metavar="URL",
        help="The service's database, if it is not in its data folder.",
        show_default=False,
    ),
]
_DATA = Path("facetry-data")


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="Who or what the key is for.")],
    scope: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SCOPE", help="predict (default), review, or admin: everything. May be repeated."
        ),
    ] = None,
    expires_days: Annotated[
        float | None, typer.Option(min=0.001, max=36_500, help="Days until it expires; default: never.")
    ] = None,
    data: Data = _DATA,
    database: DatabaseUrl = "",
) -> None:
    """Make a key. The key is printed once, alone on standard output: only a digest of it is stored."""
    from facetry.cli.console import make_console

    expires_at = None if expires_days is None else time.time() + expires_days * _DAY_S
    with _opened(data, database, is_new_allowed=True) as store:
        key, secret = store.create(name, scope or ["predict"], expires_at)
    notes = make_console(stderr=True)
    until = "never expires" if key.expires_at is None else f"expires on {_day(key.expires_at)}"
    notes.print(f"Key {key.id} for {key.name}: {', '.join(sorted(key.scopes))}; {until}.")
    make_console().print(secret)
    notes.print("Keep it now: it cannot be shown again.")


@app.command("list")
def list_keys(data: Data = _DATA, database: DatabaseUrl = "") -> None:
    """List the keys: their names and what they may do, not the keys themselves."""
    from facetry.cli.console import make_console

    with _opened(data, database) as store:
        keys = store.all()
    console = make_console()
    if keys:
        console.print(_table(keys))
    else:
        console.print("There are no keys. Make one with: facetry keys create NAME")


@app.command()
def revoke(
    key_id: Annotated[str, typer.Argument(metavar="ID", help="The key's id, as listed.")],
    data: Data = _DATA,
    database: DatabaseUrl = "",
) -> None:
    """End a key for good; a service that runs refuses it within seconds."""
    from facetry.cli.console import make_console

    with _opened(data, database) as store:
        store.revoke(key_id)
    make_console().print(f"Key {key_id} is revoked.")


@contextmanager
def _opened(data: Path, url: str, *, is_new_allowed: bool = False) -> Iterator["KeyStore"]:
    """The keys of a service.

    Raises:
        SettingError: there is no database yet, and none is to be made.
        DatabaseUnavailable: the database cannot be used.
    """
    from facetry.errors import SettingError
    from facetry.runtime.extras import require

    require("`facetry keys`", "sqlalchemy", "alembic")
    from facetry.service.config import embedded_database, sqlite_url
    from facetry.service.database import Database
    from facetry.service.keys import KeyStore

    file = embedded_database(data)
    if not (url or is_new_allowed or file.exists()):
        raise SettingError(
            f"There is no database {file}.", hint="Name the service's --data folder, or its --database."
        )
    database = Database.open(url or sqlite_url(file))
    try:
        yield KeyStore(database)
    finally:
        database.close()


def _table(keys: "list[Key]") -> "Table":
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in ("id", "scopes", "created", "expires", "state"):
        table.add_column(column, no_wrap=True)
    table.add_column("name", overflow="fold", min_width=20)
    now = time.time()
    for key in keys:
        expires = "never" if key.expires_at is None else _day(key.expires_at)
        scopes = ", ".join(sorted(key.scopes))
        cells = (key.id, scopes, _day(key.created_at), expires, key.state(now))
        table.add_row(*cells, key.name)
    return table


def _day(seconds: float) -> str:
    """A day in UTC."""
    return datetime.fromtimestamp(seconds, UTC).date().isoformat()
