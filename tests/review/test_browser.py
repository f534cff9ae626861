"""A person works the queue by keyboard, in a real browser; what they decided is in the file."""

import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from facetry.review.pages import ReviewPages
from facetry.service.database import Database
from facetry.service.keys import KeyStore
from facetry.service.server import bind, make_server
from facetry.service.state import make_service
from tests.reports.conftest import browser
from tests.review.shop import write_shop
from tests.service.fakes import FakePredictor, service_config
from tests.service.serving import fake_load, wait_until

__all__ = ["browser"]

pytestmark = [pytest.mark.browser, pytest.mark.slow]


@contextmanager
def listening(tmp_path: Path, num_products: int, **changes: object) -> Iterator[str]:
    """The address of a review's page, once it is made."""
    shop = tmp_path / "shop"
    if not shop.exists():
        write_shop(shop, num_products)
    shown: list[str] = []
    service = make_service(service_config(tmp_path / "data", **changes), fake_load(FakePredictor()))
    server = make_server(service, extension=ReviewPages(shop, show=shown.append))
    with closing(bind("127.0.0.1", 0)) as own:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [own]}, daemon=True)
        thread.start()
        try:
            wait_until(lambda: bool(shown), 30)
            yield shown[0]
        finally:
            server.should_exit = True
            thread.join(20)


def row_of(page: Any) -> str:
    return str(page.locator("article.product:not([hidden])").get_attribute("data-row"))


def wait_for_another(page: Any, row: str) -> None:
    page.wait_for_function(
        "row => document.querySelector('article.product:not([hidden])')?.dataset.row !== row", arg=row
    )


def wait_until_stored(page: Any) -> None:
    page.wait_for_selector("body:not([data-sending])")


def test_twenty_products_by_keyboard_with_undo_and_reload(browser: Any, tmp_path: Path) -> None:
    with listening(tmp_path, 60) as address:
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        errors: list[str] = []
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda message: errors.append(message.text))
        page.goto(address)
        decided: dict[str, str] = {}
        for number in range(20):
            row = row_of(page)
            value = page.locator("article:not([hidden]) [data-kind=value]").nth(number % 2)
            decided[row] = value.get_attribute("data-value")
            page.keyboard.press(str(number % 2 + 1))
            wait_for_another(page, row)
            if number == 9:
                wait_until_stored(page)
                page.reload()
        last = list(decided)[-1]
        page.keyboard.press("u")
        page.wait_for_selector(f"article[data-row='{last}']:not([hidden])")
        page.keyboard.press("n")
        wait_for_another(page, last)
        del decided[last]
        wait_until_stored(page)
        page.goto(f"{address}/export")
        page.click("#export-table button")
        with page.expect_download() as downloaded:
            page.click("#export-table .files a")
        text = downloaded.value.path().read_text(encoding="utf-8")
        page.close()
    lines = [line.split(",") for line in text.splitlines()[1:]]
    filled = {str(index): line[3] for index, line in enumerate(lines) if index % 2 == 0 and line[3]}
    assert filled == decided
    assert errors == []


def test_one_signs_in_with_a_key_and_is_asked(browser: Any, tmp_path: Path) -> None:
    with listening(tmp_path, 8, requires_keys=True) as address:
        with closing(Database.open(f"sqlite:///{tmp_path / 'data' / 'facetry.db'}")) as database:
            _, secret = KeyStore(database).create("anna", ["review"])
        context = browser.new_context()
        page = context.new_page()
        page.goto(address)
        page.get_by_label("Key").fill(secret)
        page.keyboard.press("Enter")
        page.wait_for_url(address)
        assert row_of(page)
        context.close()


@pytest.mark.parametrize(
    ("width", "scheme"), [(1280, "light"), (1280, "dark"), (390, "light"), (390, "dark")]
)
def test_the_page_can_be_read_and_used_by_all(
    browser: Any, tmp_path: Path, width: int, scheme: str
) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is not installed")
    with listening(tmp_path, 8) as address:
        context = browser.new_context(
            viewport={"width": width, "height": 844}, color_scheme=scheme, bypass_csp=True
        )
        page = context.new_page()
        for path in ("", "/..", "/values", "/../sign-in"):
            page.goto(address + path)
            found = axe.Axe().run(page).response["violations"]
            assert [(each["id"], each["impact"]) for each in found] == []
            assert page.evaluate("document.documentElement.scrollWidth") <= width
        context.close()
