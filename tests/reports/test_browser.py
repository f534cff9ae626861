"""A report in a real browser: filtered, sorted by keyboard, its photos enlarged."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from facetry.evaluation.metrics import score_predictions
from facetry.evaluation.report import ReportContent, write_report
from facetry.predictions import Predictions
from facetry.product import Product
from facetry.taxonomy import Taxonomy

pytestmark = pytest.mark.browser

CARD = "#photos li.card"


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten shirts and ten skirts, every second one's colour answered wrongly, less and less surely."""
    folder = tmp_path_factory.mktemp("report")
    taxonomy = Taxonomy.of(
        {each: {"color": ["blue", "red"], "length": ["long", "short"]} for each in ("Shirts", "Skirts")}
    )
    products = []
    for index in range(20):
        path = folder / f"{index}.png"
        Image.new("RGB", (60, 80), (12 * index, 90, 120)).save(path)
        labels = {"color": ("red", "blue")[index % 2], "length": "long"}
        category = taxonomy.categories[index // 10]
        products.append(Product(id=100 + index, category=category, photos=(path,), labels=labels))
    probabilities = np.empty((20, 2, 2), np.float32)
    probabilities[:, 0, 1] = np.linspace(0.99, 0.6, 20)  # of red
    probabilities[:, 1, 1] = np.linspace(0.05, 0.45, 20)  # of short
    probabilities[:, :, 0] = 1 - probabilities[:, :, 1]
    predictions = Predictions.of(taxonomy, products, probabilities)
    scores = score_predictions(predictions, products, num_resamples=2)
    content = ReportContent(title="A report", scores=scores, predictions=predictions, products=products)
    write_report(folder / "report.html", content)
    return folder / "report.html"


@pytest.fixture
def page(browser: Any, report: Path) -> Iterator[Any]:
    """The report, which may load nothing and has no error."""
    opened = browser.new_page(reduced_motion="reduce")
    errors: list[str] = []
    opened.on("pageerror", lambda error: errors.append(str(error)))
    opened.on("request", lambda request: errors.append(request.url))
    opened.goto(report.as_uri())
    yield opened
    opened.close()
    assert [each for each in errors if not each.startswith(("data:", "file:"))] == []


def shown(page: Any, selector: str = CARD) -> list[str]:
    """The first words of the items that are shown."""
    found = page.locator(f"{selector}:visible")
    return [text.split()[0] for text in found.all_inner_texts()]


def test_cards_are_filtered_by_what_they_show(page: Any) -> None:
    photos = page.locator("#photos")
    num_all = len(shown(page))
    assert num_all > 8
    photos.get_by_label("Category").select_option("Skirts")
    assert {int(each) >= 110 for each in shown(page)} == {True}
    photos.get_by_label("Answer").select_option("not as labelled")
    assert {int(each) % 2 for each in shown(page)} == {1}
    photos.get_by_label("Search").fill("113")
    assert shown(page) == ["113"]
    assert photos.locator("output.count").inner_text().startswith("1 of ")
    assert photos.get_by_role("heading", name="Shirts").is_hidden()
    photos.get_by_role("button", name="Clear").click()
    page.wait_for_function(  # a function: text to evaluate is refused by the page's policy
        "([card, count]) => document.querySelectorAll(`${card}:not([hidden])`).length === count",
        arg=[CARD, num_all],
    )


def test_a_least_confidence_is_set_by_keyboard(page: Any) -> None:
    wrong = page.locator("#wrong")
    wrong.get_by_role("slider").focus()
    for _ in range(17):
        page.keyboard.press("ArrowRight")
    assert shown(page, "#wrong tbody tr") == ["101", "103", "105"]
    assert wrong.get_by_role("slider").get_attribute("aria-valuetext") == "85% and more"


def test_a_table_is_sorted_by_keyboard(page: Any) -> None:
    heading = page.locator("#wrong th", has_text="Confidence")
    assert heading.get_attribute("aria-sort") == "none"
    heading.get_by_role("button").focus()
    page.keyboard.press("Enter")
    assert heading.get_attribute("aria-sort") == "descending"
    assert shown(page, "#wrong tbody tr")[0] == "101"
    page.keyboard.press("Space")
    assert heading.get_attribute("aria-sort") == "ascending"
    assert shown(page, "#wrong tbody tr")[0] == "119"
    assert page.locator("#wrong th[aria-sort=none]").count() == 4


def test_photos_are_enlarged_and_leafed_through_by_keyboard(page: Any) -> None:
    photos = page.locator(f"{CARD} img")
    dialog = page.get_by_role("dialog")
    large = dialog.locator("figure > img")
    photos.first.focus()
    page.keyboard.press("Enter")
    first, second = shown(page)[:2]
    assert large.get_attribute("alt") == f"Photo of product {first}"
    assert "color" in dialog.inner_text()
    page.keyboard.press("ArrowRight")
    assert large.get_attribute("alt") == f"Photo of product {second}"
    page.keyboard.press("Escape")
    assert dialog.count() == 0
    assert photos.nth(1).evaluate("photo => photo === document.activeElement")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_needs_no_scrolling_sideways(browser: Any, report: Path, scheme: str) -> None:
    phone = browser.new_page(viewport={"width": 390, "height": 844}, color_scheme=scheme)
    phone.goto(report.as_uri())
    for each in phone.locator("summary").all():
        each.evaluate("summary => { summary.parentElement.open = true; }")
    assert phone.evaluate("document.documentElement.scrollWidth") == 390
    phone.close()
