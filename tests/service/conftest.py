"""Databases for the tests of the service: a SQLite file, or one of a PostgreSQL server."""

import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import make_url


@pytest.fixture
def postgres_url() -> Iterator[str]:
    """An empty database of the server that FACETRY_TEST_POSTGRES names."""
    server = os.environ.get("FACETRY_TEST_POSTGRES", "")
    if not server:
        pytest.skip("needs a PostgreSQL server: run .ci/postgres")
    name = f"facetry_{uuid.uuid4().hex}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
        yield make_url(server).set(database=name).render_as_string(hide_password=False)
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'database' / 'facetry.db'}"


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def database_url(request: pytest.FixtureRequest) -> str:
    """An empty database of each kind."""
    url: str = request.getfixturevalue(f"{request.param}_url")
    return url
