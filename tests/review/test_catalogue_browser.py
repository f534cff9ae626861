"""A person filters, fixes and changes many cells of a catalogue in a real browser."""

import os
import re
from pathlib import Path
from typing import Any

import pytest

from tests.reports.conftest import browser
from tests.review.test_browser import listening

__all__ = ["browser"]

pytestmark = [pytest.mark.browser, pytest.mark.slow]

PICTURES = os.environ.get("FACETRY_TEST_PICTURES", "")  # a folder for whoever wants to look


def heading(page: Any, text: str) -> None:
    page.wait_for_function("text => document.querySelector('#grid-title').innerText === text", arg=text)


def change_all(page: Any, to: str) -> None:
    page.get_by_label("Change all of these to").select_option(to)
    page.get_by_role("button", name="Preview").click()
    page.locator(".preview form button").click()
    page.wait_for_selector("#changes .changes:not([hx-trigger]) button")


def test_cells_are_filtered_fixed_changed_together_and_taken_back(browser: Any, tmp_path: Path) -> None:
    with listening(tmp_path, 24) as address:
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        said: list[str] = []
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("console", lambda each: said.append(each.text) if each.type == "error" else None)
        page.goto(f"{address}/catalogue")
        page.get_by_label("State").select_option("blank")
        page.wait_for_url(re.compile("state=blank"))
        heading(page, "12 cells")

        page.get_by_role("button", name="Change colour of P0").focus()
        page.keyboard.press("Enter")
        page.wait_for_selector("#cell-0-0.edited")
        page.keyboard.press("Escape")
        page.wait_for_selector("#cell-0-0:not(.edited)")
        page.get_by_role("button", name="Change colour of P0").click()
        page.locator("#cell-0-0 select").select_option("red")
        page.locator("#cell-0-0 button[type=submit]").focus()
        page.keyboard.press("Enter")
        page.wait_for_selector("#cell-0-0 .from-people")
        page.get_by_role("button", name="History of colour of P0").click()
        page.wait_for_selector("#cell-0-0-history li")

        page.goto(f"{address}/catalogue?category=Sarees&attribute=colour&state=blank")
        heading(page, "11 cells")
        change_all(page, "not applicable")
        page.reload()
        heading(page, "0 cells")
        page.get_by_role("button", name="Take back").click()
        page.wait_for_selector("#changes .changes:not([hx-trigger]):has-text('taken back')")
        page.go_back()
        page.wait_for_url(re.compile(r"catalogue\?(?!category=Sarees)"))
        heading(page, "11 cells")
        page.close()
    assert said == []


@pytest.mark.parametrize(
    ("width", "scheme"), [(1280, "light"), (1280, "dark"), (390, "light"), (390, "dark")]
)
def test_the_page_can_be_read_and_used_by_all(
    browser: Any, tmp_path: Path, width: int, scheme: str
) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is not installed")
    with listening(tmp_path, 24) as address:
        context = browser.new_context(
            viewport={"width": width, "height": 844}, color_scheme=scheme, bypass_csp=True
        )
        page = context.new_page()
        page.goto(f"{address}/catalogue?category=Sarees&attribute=colour")
        page.get_by_role("button", name="Change colour of P0").click()
        page.wait_for_selector("#cell-0-0.edited")
        page.get_by_role("button", name="History of colour of P1", exact=True).click()
        page.wait_for_selector("#cell-1-0-history li")
        change_all(page, "what the model says")
        for name in ("filtered", "whole"):
            found = axe.Axe().run(page).response["violations"]
            assert [(each["id"], each["nodes"][0]["html"]) for each in found] == []
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            assert len(page.content()) < 200_000
            if PICTURES:
                path = f"{PICTURES}/catalogue_{name}_{width}_{scheme}.png"
                page.screenshot(path=path, full_page=True)
            page.goto(f"{address}/catalogue")
            page.wait_for_selector("#changes .changes")
        context.close()
