"""Who decides: a person's API key, exchanged for a cookie; where no keys are needed, whoever sits there.

The cookie holds the key's id and when it ends, signed with a secret of the service's own. It is never
sent along with requests from other sites (SameSite), and pages send its token in a header as well.
"""

import hmac
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Final

from facetry.runtime.files import writing
from facetry.service.access import Caller
from facetry.service.database import Clock
from facetry.service.keys import KeyStore
from facetry.service.problems import Problem

COOKIE: Final = "facetry_person"
TOKEN_HEADER: Final = "X-Facetry-Token"  # noqa: S105  # the header's name
SESSION_S: Final = 12 * 3600.0

LOCAL: Final = "local"
"""Who decides where no keys are needed."""


@dataclass(frozen=True, kw_only=True)
class Person:
    """Who decides; `token` has to come back in a header with everything that changes something."""

    id: str
    name: str
    may_rule: bool
    token: str


class People:
    """Tells people by their cookies."""

    def __init__(self, keys: KeyStore, secret: bytes, clock: Clock, *, needs_keys: bool) -> None:
        self._keys = keys
        self._secret = secret
        self._clock = clock
        self.needs_keys = needs_keys

    def sign_in(self, secret: str) -> str:
        """The cookie for an API key.

        Raises:
            Problem: the key is not valid, or not for reviews.
        """
        key = self._keys.verify(secret.strip())
        if not Caller(key.id, key.scopes).may("review"):
            raise Problem("forbidden", "The key has not the scope 'review'.")
        content = f"{key.id}.{round(self._clock() + SESSION_S)}"
        return f"{content}.{self._signed(content)}"

    def person(self, cookies: Mapping[str, str]) -> Person:
        """Who a request is from.

        Raises:
            Problem: no cookie where one is needed, or one that has ended or is of a key that has.
        """
        if not self.needs_keys:
            return Person(id=LOCAL, name="you", may_rule=True, token=self._token(LOCAL))
        content, _, signature = cookies.get(COOKIE, "").rpartition(".")
        key_id, _, until = content.rpartition(".")
        is_signed = hmac.compare_digest(signature.encode(), self._signed(content).encode())
        if not content or not is_signed or float(until) < self._clock():
            raise Problem("unauthorized", "You are not signed in, or no longer.", hint="Sign in again.")
        key = self._keys.find(key_id)
        if key is None:
            raise Problem("unauthorized", "Your key does not exist any more.")
        self._keys.require_valid(key)
        may_rule = Caller(key.id, key.scopes).may("admin")
        return Person(id=key.id, name=key.name, may_rule=may_rule, token=self._token(content))

    def names(self) -> dict[str, str]:
        """The names of all who can have decided something, by their ids."""
        return {LOCAL: LOCAL, **{each.id: each.name for each in self._keys.all()}}

    def require_token(self, person: Person, given: str | None) -> None:
        """Refuse a change that does not come from a page of ours.

        Raises:
            Problem: the token is not the person's.
        """
        if not hmac.compare_digest((given or "").encode(), person.token.encode()):
            raise Problem("forbidden", "The request does not come from this page.", hint="Reload it.")

    def _token(self, content: str) -> str:
        """What pages show in place of the signature of a cookie, which nobody may read."""
        return self._signed(f"token {content}")

    def _signed(self, content: str) -> str:
        return hmac.new(self._secret, content.encode(), sha256).hexdigest()[:32]


def session_secret(data: Path) -> bytes:
    """The secret that cookies are signed with; made once, for its owner to read alone."""
    file = data / "session.secret"
    if not file.exists():
        with writing(file) as draft:
            draft.touch(mode=0o600)
            draft.write_bytes(secrets.token_bytes(32))
    return file.read_bytes()
