"""A photo is tried in a real browser: shown, answered, and refused without losing what was chosen."""

from pathlib import Path
from typing import Any

import pytest

from tests.reports.conftest import browser
from tests.review.test_browser import listening
from tests.service.fakes import photo

__all__ = ["browser"]

pytestmark = [pytest.mark.browser, pytest.mark.slow]


def test_photos_are_shown_answered_and_refused(browser: Any, tmp_path: Path) -> None:
    red, text = tmp_path / "red.jpg", tmp_path / "text.jpg"
    red.write_bytes(photo("red", size=(80, 100)))
    text.write_text("no photo")
    with listening(tmp_path, 8) as address:
        page = browser.new_page()
        errors: list[str] = []
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda message: errors.append(message.text))
        page.goto(f"{address}/try")
        page.set_input_files("#photo", str(red))
        page.wait_for_selector("#chosen canvas")
        page.get_by_label("Category").select_option("Sarees")
        page.wait_for_selector(".tried")
        assert page.locator(".tried strong").first.inner_text() == "red"
        page.set_input_files("#photo", [str(text)])
        page.wait_for_selector("#answer .refusal")
        assert "text.jpg" in page.locator("#chosen").inner_text()
        page.close()
    assert errors == []


@pytest.mark.parametrize(
    ("width", "scheme"), [(1280, "light"), (1280, "dark"), (390, "light"), (390, "dark")]
)
def test_the_page_can_be_read_and_used_by_all(
    browser: Any, tmp_path: Path, width: int, scheme: str
) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is not installed")
    red = tmp_path / "red.jpg"
    red.write_bytes(photo("red"))
    with listening(tmp_path, 8) as address:
        context = browser.new_context(
            viewport={"width": width, "height": 844}, color_scheme=scheme, bypass_csp=True
        )
        page = context.new_page()
        page.goto(f"{address}/try?category=Sarees")
        page.set_input_files("#photo", str(red))
        page.wait_for_selector(".tried")
        found = axe.Axe().run(page).response["violations"]
        assert [(each["id"], each["impact"]) for each in found] == []
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        context.close()
