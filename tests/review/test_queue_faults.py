"""What goes wrong while people decide, in a real browser: nothing is lost, and nothing counts twice."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from facetry.service.config import embedded_database, sqlite_url
from facetry.service.database import Database
from facetry.service.keys import KeyStore
from tests.reports.conftest import browser
from tests.review.test_browser import listening, row_of, wait_for_another, wait_until_stored

__all__ = ["browser"]

pytestmark = [pytest.mark.browser, pytest.mark.slow]

SEEN = "() => document.dispatchEvent(new Event('visibilitychange'))"


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    """A tab that has had no error in it when it is closed."""
    errors: list[str] = []
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    opened = context.new_page()
    opened.on("pageerror", lambda error: errors.append(str(error)))
    yield opened
    context.close()
    assert errors == []


def query(tmp_path: Path, sql: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(embedded_database(tmp_path / "data"), timeout=10)) as connection:
        rows = connection.execute(sql).fetchall()
        connection.commit()
        return rows


def decided(tmp_path: Path) -> list[tuple[Any, ...]]:
    return query(
        tmp_path, "select row, decided from review_cells where decided is not null order by row"
    )


def status_of(page: Any) -> str:
    return str(page.locator("#status").inner_text())


def test_a_photo_that_vanished_says_so_and_the_page_goes_on(page: Any, tmp_path: Path) -> None:
    with listening(tmp_path, 8) as address:
        for photo in (tmp_path / "shop" / "images").glob("*.jpg"):
            photo.unlink()
        page.goto(address)
        page.wait_for_selector("article:not([hidden]) figure .refusal")
        row = row_of(page)
        page.keyboard.press("1")
        wait_for_another(page, row)
        wait_until_stored(page)
        assert [each for each, _ in decided(tmp_path)] == [int(row)]


def test_a_tab_shows_nothing_that_another_tab_has_decided(page: Any, tmp_path: Path) -> None:
    with listening(tmp_path, 12) as address:
        other = page.context.new_page()
        page.goto(address)
        other.goto(address)
        assert row_of(page) == row_of(other)
        row = row_of(page)
        page.keyboard.press("1")
        wait_for_another(page, row)
        wait_until_stored(page)
        other.evaluate(SEEN)
        wait_for_another(other, row)
        assert "decided elsewhere" in status_of(other)
        assert len(decided(tmp_path)) == 1


def test_the_back_button_shows_no_product_that_is_decided(page: Any, tmp_path: Path) -> None:
    with listening(tmp_path, 12) as address:
        page.goto(address)
        row = row_of(page)
        page.keyboard.press("1")
        wait_for_another(page, row)
        wait_until_stored(page)
        page.goto(f"{address}/catalogue")
        page.go_back()
        page.wait_for_selector("article:not([hidden])")
        assert row_of(page) != row


def test_a_key_that_is_pressed_twice_or_held_decides_one_product(page: Any, tmp_path: Path) -> None:
    with listening(tmp_path, 12) as address:
        page.goto(address)
        first = row_of(page)
        page.evaluate(
            "() => { for (const _ of [1, 2]) document.body.dispatchEvent("
            "new KeyboardEvent('keydown', { key: '1', bubbles: true, cancelable: true })); }"
        )
        wait_for_another(page, first)
        wait_until_stored(page)
        assert len(decided(tmp_path)) == 1
        page.wait_for_timeout(150)
        second = row_of(page)
        for _ in range(4):
            page.keyboard.down("1")
        page.keyboard.up("1")
        wait_for_another(page, second)
        wait_until_stored(page)
        assert len(decided(tmp_path)) == 2


def test_answers_wait_while_the_server_is_away(page: Any, tmp_path: Path) -> None:
    with listening(tmp_path, 12) as address:
        page.goto(address)
        row = row_of(page)
        page.context.set_offline(True)
        page.keyboard.press("1")
        wait_for_another(page, row)
        page.wait_for_selector("#status:has-text('kept')")
        assert decided(tmp_path) == []
        page.context.set_offline(False)
        wait_until_stored(page)
        assert [each for each, _ in decided(tmp_path)] == [int(row)]
        assert status_of(page) == ""


def sign_in(page: Any, secret: str) -> None:
    page.fill("#key", secret)
    page.keyboard.press("Enter")
    page.wait_for_selector("#queue")


def keys_of(tmp_path: Path, *names: str) -> list[str]:
    with closing(Database.open(sqlite_url(embedded_database(tmp_path / "data")))) as database:
        return [KeyStore(database).create(name, ["review"])[1] for name in names]


def test_a_session_that_ends_loses_no_answer(page: Any, tmp_path: Path) -> None:
    with listening(tmp_path, 12, requires_keys=True) as address:
        (anna,) = keys_of(tmp_path, "anna")
        page.goto(address)
        sign_in(page, anna)
        rows = []
        page.context.clear_cookies()
        for key in "12":
            rows.append(int(row_of(page)))
            page.keyboard.press(key)
            wait_for_another(page, str(rows[-1]))
        page.wait_for_selector("#status a")
        assert "2 answers are kept" in status_of(page)
        assert decided(tmp_path) == []
        page.click("#status a")
        sign_in(page, anna)
        wait_until_stored(page)
        assert [row for row, _ in decided(tmp_path)] == sorted(rows)


def test_a_value_that_is_no_longer_one_is_not_stored(page: Any, tmp_path: Path) -> None:
    added = "insert into review_values select id, 0, 'teal', 'x', 1, 'added', null from reviews"
    with listening(tmp_path, 8) as address:
        query(tmp_path, added)
        page.goto(address)
        row = row_of(page)
        query(tmp_path, "delete from review_values")
        page.click("article:not([hidden]) [data-value=teal]")
        page.wait_for_selector("#status:has-text('no longer')")
        page.wait_for_selector(f"article[data-row='{row}']", state="attached")
        assert page.locator(f"article[data-row='{row}'] [data-value=teal]").count() == 0
        assert decided(tmp_path) == []


def test_an_empty_queue_shows_work_that_comes(page: Any, tmp_path: Path) -> None:
    with listening(tmp_path, 2) as address:
        page.goto(address)
        page.keyboard.press("1")
        page.wait_for_selector("#empty:not([hidden])")
        wait_until_stored(page)
        query(tmp_path, "update review_events set undone_at = 1")
        query(tmp_path, "update review_cells set is_open = 1, decided = null where row = 0")
        page.evaluate(SEEN)
        page.wait_for_selector("article[data-row='0']:not([hidden])")
        assert page.locator("#empty").is_hidden()


def test_two_people_decide_forty_products_and_none_twice(browser: Any, tmp_path: Path) -> None:
    said: dict[str, str] = {}
    with listening(tmp_path, 80, requires_keys=True) as address:
        pages = []
        for secret in keys_of(tmp_path, "anna", "ben"):
            opened = browser.new_context().new_page()
            opened.goto(address)
            sign_in(opened, secret)
            pages.append(opened)
        for number in range(40):
            shown = pages[number % 2]
            row = row_of(shown)
            assert row not in said
            key = str(number // 2 % 2 + 1)
            button = shown.locator("article:not([hidden]) [data-kind=value]").nth(int(key) - 1)
            said[row] = str(button.get_attribute("data-value"))
            shown.keyboard.press(key)
            wait_until_stored(shown)
        for opened in pages:
            opened.wait_for_selector("#empty:not([hidden])")
            opened.context.close()
        assert len(said) == 40
        assert {str(row): value for row, value in decided(tmp_path)} == said
        assert query(tmp_path, "select count(*) from review_events") == [(40,)]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_twenty_products_by_thumb(browser: Any, tmp_path: Path, scheme: str) -> None:
    with listening(tmp_path, 42) as address:
        context = browser.new_context(
            viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True, color_scheme=scheme
        )
        phone = context.new_page()
        phone.goto(address)
        for _ in range(20):
            row = row_of(phone)
            phone.tap("article:not([hidden]) [data-kind=value]")
            wait_for_another(phone, row)
            phone.wait_for_timeout(190)  # sooner than that it is a double tap
        wait_until_stored(phone)
        assert len(decided(tmp_path)) == 20
        bar = phone.locator(".acts").bounding_box()
        assert bar["y"] + bar["height"] <= 845
        assert bar["y"] > 700
        context.close()


@pytest.mark.parametrize("key", ["t", "/"])
def test_enter_in_the_dialog_decides_one_cell_alone(page: Any, tmp_path: Path, key: str) -> None:
    with listening(tmp_path, 8) as address:
        page.goto(address)
        row, left = row_of(page), int(page.locator("#left").inner_text())
        page.keyboard.press(key)
        page.wait_for_selector("#ask[open]")
        page.keyboard.type("teal" if key == "t" else "red")
        page.keyboard.press("Enter")
        wait_for_another(page, row)
        wait_until_stored(page)
        page.wait_for_timeout(200)
        assert query(tmp_path, "select row, head from review_events") == [(int(row), 0)]
        assert int(page.locator("#left").inner_text()) == left - 1
