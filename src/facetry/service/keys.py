"""API keys: made, listed, revoked and verified.

A key is a secret of 256 random bits. Only its SHA-256 is stored: who reads the database, or its backup,
cannot send requests. A slow hash, as for passwords, would gain nothing: nobody can try 2**256 secrets.
"""

import hashlib
import hmac
import secrets
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, cast, get_args

from sqlalchemy import insert, select, update

from facetry.errors import SettingError, nearest
from facetry.service.database import Clock, Database
from facetry.service.problems import Problem
from facetry.service.tables import API_KEYS

Scope = Literal["predict", "review", "admin"]
"""What a key is for; `admin` may do everything."""

SCOPES: Final[tuple[Scope, ...]] = get_args(Scope)

_PREFIX: Final = "facetry_"  # so that people and scanners of leaked secrets know what it is
_MAX_NAME: Final = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """What is known of a key. Times are seconds since 1970; `expires_at` None: never."""

    id: str
    name: str
    scopes: frozenset[Scope]
    created_at: float
    expires_at: float | None = None
    revoked_at: float | None = None

    def state(self, now: float) -> Literal["valid", "expired", "revoked"]:
        """Whether it can be used."""
        if self.revoked_at is not None:
            return "revoked"
        return "expired" if self.expires_at is not None and now >= self.expires_at else "valid"


class KeyStore:
    """The keys in a database."""

    def __init__(self, database: Database, clock: Clock = time.time) -> None:
        self._database = database
        self._clock = clock

    def create(
        self, name: str, scopes: Collection[str], expires_at: float | None = None
    ) -> tuple[Key, str]:
        """Make a key; returns it with its secret, which cannot be had again.

        Raises:
            SettingError: a name, a scope or an expiry that is not allowed.
        """
        key = Key(
            id=secrets.token_hex(4),
            name=name.strip(),
            scopes=cast("frozenset[Scope]", frozenset(scopes)),  # checked below
            created_at=self._clock(),
            expires_at=expires_at,
        )
        _check(key)
        secret = _PREFIX + secrets.token_urlsafe(32)
        row = {
            "id": key.id,
            "name": key.name,
            "digest": digest_of(secret),
            "scopes": ",".join(sorted(key.scopes)),
            "created_at": key.created_at,
            "expires_at": key.expires_at,
        }
        with self._database.transaction() as connection:
            connection.execute(insert(API_KEYS).values(row))
        return key, secret

    def all(self) -> list[Key]:
        """All keys, the oldest first; those that cannot be used any more, too."""
        query = select(API_KEYS).order_by(API_KEYS.c.created_at, API_KEYS.c.id)
        with self._database.reading() as connection:
            return [_as_key(row) for row in connection.execute(query).mappings()]

    def find(self, key_id: str) -> Key | None:
        """A key by its id, None if there is none."""
        query = select(API_KEYS).where(API_KEYS.c.id == key_id)
        with self._database.reading() as connection:
            row = connection.execute(query).mappings().one_or_none()
        return None if row is None else _as_key(row)

    def revoke(self, key_id: str) -> None:
        """End a key for good; one that is revoked already stays as it is.

        Raises:
            SettingError: there is no such key.
        """
        known = {key.id for key in self.all()}
        if key_id not in known:
            raise SettingError(f"There is no key {key_id!r}.", hint=nearest(key_id, known))
        is_open = (API_KEYS.c.id == key_id) & API_KEYS.c.revoked_at.is_(None)
        with self._database.transaction() as connection:
            connection.execute(update(API_KEYS).where(is_open).values(revoked_at=self._clock()))

    def verify(self, secret: str) -> Key:
        """The key that a secret is of.

        Raises:
            Problem: of none, or of one that has expired or was revoked.
        """
        digest = digest_of(secret)
        query = select(API_KEYS).where(API_KEYS.c.digest == digest)
        with self._database.reading() as connection:
            row = connection.execute(query).mappings().one_or_none()
        # How long the query takes says something of digests at most, and nobody can choose theirs.
        if row is None or not hmac.compare_digest(str(row["digest"]), digest):
            raise Problem("unauthorized", "The key is not known.", hint="Ask for a new one.")
        key = _as_key(row)
        self.require_valid(key)
        return key

    def require_valid(self, key: Key) -> None:
        """Refuse a key that cannot be used any more.

        Raises:
            Problem: it has expired or was revoked.
        """
        state = key.state(self._clock())
        if state != "valid":
            raise Problem("unauthorized", f"The key is {state}.", hint="Ask for a new one.")


def digest_of(secret: str) -> str:
    """What is stored of a secret: its SHA-256, in hexadecimal."""
    return hashlib.sha256(secret.encode()).hexdigest()


def _check(key: Key) -> None:
    if not 0 < len(key.name) <= _MAX_NAME or not key.name.isprintable():
        raise SettingError(f"A key's name has 1 to {_MAX_NAME} printable characters.")
    if unknown := key.scopes - set(SCOPES):
        raise SettingError(f"Unknown scope {min(unknown)!r}.", hint=nearest(min(unknown), SCOPES))
    if not key.scopes:
        raise SettingError("A key needs a scope.", hint=f"Known: {', '.join(SCOPES)}.")
    if key.state(key.created_at) != "valid":
        raise SettingError("The key would expire before it is made.")


def _as_key(row: Mapping[Any, Any]) -> Key:
    return Key(
        id=row["id"],
        name=row["name"],
        scopes=cast("frozenset[Scope]", frozenset(row["scopes"].split(","))),
        created_at=row["created_at"],
        expires_at=row["expires_at"],
        revoked_at=row["revoked_at"],
    )
