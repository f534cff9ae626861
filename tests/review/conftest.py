"""Reviews are kept in the databases that the service's tests have."""

from tests.service.conftest import database_url, postgres_url, sqlite_url

__all__ = ["database_url", "postgres_url", "sqlite_url"]
