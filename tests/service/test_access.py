"""Who may ask: keys in headers, what is remembered of them, and names of hosts and pages."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated

import pytest
from fastapi import Depends, FastAPI, Request
from fastapi.responses import JSONResponse
from fastapi.testclient import TestClient
from sqlalchemy import make_url
from starlette.datastructures import Headers

from facetry.errors import DatabaseUnavailable
from facetry.service.access import Access, Caller, may
from facetry.service.config import ServiceConfig
from facetry.service.database import Database
from facetry.service.keys import Key, KeyStore, Scope
from facetry.service.problems import Problem


class FakeClock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class CountingKeys(KeyStore):
    """Keys, and how often one was looked up."""

    num_lookups = 0

    def verify(self, secret: str) -> Key:
        self.num_lookups += 1
        return super().verify(secret)


def make_config(host: str = "0.0.0.0", **settings: object) -> ServiceConfig:  # noqa: S104  # not bound
    return ServiceConfig.model_validate({"models": {"m": Path("m")}, "host": host, **settings})


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def database(sqlite_url: str) -> Iterator[Database]:
    opened = Database.open(sqlite_url, timeout_s=0.05)
    yield opened
    opened.close()


@pytest.fixture
def keys(database: Database, clock: FakeClock) -> CountingKeys:
    return CountingKeys(database, clock)


Ask = Callable[..., tuple[int, dict[str, object]]]


def asking(access: Access) -> Iterator[Ask]:
    """Asks an application with one path for each scope."""
    app = FastAPI()
    app.state.service = SimpleNamespace(access=access)

    for scope in ("predict", "review", "admin"):

        @app.get(f"/{scope}")
        async def answer(request: Request, caller: Annotated[Caller, Depends(may(scope))]) -> object:
            assert request.state.key == caller.key_id
            return {"key_id": caller.key_id}

    @app.exception_handler(Problem)
    async def refuse(_: Request, problem: Problem) -> JSONResponse:
        return JSONResponse({"reason": problem.reason, "message": problem.message}, problem.status)

    @app.exception_handler(DatabaseUnavailable)
    async def fail(_: Request, error: DatabaseUnavailable) -> JSONResponse:
        return JSONResponse({"reason": type(error).__name__}, 503)

    with TestClient(app) as client:

        def ask(
            secret: str = "", scope: str = "predict", **headers: str
        ) -> tuple[int, dict[str, object]]:
            if secret:
                headers["Authorization"] = f"Bearer {secret}"
            answer = client.get(f"/{scope}", headers=headers)
            return answer.status_code, answer.json()

        yield ask


@pytest.fixture
def ask(keys: KeyStore, clock: FakeClock) -> Iterator[Ask]:
    yield from asking(Access(make_config(), keys, clock))


@pytest.mark.parametrize(
    "form",
    [
        {"Authorization": "Bearer {}"},
        {"Authorization": "bearer  {} "},
        {"X-API-Key": "{}"},
        {"Authorization": "Basic cHJveHk6eA==", "X-API-Key": "{}"},
    ],
)
def test_a_key_is_taken_from_either_header(form: dict[str, str], ask: Ask, keys: KeyStore) -> None:
    key, secret = keys.create("shop", ["predict"])
    headers = {name: value.format(secret) for name, value in form.items()}
    assert ask(**headers) == (200, {"key_id": key.id})


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer"},
        {"Authorization": "Bearer "},
        {"Authorization": "Basic eDp5"},
        {"X-API-Key": ""},
    ],
)
def test_without_a_key_nobody_may_ask(headers: dict[str, str], ask: Ask, keys: CountingKeys) -> None:
    status, answer = ask(**headers)
    assert (status, answer["message"]) == (401, "A key is needed.")
    assert keys.num_lookups == 0


@pytest.mark.parametrize(
    ("scopes", "allowed"),
    [
        (["predict"], {"predict"}),
        (["review"], {"review"}),
        (["predict", "review"], {"predict", "review"}),
        (["admin"], {"predict", "review", "admin"}),
    ],
)
def test_a_key_may_do_what_its_scopes_say(
    scopes: list[Scope], allowed: set[str], ask: Ask, keys: KeyStore
) -> None:
    _, secret = keys.create("shop", scopes)
    for scope in ("predict", "review", "admin"):
        status, answer = ask(secret, scope)
        assert (status == 200) == (scope in allowed)
        assert status == 200 or (status, answer["reason"]) == (403, "forbidden")


@pytest.mark.parametrize(
    ("host", "settings", "status"),
    [
        ("127.0.0.1", {}, 200),
        ("::1", {}, 200),
        ("localhost", {"requires_keys": True}, 401),
        ("0.0.0.0", {}, 401),  # noqa: S104
        ("192.168.0.1", {}, 401),
    ],
)
def test_only_loopback_needs_no_keys(
    host: str, settings: dict[str, object], status: int, keys: KeyStore
) -> None:
    for ask in asking(Access(make_config(host, **settings), keys)):
        assert ask(scope="admin")[0] == status


def test_a_wrong_key_is_looked_up_each_time(ask: Ask, keys: CountingKeys) -> None:
    assert [ask("facetry_wrong")[0] for _ in range(3)] == [401] * 3
    assert keys.num_lookups == 3


def test_a_known_key_is_looked_up_once_in_some_seconds(
    ask: Ask, keys: CountingKeys, clock: FakeClock
) -> None:
    _, secret = keys.create("shop", ["predict"])
    for passed, num_lookups in [(0, 1), (4.9, 1), (0.2, 2), (4.9, 2), (1e6, 3), (-1e6, 3)]:
        clock.now += passed
        assert ask(secret)[0] == 200
        assert keys.num_lookups == num_lookups


def test_a_revoked_key_is_refused_after_some_seconds(
    ask: Ask, keys: CountingKeys, clock: FakeClock
) -> None:
    key, secret = keys.create("shop", ["predict"])
    assert ask(secret)[0] == 200
    keys.revoke(key.id)
    clock.now += 5
    assert ask(secret) == (401, {"reason": "unauthorized", "message": "The key is revoked."})


def test_a_key_that_expires_while_it_is_remembered_is_refused_at_once(
    ask: Ask, keys: CountingKeys, clock: FakeClock
) -> None:
    _, secret = keys.create("shop", ["predict"], expires_at=clock.now + 1)
    assert ask(secret)[0] == 200
    clock.now += 1
    assert ask(secret) == (401, {"reason": "unauthorized", "message": "The key is expired."})
    assert keys.num_lookups == 1


def test_known_keys_go_on_for_a_minute_without_the_database(
    ask: Ask, keys: CountingKeys, clock: FakeClock, sqlite_url: str
) -> None:
    _, known = keys.create("known", ["predict"])
    _, new = keys.create("new", ["predict"])
    assert ask(known)[0] == 200
    file = Path(make_url(sqlite_url).database or "")
    gone = file.rename(file.with_name("gone.db"))
    assert ask(new) == (503, {"reason": "DatabaseUnavailable"})
    clock.now += 30
    assert [ask(known)[0] for _ in range(3)] == [200] * 3
    assert keys.num_lookups == 3, "tried again once for all three"
    clock.now += 30
    assert ask(known)[0] == 503
    gone.rename(file)
    assert [ask(known)[0], ask(new)[0]] == [200, 200]


def test_what_is_remembered_is_forgotten_again(keys: KeyStore, clock: FakeClock) -> None:
    access = Access(make_config(), keys, clock)
    for ask in asking(access):
        for _ in range(5):
            _, secret = keys.create("shop", ["predict"])
            assert ask(secret)[0] == 200
            clock.now += 59
    assert len(access._known) == 2
    assert not any("facetry_" in known for known in access._known)


LOOPBACK = make_config("127.0.0.1")
PROXIED = make_config("127.0.0.1", allowed_hosts=["shop.example"])
OPEN = make_config()
NAMED = make_config(allowed_hosts=["Shop.example."])


@pytest.mark.parametrize(
    ("config", "headers", "is_refused"),
    [
        (LOOPBACK, {"host": "127.0.0.1:8000"}, False),
        (LOOPBACK, {"host": "localhost"}, False),
        (LOOPBACK, {"host": "LOCALHOST.:1"}, False),
        (LOOPBACK, {"host": "[::1]:8000"}, False),
        (LOOPBACK, {"host": "evil.example:8000"}, True),
        (LOOPBACK, {"host": "localhost.evil.example"}, True),
        (LOOPBACK, {"host": "127.0.0.1.evil.example"}, True),
        (LOOPBACK, {"host": "localhost@evil.example"}, True),
        (LOOPBACK, {"host": "shop.example"}, True),
        (LOOPBACK, {"host": ""}, True),
        (LOOPBACK, {}, True),
        (LOOPBACK, {"host": "localhost:8000", "origin": "http://localhost:8000"}, False),
        (LOOPBACK, {"host": "localhost:8000", "origin": "http://127.0.0.1:3000"}, False),
        (LOOPBACK, {"host": "localhost:8000", "origin": "https://evil.example"}, True),
        (LOOPBACK, {"host": "localhost:8000", "origin": "http://localhost.evil.example"}, True),
        (LOOPBACK, {"host": "localhost:8000", "origin": "null"}, True),
        (LOOPBACK, {"host": "localhost:8000", "origin": ""}, True),
        (LOOPBACK, {"host": "localhost:8000", "origin": "http://"}, True),
        (LOOPBACK, {"host": "localhost", "sec-fetch-site": "cross-site"}, True),
        (LOOPBACK, {"host": "localhost", "sec-fetch-site": "same-origin"}, False),
        (LOOPBACK, {"host": "localhost", "sec-fetch-site": "none"}, False),
        (PROXIED, {"host": "shop.example"}, False),
        (PROXIED, {"host": "localhost:8000", "origin": "https://shop.example"}, False),
        (PROXIED, {"host": "localhost:8000", "origin": "https://evil.example"}, True),
        (PROXIED, {"host": "evil.example"}, True),
        (OPEN, {"host": "10.0.0.7:8000"}, False),
        (OPEN, {}, False),
        (OPEN, {"host": "10.0.0.7:8000", "origin": "http://10.0.0.7:8000"}, False),
        (OPEN, {"host": "shop.example", "origin": "https://SHOP.example"}, False),
        (OPEN, {"host": "shop.example", "origin": "https://evil.example"}, True),
        (OPEN, {"host": "shop.example", "origin": "null"}, True),
        (OPEN, {"origin": "null"}, True),
        (NAMED, {"host": "shop.example:443"}, False),
        (NAMED, {"host": "10.0.0.7:8000"}, True),
        (NAMED, {"host": "localhost"}, True),
        (NAMED, {"host": "shop.example", "origin": "https://shop.example"}, False),
        (NAMED, {"host": "shop.example", "origin": "https://localhost"}, True),
    ],
)
def test_only_the_service_s_own_names_are_let_in(
    config: ServiceConfig, headers: Mapping[str, str], is_refused: bool, keys: KeyStore
) -> None:
    refusal = Access(config, keys).refusal(Headers(headers))
    assert (refusal is not None) == is_refused
    assert refusal is None or (refusal.status, "evil" in refusal.message) == (403, False)
