"""The report is one file that needs no other, shows what it is given, and is the same every time."""

import base64
import dataclasses
import io
import json
import re
from math import nan
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image

from facetry.evaluation.metrics import CategoryScore, score_predictions
from facetry.evaluation.report import (
    ModelSummary,
    ReportContent,
    category_bars,
    model_axis,
    training_curves,
    write_report,
)
from facetry.predictions import Predictions
from facetry.product import Product
from facetry.taxonomy import Taxonomy
from tests.reports.page import Page

TAXONOMY = Taxonomy.of(
    {
        "Women Tops & Tunics": {"<b>bold</b>": ["a & b", '<script>alert("x")</script>', "c"]},
        "साड़ी": {"border_width": ["small", "wide"], "cost $ in $": ["high", "low"], "empty": []},
        "Never Seen": {"color": ["red", "blue"]},
    }
)
HISTORY = [
    {"epoch": 1, "loss": 2.0, "score": nan, "seconds": 3.0},
    {"epoch": 2, "loss": 1.0, "score": 0.5},
    {"epoch": 3, "loss": 0.5, "score": 0.6},
]


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    for index in range(12):
        Image.new("RGB", (300, 400), (20 * index, 90, 120)).save(folder / f"{index}.jpg")
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 no more")
    return folder


def make_products(photos: Path, num: int = 12) -> list[Product]:
    products = []
    for index in range(num):
        labels = {"<b>bold</b>": ("a & b", "c")[index % 2]}
        if index % 3 == 0:
            labels = {"border_width": "wide", "cost $ in $": "low"}
        category = TAXONOMY.categories[int(index % 3 == 0)]
        path = photos / f"{index}.jpg"
        products.append(Product(id=index, category=category, photos=(path,), labels=labels))
    return products


def predict(products: list[Product], seed: int = 0) -> Predictions:
    codes = TAXONOMY.encode_categories([product.category for product in products])
    weights = np.random.default_rng(seed).random((len(products), 3, 3)) * TAXONOMY.value_mask[codes]
    sums = weights.sum(axis=2, keepdims=True)
    shares = np.divide(weights, sums, out=np.zeros_like(weights), where=sums > 0)
    return Predictions.of(TAXONOMY, products, shares.astype(np.float32))


def make_content(products: list[Product], **changes: object) -> ReportContent:
    predictions = predict(products)
    content = ReportContent(
        title="Borders & <i>more</i>",
        scores=score_predictions(predictions, products, num_resamples=20),
        predictions=predictions,
        products=products,
        facts={"Command": "facetry evaluate <model> && echo 'done'"},
    )
    return dataclasses.replace(content, **changes)  # type: ignore[arg-type]


def write(folder: Path, content: ReportContent) -> tuple[str, Page]:
    path = folder / "new" / "report.html"
    write_report(path, content)
    source = path.read_text(encoding="utf-8")
    return source, Page(source)


@pytest.fixture
def content(photos: Path) -> ReportContent:
    plain = make_content(make_products(photos))
    models = [
        ModelSummary(name="ViT & co", scores=plain.scores, history=HISTORY),
        ModelSummary(name="_$hidden$", scores=plain.scores, history=HISTORY[:1]),
        ModelSummary(name="Both", scores=plain.scores),
    ]
    return dataclasses.replace(plain, models=models)


def test_wrong_answers_are_in_a_table_beside_it(tmp_path: Path, content: ReportContent) -> None:
    _, page = write(tmp_path, content)
    table = pl.read_csv(tmp_path / "new" / "report.findings.csv")
    assert table.height
    assert "report.findings.csv" in {link["href"] for link in page.all("a")}


def test_needs_no_other_file(tmp_path: Path, content: ReportContent) -> None:
    source, page = write(tmp_path, content)
    without_photos = re.sub(r'src="data:[^"]*"', "", source)
    addresses = set(re.findall(r"""(?:https?:)?//[\w.]+[^\s"'<]*""", without_photos))
    assert addresses <= {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}
    assert not page.all("link")
    assert all("src" not in script for script in page.all("script"))
    assert all((image["src"] or "").startswith("data:image/webp;base64,") for image in page.all("img"))
    assert "@import" not in source
    assert not re.search(r"url\((?!#)", source)


@pytest.mark.parametrize(
    ("total", "low", "baseline", "said"),
    [
        (0.4, 0.35, 0.5, "it is of no use yet"),
        (0.5, 0.45, 0.5, "it is of no use yet"),
        (0.6, 0.45, 0.5, "is not clearly better"),
        (0.6, 0.55, 0.5, ""),
        (nan, nan, nan, ""),
    ],
)
def test_a_baseline_that_is_as_good_stands_in_the_headline(
    tmp_path: Path, content: ReportContent, total: float, low: float, baseline: float, said: str
) -> None:
    figures = {"total": total, "baseline": baseline, "interval": (low, 0.9)}
    scores = dataclasses.replace(content.scores, **figures)  # type: ignore[arg-type]
    source, _ = write(tmp_path, dataclasses.replace(content, scores=scores))
    header = source[source.index("<h1>") : source.index('class="counts"')]
    assert ('class="warning"' in header) == bool(said)
    assert said in header


def test_same_content_same_bytes(tmp_path: Path, content: ReportContent) -> None:
    first, _ = write(tmp_path, content)
    second, _ = write(tmp_path, content)
    assert first == second


def test_markup_in_names_is_escaped(tmp_path: Path, content: ReportContent) -> None:
    source, page = write(tmp_path, content)
    assert "alert(" not in re.sub(r"&lt;script&gt;alert\(", "", source)
    assert len(page.all("script")) == 1
    assert "<i>more" not in source
    assert "<b>bold" not in source
    for name in [
        content.title,
        "Women Tops & Tunics",
        "<b>bold</b>",
        "a & b",
        "साड़ी",
        "ViT & co",
        "_$hidden$",
        content.facts["Command"],
    ]:
        assert name in page.text


def test_shows_figures_and_charts(tmp_path: Path, content: ReportContent) -> None:
    _, page = write(tmp_path, content)
    scores = content.scores
    head = next(head for head in scores.heads if head.attribute == "border_width")
    for figure in (scores.total, scores.baseline, *scores.interval, head.macro_f1, head.harmonic):
        assert f"{figure:.3f}" in page.text
    charts = page.all("svg")
    assert len(charts) == 3
    names = {each.get("id") for _, each in page.elements}
    for chart in charts:
        assert chart["role"] == "img"
        assert set((chart["aria-labelledby"] or "").split()) <= names


def test_element_names_are_unique(tmp_path: Path, content: ReportContent) -> None:
    _, page = write(tmp_path, content)
    names = [each["id"] for _, each in page.elements if "id" in each]
    assert len(names) == len(set(names))
    links = {link["href"] or "" for link in page.all("a")} - {"report.findings.csv"}
    assert {link.removeprefix("#") for link in links} <= set(names)


def test_photos_are_small_and_marked_by_sign(tmp_path: Path, content: ReportContent) -> None:
    _, page = write(tmp_path, content)
    assert page.cards == len(page.all("img")) > 3
    for image in page.all("img"):
        data = base64.b64decode((image["src"] or "").split(",")[1])
        with Image.open(io.BytesIO(data)) as shown:
            assert shown.format == "WEBP"
            assert shown.size == (300, 400)
        assert image["alt"]
    assert "✓" in page.text
    assert "✗" in page.text
    assert "label: " in page.text


def test_no_models(tmp_path: Path, photos: Path) -> None:
    _, page = write(tmp_path, make_content(make_products(photos)))
    assert len(page.all("svg")) == 1
    assert "Training" not in page.text


@pytest.mark.parametrize("num_products", [0, 5])
def test_no_readable_product(tmp_path: Path, photos: Path, num_products: int) -> None:
    products = [
        dataclasses.replace(each, problem=f"not an <image> {each.id % 2}")
        for each in make_products(photos, num_products)
    ]
    _, page = write(tmp_path, make_content(products))
    assert page.cards == 0
    if num_products:
        assert "5 of 5 products have no prediction" in page.text
        assert "not an <image> 0" in page.text
    else:
        assert "Every product was read." in page.text


def test_long_lists_of_unread_products_are_cut(tmp_path: Path) -> None:
    product = Product(id="x", category="Never Seen", problem="file not found")
    products = [dataclasses.replace(product, id=f"id-{index}") for index in range(300)]
    _, page = write(tmp_path, make_content(products))
    assert "id-199" in page.text
    assert "id-200" not in page.text
    assert "And 100 more" in page.text


def test_broken_photos_are_passed_over(tmp_path: Path, photos: Path) -> None:
    products = make_products(photos)
    broken = [dataclasses.replace(each, photos=(photos / "broken.jpg",)) for each in products[:9]]
    missing = dataclasses.replace(products[9], photos=(photos / "gone.jpg",))
    bare = dataclasses.replace(products[10], photos=())
    _, page = write(tmp_path, make_content([*broken, missing, bare, products[11]]))
    assert page.cards == 1
    assert page.all("img")[0]["alt"] == "Photo of product 11"


def test_products_without_labels(tmp_path: Path, photos: Path) -> None:
    products = [dataclasses.replace(each, labels={}) for each in make_products(photos)]
    _, page = write(tmp_path, make_content(products))
    assert "no labels" in page.text
    assert "–" in page.text  # noqa: RUF001  # the dash for nothing
    assert "nan" not in page.text


def test_no_resamples(tmp_path: Path, photos: Path) -> None:
    products = make_products(photos)
    scores = score_predictions(predict(products), products, num_resamples=0)
    models = [ModelSummary(name="one", scores=scores, history=HISTORY)]
    _, page = write(tmp_path, make_content(products, scores=scores, models=models))
    assert "nan" not in page.text


def test_a_value_has_its_figures_and_what_it_is_confused_with(
    tmp_path: Path, content: ReportContent
) -> None:
    source, page = write(tmp_path, content)
    folded = page.all("details")
    assert len(folded) == 2 * len([head for head in content.scores.heads if head.num_labels])
    assert not any("open" in each for each in folded)
    for name in ("Precision", "Recall", "Confused with", "Matrix of labels and answers"):
        assert name in page.text
    assert source.count('<table class="matrix">') == len(folded) / 2


def test_items_carry_the_facts_to_filter_by(tmp_path: Path, content: ReportContent) -> None:
    _, page = write(tmp_path, content)
    items = [json.loads(each["data-item"] or "") for _, each in page.elements if "data-item" in each]
    parts = [json.loads(each["data-part"] or "") for _, each in page.elements if "data-part" in each]
    assert {each["Category"] for each in items} == set(TAXONOMY.categories)
    assert {each["Answer"] for each in parts} <= {"as labelled", "not as labelled", "no label"}
    assert all(0 <= each["Confidence"] <= 1 for each in parts)
    wrong = [each for each in items if "Confidence" in each]
    assert [each["Confidence"] for each in wrong] == sorted(
        (each["Confidence"] for each in wrong), reverse=True
    )


@pytest.mark.parametrize(
    ("page_of_17", "link"),
    [
        ("https://shop.example/17?a=1&b=2", "https://shop.example/17?a=1&b=2"),
        ("javascript:alert(1)", None),
        ("shop.example/17", None),
        (None, None),
    ],
)
def test_products_link_to_their_page_in_the_shop(
    tmp_path: Path, photos: Path, page_of_17: str | None, link: str | None
) -> None:
    products = [dataclasses.replace(each, page=page_of_17) for each in make_products(photos)]
    _, page = write(tmp_path, make_content(products))
    links = {each["href"] for each in page.all("a") if not (each["href"] or "").startswith("#")}
    assert links - {"report.findings.csv"} == ({link} if link else set())


def test_a_report_on_ten_thousand_products_stays_under_5_mb(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(256, size=(24, 320, 240, 3), dtype=np.uint8)
    for index, pixels in enumerate(noise):  # photos that hardly compress
        Image.fromarray(pixels).resize((480, 640)).save(tmp_path / f"{index}.jpg")
    attributes = {f"attribute {index}": [f"value {n}" for n in range(30)] for index in range(8)}
    taxonomy = Taxonomy.of({f"Category {index}": attributes for index in range(4)})
    rng = np.random.default_rng(1)
    codes = rng.integers(30, size=(10_000, 8))
    products = [
        Product(
            id=index,
            category=taxonomy.categories[index % 4],
            photos=(tmp_path / f"{index % 24}.jpg",),
            labels={name: f"value {code}" for name, code in zip(attributes, row, strict=True)},
            page=f"https://shop.example/products/{index}",
        )
        for index, row in enumerate(codes.tolist())
    ]
    weights = rng.random((10_000, 8, 30)).astype(np.float32)
    known = taxonomy.encode_labels(products)
    weights[np.arange(10_000)[:, None], np.arange(8), known] += rng.integers(2, size=(10_000, 8)) * 60
    predictions = Predictions.of(taxonomy, products, weights / weights.sum(axis=2, keepdims=True))
    scores = score_predictions(predictions, products, num_resamples=2)
    path = tmp_path / "report.html"
    content = ReportContent(title="Many", scores=scores, predictions=predictions, products=products)
    write_report(path, content)
    assert 1_000_000 < path.stat().st_size < 5_000_000


def test_charts_take_the_pages_colours() -> None:
    figures = CategoryScore(category="A > B", num_heads=1, num_labels=9, score=0.8, baseline=0.3)
    blank = CategoryScore(category="C", num_heads=1, num_labels=0, score=nan, baseline=nan)
    bars = category_bars([figures, blank]).svg
    (loss, scores) = training_curves([("one", HISTORY), ("none", [])])
    for svg in (bars, loss.svg, scores.svg):
        assert "var(--ink)" in svg or "var(--series-0)" in svg
        assert not re.search(r"#0\d{5}", svg)
        assert svg.startswith("<svg")
        assert "<style" not in svg
    assert "A &gt; B 0.800, baseline 0.300" in bars
    assert "one goes from 0.500 to 0.600, 2 points" in scores.svg


def test_charts_of_nothing() -> None:
    assert training_curves([]) == []
    assert training_curves([("one", [{"epoch": 1, "seconds": 2.0}])]) == []
    assert len(training_curves([("one", [{"epoch": 1, "loss": 2.0}])])) == 1


def test_model_axis(photos: Path) -> None:
    scores = make_content(make_products(photos)).scores

    def model(total: float, low: float, high: float) -> ModelSummary:
        changed = dataclasses.replace(scores, total=total, interval=(low, high))
        return ModelSummary(name="one", scores=changed)

    assert model_axis([]) == (0.0, 1.0)
    assert model_axis([model(nan, nan, nan)]) == (0.0, 1.0)
    assert model_axis([model(0.8, 0.79, 0.81), model(0.7, nan, nan)]) == pytest.approx((0.7, 0.85))
    assert model_axis([model(0.5, 0.5, 0.5)]) == pytest.approx((0.5, 0.55))
