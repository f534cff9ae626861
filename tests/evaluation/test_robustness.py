"""Scores on damaged photos: right figures, kept work, and a page that shows them."""

import dataclasses
import io
import json
import re
from collections.abc import Sequence
from math import nan
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from facetry.errors import FolderError, FolderMismatch, FolderOccupied
from facetry.evaluation.metrics import Scores, score_predictions
from facetry.evaluation.robustness.page import (
    largest_losses_table,
    robustness_json,
    robustness_table,
    write_robustness,
)
from facetry.evaluation.robustness.scores import DamagedScores, Robustness, ScoreCache, score_damaged
from facetry.images.corruptions import CORRUPTIONS, NUM_STRENGTHS
from facetry.predictions import Predictions
from facetry.product import Preprocess, Product
from facetry.taxonomy import Taxonomy
from tests.reports.page import Page

TAXONOMY = Taxonomy.of({"Tops & <b>": {"light": ["dark", "bright"], "hem": ["a", "b"], "bare": ["x"]}})
SPEC = Preprocess(size_px=16, mean=(0, 0, 0), std=(1, 1, 1))


class BrightnessReader:
    """Answers `light` by how bright a photo is, `hem` always the same way."""

    taxonomy = TAXONOMY
    preprocesses = (SPEC,)

    def __init__(self) -> None:
        self.num_asked = 0

    def predict(self, products: Sequence[Product]) -> Predictions:
        self.num_asked += len(products)
        probabilities = np.zeros((len(products), 3, 2), np.float32)
        for row, product in enumerate(products):
            if not product.problem:
                probabilities[row, 0, int(product.pixels[SPEC].mean() > 100)] = 1
        probabilities[:, 1:, 0] = 1
        return Predictions.of(TAXONOMY, products, probabilities)


@pytest.fixture
def products(tmp_path: Path) -> list[Product]:
    """Ten photos, half of them bright, and one that is not there."""
    made = []
    for number in range(10):
        path = tmp_path / f"{number}.png"
        Image.new("RGB", (20, 24), (200,) * 3 if number % 2 else (40,) * 3).save(path)
        labels = {"light": TAXONOMY.heads[0].values[number % 2], "hem": "ab"[number % 2]}
        made.append(Product(id=number, category="Tops & <b>", photos=(path,), labels=labels))
    gone = dataclasses.replace(made[0], id="gone", photos=(tmp_path / "gone.png",), labels={})
    return [*made, gone]


@pytest.fixture
def clean(products: list[Product]) -> Scores:
    probabilities = np.zeros((11, 3, 2), np.float32)
    probabilities[np.arange(11), 0, np.arange(11) % 2] = 1
    probabilities[:, 1:, 0] = 1
    return score_predictions(Predictions.of(TAXONOMY, products, probabilities), products)


def test_damage_costs_what_it_hides(products: list[Product], clean: Scores) -> None:
    """In poor light all photos are dark; JPEG leaves them as bright as they were."""
    found = score_damaged(BrightnessReader(), products, ["poor_light", "jpeg"], clean)
    light, jpeg = found.damaged
    assert clean.heads[0].harmonic == 1
    assert [heads[0] for heads in jpeg.heads] == [1.0] * NUM_STRENGTHS
    assert jpeg.totals == (pytest.approx(clean.total),) * NUM_STRENGTHS
    assert [round(heads[0], 3) for heads in light.heads] == [1.0, 0.4, 0.4, 0.4, 0.4]
    assert light.levels == CORRUPTIONS["poor_light"].levels
    assert np.isnan([heads[2] for heads in light.heads]).all()
    assert found.mean == pytest.approx((light.mean + jpeg.mean) / 2)
    assert found.drop(light.mean) == pytest.approx(1 - light.mean / clean.total)
    assert [(each.clean.attribute, each.worst_kind) for each in found.heads] == [
        ("light", "poor_light"),
        ("hem", "poor_light"),
    ]
    assert found.heads[0].loss == pytest.approx(0.6 * 4 / 10)
    assert found.heads[0].worst == pytest.approx(0.52)
    assert found.heads[1].loss == pytest.approx(0)


def test_stored_scores_are_not_computed_again(
    products: list[Product], clean: Scores, tmp_path: Path
) -> None:
    kinds = ["poor_light", "noise"]
    with ScoreCache.open(tmp_path / "out", {"model": "m"}) as cache:
        first = score_damaged(BrightnessReader(), products, kinds[:1], clean, cache=cache)
    reader = BrightnessReader()
    with ScoreCache.open(tmp_path / "out", {"model": "m"}) as again:
        both = score_damaged(reader, products, kinds, clean, cache=again)
    assert reader.num_asked == NUM_STRENGTHS * len(products)
    np.testing.assert_equal(dataclasses.asdict(both.damaged[0]), dataclasses.asdict(first.damaged[0]))
    plain = score_damaged(BrightnessReader(), products, kinds, clean)
    np.testing.assert_equal(robustness_json(both), robustness_json(plain))


def test_scores_at_other_strengths_are_not_reused(tmp_path: Path) -> None:
    cache = ScoreCache(tmp_path / "out")
    scores = DamagedScores(kind="noise", levels=(1, 2, 3, 4, 5), totals=(0.5,) * 5, heads=((nan,),) * 5)
    cache.write(scores)
    assert cache.read("noise") is None
    assert cache.read("jpeg") is None
    right = dataclasses.replace(scores, levels=CORRUPTIONS["noise"].levels)
    cache.write(right)
    kept = cache.read("noise")
    assert kept is not None
    np.testing.assert_equal(dataclasses.asdict(kept), dataclasses.asdict(right))


@pytest.mark.parametrize(
    ("content", "error", "words"),
    [
        ({"notes.txt": "mine"}, FolderOccupied, "was not made by `facetry evaluate`"),
        ({"job.json": "[]"}, FolderOccupied, "was not made by `facetry evaluate`"),
        ({"job.json": '{"catalogue": "c"}'}, FolderOccupied, "was not made by `facetry evaluate`"),
        (
            {"job.json": '{"model": "other", "catalogue": "c"}'},
            FolderMismatch,
            "was made with another model.",
        ),
        (
            {"job.json": '{"model": "x", "catalogue": "y"}'},
            FolderMismatch,
            "with another model and catalogue.",
        ),
    ],
)
def test_another_folder_is_left_alone(
    tmp_path: Path, content: dict[str, str], error: type[FolderError], words: str
) -> None:
    content = {"corruptions.json": "{}", **content}
    for name, text in content.items():
        (tmp_path / name).write_text(text)
    opened = ScoreCache.open(tmp_path, {"model": "m", "catalogue": "c"})
    with pytest.raises(error, match=re.escape(words)) as refused, opened:
        pass
    assert "--out" in refused.value.hint
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == content


def test_heads_with_few_labels_come_last(clean: Scores) -> None:
    light, *others = clean.heads
    few = dataclasses.replace(clean, heads=(dataclasses.replace(light, num_labels=9), *others))
    damaged = DamagedScores(
        kind="jpeg", levels=(1, 2, 3, 4, 5), totals=(0.1,) * 5, heads=((0.0, 0.3, nan),) * 5
    )
    orders = [
        [each.clean.attribute for each in Robustness(clean=scores, damaged=(damaged,)).heads]
        for scores in (clean, few)
    ]
    assert orders == [["light", "hem"], ["hem", "light"]]


@pytest.fixture
def robustness(clean: Scores) -> Robustness:
    damaged = [
        DamagedScores(
            kind=kind,
            levels=corruption.levels,
            totals=tuple(0.7 - 0.1 * place - 0.01 * strength for strength in range(5)),
            heads=tuple((0.9 - 0.1 * place, 0.3, nan) for _ in range(5)),
        )
        for place, (kind, corruption) in enumerate(list(CORRUPTIONS.items())[:6])
    ]
    return Robustness(clean=clean, damaged=tuple(damaged))


def test_tables_fit_a_terminal(robustness: Robustness) -> None:
    console = Console(width=100, record=True, file=io.StringIO())
    console.print(robustness_table(robustness))
    console.print(largest_losses_table(robustness))
    text = console.export_text()
    assert max(map(len, text.splitlines())) <= 100
    assert "0.700   0.690   0.680   0.670   0.660   0.680" in text
    assert "Poor light" in text
    assert "Tops & <b>" in text


def test_page_and_figures(tmp_path: Path, robustness: Robustness, products: list[Product]) -> None:
    shown = [products[-1], *products]  # the first readable photo is the example
    for folder in ("one", "two"):
        write_robustness(tmp_path / folder, "A & <i>", robustness, shown, {"Part": "test"})
    source = (tmp_path / "one" / "corruptions.html").read_text()
    page = Page(source)
    assert source == (tmp_path / "two" / "corruptions.html").read_text()
    assert len(page.all("img")) == 6 * NUM_STRENGTHS
    assert all((image["src"] or "").startswith("data:image/webp;base64,") for image in page.all("img"))
    assert "Out of focus" in page.text
    assert "A & <i>" in page.text
    assert "nan" not in page.text
    names = {each.get("id") for _, each in page.elements}
    assert all((link["href"] or "").removeprefix("#") in names for link in page.all("a"))
    figures = json.loads((tmp_path / "one" / "corruptions.json").read_text())
    assert figures["mean"] == pytest.approx(robustness.mean)
    assert list(figures["corruptions"]) == [each.kind for each in robustness.damaged]
    assert figures["corruptions"]["poor_light"]["scores"] == pytest.approx([0.7, 0.69, 0.68, 0.67, 0.66])


def test_page_without_photos_or_score(tmp_path: Path, robustness: Robustness) -> None:
    unscored = dataclasses.replace(robustness.clean, total=0.0)
    without = Robustness(clean=unscored, damaged=robustness.damaged)
    write_robustness(tmp_path, "none", without, [], {})
    page = Page((tmp_path / "corruptions.html").read_text())
    assert not page.all("img")
    assert "nan" not in page.text
    assert json.loads((tmp_path / "corruptions.json").read_text())["drop"] is None
