"""From the command to decisions and to the file, in a real browser: a real model on a drawn shop."""

import shutil
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tests.reports.conftest import browser
from tests.review.command import review_of
from tests.review.test_browser import row_of, wait_for_another, wait_until_stored

__all__ = ["browser"]

pytestmark = [pytest.mark.browser, pytest.mark.slow]

NUM_DECIDED = 20


def decide(page: Any, number: int) -> dict[tuple[str, str], str]:
    """Decide a product by its digits: what was chosen, by the product's id and the attribute."""
    row, chosen = row_of(page), {}
    product = page.locator("article:not([hidden]) h1").inner_text()
    num_cells = page.locator(f"article[data-row='{row}'] .cell").count()
    for _ in range(num_cells):
        cell = page.locator("article:not([hidden]) .cell.current")
        values = cell.locator("[data-kind=value]")
        at = number % min(2, values.count())
        attribute = cell.locator("legend").inner_text()
        chosen[product, attribute] = values.nth(at).get_attribute("data-value")
        page.wait_for_timeout(120)  # the same key sooner counts as one press
        page.keyboard.press(str(at + 1))
    wait_for_another(page, row)
    return chosen


def parquet_of(page: Any, address: str) -> pl.DataFrame:
    """The cells as the export has them."""
    page.goto(f"{address}/export")
    page.click("#export-cells button")
    with page.expect_download() as downloaded:
        page.click("#export-cells .files a")
    return pl.read_parquet(downloaded.value.path())


def test_twenty_products_from_the_command_to_the_file(
    browser: Any, exported: Path, drawn: Path, tmp_path: Path
) -> None:
    shop = Path(shutil.copytree(drawn, tmp_path / "shop"))
    decided: dict[tuple[str, str], str] = {}
    words = (str(exported), str(shop), "--data", str(tmp_path / "data"), "--threads", "1")
    with review_of(*words) as address:
        context = browser.new_context(viewport={"width": 1280, "height": 900})
        page = context.new_page()
        errors: list[str] = []
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(address)
        for number in range(NUM_DECIDED):
            decided |= decide(page, number)
            if number == NUM_DECIDED // 2:
                wait_until_stored(page)
                page.reload()
        wait_until_stored(page)
        cells = parquet_of(page, address)
        assert errors == []
        context.close()
    # The same command goes on: what was decided is still there, and the file says the same.
    with review_of(*words) as address:
        context = browser.new_context(viewport={"width": 390, "height": 844}, color_scheme="dark")
        page = context.new_page()
        page.goto(address)
        again = parquet_of(page, address)
        context.close()
    by_people = cells.filter(pl.col("source") == "person").select("id", "attribute", "value")
    found = {(str(id_), attribute): value for id_, attribute, value in by_people.iter_rows()}
    # What waits for a second person is not decided yet.
    assert found.items() <= decided.items()
    assert len(found) > 0.8 * len(decided)
    assert again.equals(cells)
