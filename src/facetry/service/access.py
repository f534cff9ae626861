"""Who may ask: keys and their scopes, and, for pages in a browser, Host and Origin.

A service on loopback needs no keys. But a browser can reach it too, and any page that a person opens can
send requests to it, even under a name of its own that it lets point to 127.0.0.1 (DNS rebinding). So the
name that a request was sent to (Host) has to be the service's own, and so has that of the page (Origin).
"""

import re
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from fastapi import Request
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers

from facetry.errors import DatabaseUnavailable
from facetry.service.config import LOOPBACK, ServiceConfig
from facetry.service.database import Clock
from facetry.service.keys import Key, KeyStore, Scope, digest_of
from facetry.service.problems import Problem

CACHE_S: Final = 5.0
"""How long a key that was found is not looked up again: so long a revoked one may still be used."""

GRACE_S: Final = 60.0
"""How long it is good while the database is unavailable."""

_AUTHORITY: Final = re.compile(r"(\[[0-9a-f:.]+\]|[^\[\]:/@?#\s]+)(:\d*)?", re.IGNORECASE)


@dataclass(frozen=True)
class Caller:
    """Who asks; `key_id` is "" where no keys are needed."""

    key_id: str
    scopes: frozenset[Scope]

    def may(self, scope: Scope) -> bool:
        """Whether the scope is among the caller's."""
        return scope in self.scopes or "admin" in self.scopes


ANYONE: Final = Caller("", frozenset({"admin"}))
"""Who asks where no keys are needed."""


@dataclass
class _Known:
    """A key that was found at `verified_at`, and is to be looked up again at `check_at`."""

    key: Key
    verified_at: float
    check_at: float

    def is_good(self, now: float) -> bool:
        return now < self.check_at and self.is_within_grace(now)

    def is_within_grace(self, now: float) -> bool:
        return now - self.verified_at < GRACE_S


class Access:
    """Decides who may ask; for one event loop."""

    def __init__(self, config: ServiceConfig, keys: KeyStore, clock: Clock = time.monotonic) -> None:
        self._needs_keys = config.needs_keys
        self._is_loopback = config.is_loopback
        own = {_without_dot(host) for host in config.allowed_hosts}
        self._hosts = own | LOOPBACK if config.is_loopback else own
        self._keys = keys
        self._clock = clock
        self._known: dict[str, _Known] = {}

    async def caller(self, request: Request) -> Caller:
        """Who sends a request.

        Raises:
            Problem: no key where one is needed, or one that is unknown, expired or revoked.
            DatabaseUnavailable: keys cannot be looked up.
        """
        if not self._needs_keys:
            return ANYONE
        key = await self._verified(_secret(request.headers))
        return Caller(key.id, key.scopes)

    async def _verified(self, secret: str) -> Key:
        """The key of a secret: remembered for some seconds, for longer while there is no database."""
        digest, now = digest_of(secret), self._clock()
        known = self._known.get(digest)
        if known and known.is_good(now):
            self._keys.require_valid(known.key)  # it may have expired since
            return known.key
        if known:
            known.check_at = now + CACHE_S  # meanwhile, other requests need not look it up, too
        try:
            key = await run_in_threadpool(self._keys.verify, secret)
        except DatabaseUnavailable:
            if known is None or not known.is_within_grace(now):
                raise
            self._keys.require_valid(known.key)
            return known.key
        except Problem:
            self._known.pop(digest, None)
            raise
        recent = {each: found for each, found in self._known.items() if found.is_within_grace(now)}
        self._known = recent | {digest: _Known(key, now, now + CACHE_S)}
        return key

    def refusal(self, headers: Headers) -> Problem | None:
        """Why a request is refused by the names in its headers; None if it is not."""
        host = _name(headers.get("host", ""))
        if self._hosts and host not in self._hosts:
            return Problem(
                "forbidden",
                "The service is not reached under the name in the header Host.",
                hint="Allow the name with --allowed-host.",
            )
        if self._is_loopback and headers.get("sec-fetch-site") == "cross-site":
            return _other_site()
        origin = headers.get("origin")
        if origin is not None and not self._is_own(origin, host):
            return _other_site()
        return None

    def _is_own(self, origin: str, host: str) -> bool:
        """Whether a page is of this service: of a name of it that is allowed, or that was asked."""
        name = _name(origin.partition("://")[2])
        return name in self._hosts or (not self._is_loopback and name != "" and name == host)


def may(scope: Scope) -> Callable[[Request], Awaitable[Caller]]:
    """A dependency of routes: who asks, if that is somebody with the scope."""

    async def caller(request: Request) -> Caller:
        access: Access = request.app.state.service.access
        found = await access.caller(request)
        request.state.key = found.key_id  # for the log
        if not found.may(scope):
            raise Problem(
                "forbidden",
                f"The key has not the scope {scope!r}.",
                hint=f"Make one with: facetry keys create NAME --scope {scope}",
            )
        return found

    return caller


def _secret(headers: Headers) -> str:
    """The key in a request's headers.

    Raises:
        Problem: there is none.
    """
    kind, _, secret = headers.get("authorization", "").partition(" ")
    found = headers.get("x-api-key") or (secret if kind.lower() == "bearer" else "")
    if not found.strip():
        raise Problem(
            "unauthorized",
            "A key is needed.",
            hint="Send it in the header `Authorization: Bearer KEY`, or `X-API-Key: KEY`.",
        )
    return found.strip()


def _name(authority: str) -> str:
    """The host's name without its port; "" if it is malformed.

    >>> _name("[::1]:8000"), _name("Localhost."), _name("user@localhost")
    ('::1', 'localhost', '')
    """
    found = _AUTHORITY.fullmatch(authority)
    return _without_dot(found[1].strip("[]")) if found else ""


def _without_dot(name: str) -> str:
    return name.lower().removesuffix(".")


def _other_site() -> Problem:
    return Problem(
        "forbidden",
        "The request was sent by a page of another site.",
        hint="If the page is yours, allow its name with --allowed-host.",
    )
