"""The shop's own file goes out and comes back, in a real browser, and says then what was decided."""

from pathlib import Path
from typing import Any

import openpyxl
import pytest

from tests.reports.conftest import browser
from tests.review.shop import write_shop
from tests.review.test_browser import listening
from tests.review.transfer import as_xlsx

__all__ = ["browser"]

pytestmark = [pytest.mark.browser, pytest.mark.slow]


def export(page: Any, address: str, to: Path) -> list[str | None]:
    """Make the shop's own file and download it; returns the colours in it."""
    page.goto(f"{address}/export")
    num_before = page.locator("#export-table .files a").count()
    page.click("#export-table button")
    page.locator("#export-table .files a").nth(num_before).wait_for()
    with page.expect_download() as downloaded:
        page.locator("#export-table .files a").first.click()
    downloaded.value.save_as(to)
    sheet = openpyxl.load_workbook(to).worksheets[0]
    return [sheet.cell(row, 4).value for row in range(2, sheet.max_row + 1)]


def decide(page: Any, address: str) -> tuple[int, str]:
    """Decide the product that is on the screen; returns its row, and the other value."""
    page.goto(address)
    chosen = page.locator("article:not([hidden]) [data-kind=value]").first.get_attribute("data-value")
    row = page.locator("article.product:not([hidden])").get_attribute("data-row")
    page.keyboard.press("1")
    page.wait_for_function(
        "row => document.querySelector('article.product:not([hidden])')?.dataset.row !== row", arg=row
    )
    page.wait_for_selector("body:not([data-sending])")
    return int(row), "red" if chosen == "blue" else "blue"


def test_a_workbook_goes_out_and_comes_back(browser: Any, tmp_path: Path) -> None:
    as_xlsx(write_shop(tmp_path / "shop", 12))
    with listening(tmp_path, 12) as address:
        page = browser.new_page(viewport={"width": 1280, "height": 900}, accept_downloads=True)
        errors: list[str] = []
        page.on("pageerror", lambda error: errors.append(str(error)))
        before = export(page, address, tmp_path / "out.xlsx")
        row, value = decide(page, address)
        other = next(each for each in range(0, 12, 2) if each != row)
        book = openpyxl.load_workbook(tmp_path / "out.xlsx")
        book.worksheets[0].cell(row + 2, 4).value = value
        book.worksheets[0].cell(other + 2, 4).value = "red"
        book.save(tmp_path / "back.xlsx")
        page.goto(f"{address}/import")
        page.set_input_files("#file", tmp_path / "back.xlsx")
        page.click("form.send button")
        page.wait_for_url("**/imports/*")
        page.wait_for_selector("dl.tally")
        mine = page.locator("table.cells tbody tr").first.inner_text()
        assert f"P{row}" in mine
        page.check("input[name=pick]")
        page.click("p.apply button")
        page.wait_for_selector("text=There is nothing to apply.")
        after = export(page, address, tmp_path / "again.xlsx")
        page.close()
    expected = [*before]
    expected[row], expected[other] = value, "red"
    assert after == expected
    assert errors == []


@pytest.mark.parametrize(
    ("width", "scheme"), [(1280, "light"), (1280, "dark"), (390, "light"), (390, "dark")]
)
def test_the_pages_can_be_read_and_used_by_all(
    browser: Any, tmp_path: Path, width: int, scheme: str
) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is not installed")
    as_xlsx(write_shop(tmp_path / "shop", 12))
    with listening(tmp_path, 12) as address:
        context = browser.new_context(
            viewport={"width": width, "height": 844}, color_scheme=scheme, bypass_csp=True
        )
        page = context.new_page()
        export(page, address, tmp_path / "out.xlsx")
        change(tmp_path / "out.xlsx", *decide(page, address))
        for path in ("export", "import", "sent"):
            if path == "sent":
                page.set_input_files("#file", tmp_path / "out.xlsx")
                page.click("form.send button")
                page.wait_for_selector("dl.tally")
            else:
                page.goto(f"{address}/{path}")
            found = axe.Axe().run(page).response["violations"]
            assert [(each["id"], each["impact"]) for each in found] == []
            assert page.evaluate("document.documentElement.scrollWidth") <= width
        context.close()


def change(path: Path, row: int, value: str) -> None:
    """Change cells of a workbook: a conflict, a change, a value that is not listed, a blank one."""
    book = openpyxl.load_workbook(path)
    sheet = book.worksheets[0]
    other = next(each for each in range(0, 12, 2) if each != row)
    for number, text in {row: value, other: "red", 1: "\u05d0\u05d3\u05d5\u05dd", 3: None}.items():
        sheet.cell(number + 2, 4).value = text
    book.save(path)
