"""Photos unlike those of their category are told from the others; what tells them is kept safe."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from facetry.confidence.calibration import Calibration, uncalibrated, with_calibration, with_promises
from facetry.confidence.cells import LabelledCells
from facetry.confidence.mapping import CalibrationMap
from facetry.confidence.novelty import (
    FLAGGED,
    NOVEL,
    FeatureSet,
    Novelty,
    choose_references,
    read_novelty,
    with_novelty,
)
from facetry.confidence.promises import make_promises
from facetry.errors import CalibrationError
from facetry.models.folder import NOVELTY, RECIPE, TAXONOMY, ModelFolder, open_folder, write_checksums
from facetry.predictions import ACTIONS, Embedder, Predictions
from facetry.product import Preprocess, Product
from facetry.runtime.files import write_text
from tests.confidence.cells import TAXONOMY as SHOP
from tests.confidence.cells import make_evidence

SIZE = 24
CENTRES = np.random.default_rng(7).normal(0, 2, (4, SIZE))
"""Where the photos of three categories are, and those of something else."""


def draw(num_photos: Sequence[int], seed: int, kinds: Sequence[int] = (0, 1, 2)) -> FeatureSet:
    """Photos of each category, which show the kinds of products in `kinds`."""
    rng = np.random.default_rng(seed)
    categories = np.repeat(np.arange(len(num_photos)), num_photos)
    features = CENTRES[np.array(kinds)[categories]] + rng.normal(0, 1, (len(categories), SIZE))
    return FeatureSet(features=features.astype(np.float32), categories=categories)


def fit(
    num_known: Sequence[int] = (300, 300, 300), num_others: Sequence[int] = (200, 200, 200)
) -> Novelty:
    return Novelty.fit(draw(num_known, 0), draw(num_others, 1), 3)


def share_novel(novelty: Novelty, photos: FeatureSet) -> list[float]:
    is_novel = novelty.is_novel(photos.features, photos.categories)
    return [float(is_novel[photos.categories == each].mean()) for each in range(3)]


def test_other_photos_are_novel_and_known_ones_rarely() -> None:
    novelty = fit()
    known = share_novel(novelty, draw((2000, 2000, 2000), 2))
    assert max(known) < 2.5 * FLAGGED
    assert np.mean(known) == pytest.approx(FLAGGED, abs=FLAGGED / 2)
    assert min(share_novel(novelty, draw((200, 200, 200), 3, kinds=(3, 3, 3)))) > 0.95
    assert min(share_novel(novelty, draw((200, 200, 200), 3, kinds=(1, 2, 0)))) > 0.95


def test_a_category_with_few_photos_shares_the_threshold_of_all() -> None:
    novelty = fit(num_others=(200, 120, 0))
    assert np.isfinite(novelty.thresholds).all()
    assert share_novel(novelty, draw((500, 500, 500), 2))[2] < 0.1


@pytest.mark.parametrize(
    ("num_known", "num_others", "known"),
    [
        ((300, 300, 300), (10, 10, 10), [False, False, False]),
        ((300, 300, 0), (200, 200, 200), [True, True, False]),
        ((3, 300, 300), (200, 200, 200), [True, True, True]),
    ],
    ids=[
        "too few in all",
        "none to compare with",
        "a few to compare with",
    ],
)
def test_nothing_is_said_where_too_little_is_known(
    num_known: Sequence[int], num_others: Sequence[int], known: list[bool]
) -> None:
    novelty = fit(num_known, num_others)
    odd = draw((50, 50, 50), 3, kinds=(3, 3, 3))
    scores = novelty.scores(odd.features, odd.categories)
    assert [bool(scores[odd.categories == each].any()) for each in range(3)] == known
    assert novelty.scores(odd.features[:1], np.array([-1])).tolist() == [0]
    assert novelty.scores(odd.features[:0], odd.categories[:0]).shape == (0,)


def test_equal_photos_give_numbers() -> None:
    photos = FeatureSet(features=np.ones((120, 4), np.float32), categories=np.zeros(120, np.int64))
    scores = Novelty.fit(photos, photos, 1).scores(photos.features, photos.categories)
    assert np.isfinite(scores).all()


def test_references_are_capped_and_always_the_same() -> None:
    categories = np.repeat([0, 1, -1], [50, 5, 3])
    rows = np.arange(2, 58)
    chosen = choose_references(categories, rows, 20)
    assert np.bincount(categories[chosen] + 1).tolist() == [3, 20, 5]
    assert np.isin(chosen, rows).all()
    assert np.array_equal(chosen, choose_references(categories, rows, 20))
    assert choose_references(categories, rows[:0]).tolist() == []


FORM = Preprocess(size_px=8, mean=(0.5,) * 3, std=(0.5,) * 3)


class Fake:
    """Gives products of which the text is a number the features in that row."""

    taxonomy = SHOP
    preprocesses = (FORM,)

    def __init__(self, features: NDArray[np.float32]) -> None:
        self.features = features

    def predict(self, products: Sequence[Product]) -> Predictions:
        mask = SHOP.value_mask[SHOP.encode_categories([each.category for each in products])]
        shares = mask / np.maximum(mask.sum(axis=2, keepdims=True), 1)
        return Predictions.of(SHOP, products, shares.astype(np.float32))

    def embed(self, products: Sequence[Product]) -> NDArray[np.float32]:
        found = self.features[[int(each.text or 0) for each in products]]
        return np.where([[not each.problem] for each in products], found, 0)

    def predict_and_embed(self, products: Sequence[Product]) -> tuple[Predictions, NDArray[np.float32]]:
        return self.predict(products), self.embed(products)


def products_of(photos: FeatureSet) -> list[Product]:
    names = SHOP.categories
    return [
        Product(id=row, category=names[each], text=str(row), labels={"attribute 0": "value 0"})
        for row, each in enumerate(photos.categories.tolist())
    ]


def test_predictions_say_which_products_are_novel() -> None:
    odd = draw((5, 5, 5), 3, kinds=(3, 3, 3))
    products = products_of(odd)
    products[0] = replace(products[0], problem="file not found")
    products[1] = replace(products[1], category="Hats")
    predictor = with_novelty(Fake(odd.features), fit())
    assert isinstance(predictor, Embedder)
    predictions = predictor.predict(products)
    assert predictions.is_novel.tolist() == [False, False, *[True] * 13]
    joined = Predictions.concatenate([predictions, Fake(odd.features).predict(products)])
    assert joined.is_novel.sum() == 13
    labels = SHOP.encode_labels(products)
    assert len(LabelledCells.of(joined, labels.repeat(2, axis=0), np.arange(30))) == 13


def test_what_is_novel_goes_to_review_with_the_reason() -> None:
    photos = draw((4, 4, 4), 3, kinds=(0, 3, 2))
    heads = np.repeat(np.arange(SHOP.num_heads), 200)
    evidence = make_evidence(np.linspace(0.1, 0.2, len(heads)), np.ones(len(heads), dtype=bool), heads)
    calibration = Calibration(
        map=CalibrationMap.identity(SHOP), evidence=evidence, facts={}, novelty=fit()
    )
    calibrated = with_calibration(Fake(photos.features), calibration)
    assert type(uncalibrated(calibrated)) is Fake
    decided = with_promises(calibrated, make_promises(evidence, SHOP, 0.9)).predict(products_of(photos))
    assert decided.decisions is not None
    assert decided.decisions.reasons == ("",) * 4 + (NOVEL,) * 4 + ("",) * 4
    is_filled = (decided.decisions.actions == ACTIONS.index("fill")).all(axis=1)
    assert is_filled.tolist() == [True] * 4 + [False] * 4 + [True] * 4
    assert (decided.decisions.actions[4:8] == ACTIONS.index("review")).all()


def test_promises_of_another_calibration_decide_nothing() -> None:
    evidence = make_evidence(np.full(200, 0.2), np.ones(200, dtype=bool))
    calibration = Calibration(map=CalibrationMap.identity(SHOP), evidence=evidence, facts={})
    calibrated = with_calibration(Fake(draw((1, 1, 1), 3).features), calibration)
    other = make_evidence(np.full(200, 0.1), np.ones(200, dtype=bool))
    with pytest.raises(CalibrationError, match="calibrated anew"):
        with_promises(calibrated, make_promises(other, SHOP, 0.9))


def test_without_novelty_nothing_changes() -> None:
    plain = Fake(draw((1, 1, 1), 3).features)
    assert with_novelty(plain, None) is plain
    assert not plain.predict(products_of(draw((1, 1, 1), 3))).is_novel.any()


@pytest.fixture
def folder(tmp_path: Path) -> ModelFolder:
    write_text(tmp_path / RECIPE, "kind: classifier\n")
    write_text(tmp_path / TAXONOMY, SHOP.to_json())
    write_checksums(tmp_path)
    return open_folder(tmp_path)


def test_it_is_read_as_it_was_written(folder: ModelFolder) -> None:
    assert read_novelty(folder) is None
    before, plain = folder.fingerprint, folder.plain_fingerprint
    novelty, photos = fit(), draw((20, 20, 20), 4)
    novelty.save(folder)
    found = read_novelty(folder)
    assert found is not None
    assert np.array_equal(
        found.scores(photos.features, photos.categories),
        novelty.scores(photos.features, photos.categories),
    )
    write_checksums(folder.path)
    again = open_folder(folder.path)
    assert again.plain_fingerprint == plain, "it is no part of the plain model"
    assert again.fingerprint != before, "but it changes answers"


@pytest.mark.parametrize("what", ["flipped", "cut", "text", "list", "newer", "another model"])
def test_a_wrong_file_is_refused(folder: ModelFolder, what: str) -> None:
    fit().save(folder)
    file = folder.path / NOVELTY
    content = bytearray(file.read_bytes())
    if what == "flipped":
        content[-5] ^= 1
        file.write_bytes(content)
    elif what == "cut":
        file.write_bytes(content[: len(content) // 2])
    elif what == "text":
        write_text(file, "novelty")
    elif what == "list":
        save_file(load_file(file), file, {"facts": "[]"})
    elif what == "newer":
        save_file(load_file(file), file, {"facts": json.dumps({"format": 2})})
    else:
        write_text(folder.path / TAXONOMY, SHOP.to_json() + "\n")
        write_checksums(folder.path)
    with pytest.raises(CalibrationError, match=r"damaged|another model|this version") as error:
        read_novelty(open_folder(folder.path))
    assert "facetry calibrate" in str(error.value.hint)


def test_a_calibration_without_it_removes_an_older_one(folder: ModelFolder) -> None:
    calibration = Calibration.identity(SHOP)
    replace(calibration, novelty=fit()).save(folder)
    assert (folder.path / NOVELTY).is_file()
    calibration.save(folder)
    assert not (folder.path / NOVELTY).exists()
