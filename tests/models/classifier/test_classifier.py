"""The classifier is a Predictor: its own heads' probabilities, problems recorded, nothing guessed."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from facetry.models.classifier.classifier import Classifier
from facetry.models.classifier.heads import probabilities
from facetry.models.config import PhotosConfig, TextConfig
from facetry.predictions import Predictor
from facetry.product import Product
from facetry.taxonomy import Taxonomy
from tests.models.conftest import make_classifier, with_pixels

PRODUCTS = [
    Product(id=1, category="Kurtis"),
    Product(id=2, category="Sarees"),
    Product(id=3, category="Hats"),
    Product(id=4, category="Tops", problem="file not found"),
    Product(id=5, category="Tops"),
]


def test_is_a_predictor(odd: Taxonomy) -> None:
    predictor: Predictor = make_classifier()
    assert predictor.taxonomy == odd
    (form,) = predictor.preprocesses
    assert form.size_px == 16


def test_predicts_what_its_heads_say() -> None:
    classifier = make_classifier()
    products = with_pixels(classifier, PRODUCTS)
    predicted = classifier.predict(products)
    (form,) = classifier.preprocesses
    photos = torch.from_numpy(np.stack([each.pixels[form] for each in products]))
    logits = classifier.eval()(photos, torch.tensor([1, 0, -1, 2, 2]))
    expected = probabilities(logits).detach().numpy()
    expected[3] = 0  # its photo could not be read
    np.testing.assert_allclose(predicted.probabilities, expected, atol=1e-6)
    assert predicted.ids == (1, 2, 3, 4, 5)
    assert predicted.problems == ("", "", "unknown category 'Hats'", "file not found", "")


def test_results_do_not_depend_on_the_batch_or_its_order() -> None:
    classifier = make_classifier()
    products = with_pixels(classifier, PRODUCTS)
    together = classifier.predict(products)
    backwards = classifier.predict(products[::-1])
    alone = [classifier.predict([each]) for each in products]
    np.testing.assert_allclose(together.probabilities, backwards.probabilities[::-1], atol=1e-6)
    np.testing.assert_allclose(
        together.probabilities, np.concatenate([each.probabilities for each in alone]), atol=1e-6
    )


def test_nothing_to_predict() -> None:
    classifier = make_classifier()
    assert len(classifier.predict([])) == 0
    unreadable = [Product(id=1, category="Tops", problem="file is empty")]  # and no pixels
    predicted = classifier.predict(unreadable)
    assert predicted.problems == ("file is empty",)
    assert not predicted.probabilities.any()


def test_predicting_switches_dropout_off_and_leaves_no_gradients() -> None:
    classifier = make_classifier().train()
    products = with_pixels(classifier, PRODUCTS)
    first, second = classifier.predict(products), classifier.train().predict(products)
    assert np.array_equal(first.probabilities, second.probabilities)
    assert not classifier.training
    assert all(each.grad is None for each in classifier.parameters())


def test_everything_learns() -> None:
    """The loss reaches every parameter of the backbone (paper, section 6.1: no layer is frozen)."""
    classifier = make_classifier().train()
    logits = classifier(torch.randint(0, 256, (6, 3, 16, 16), dtype=torch.uint8), torch.arange(6) % 3)
    logits[logits.isfinite()].square().sum().backward()
    for name, parameter in classifier.backbone.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
    assert classifier.backbone.tower.conv1.weight.grad.abs().sum() > 0


def test_another_taxonomy_keeps_what_was_learned(odd: Taxonomy) -> None:
    classifier = make_classifier().eval()
    grown = Taxonomy.of({**odd.declared(), "Hats": {"brim": ["narrow", "wide"]}})
    changed = classifier.with_taxonomy(grown)
    assert isinstance(changed, Classifier)
    assert changed.backbone is classifier.backbone
    products = with_pixels(classifier, PRODUCTS)
    before, after = classifier.predict(products), changed.predict(products)
    assert after.problems == ("", "", "", "file not found", "")
    rows = [0, 1, 4]
    np.testing.assert_allclose(after.probabilities[rows], before.probabilities[rows], rtol=1e-5)


TOLD = [
    replace(each, text=text) for each, text in zip(PRODUCTS, ["red", None, "a", "b", "c d"], strict=True)
]


@pytest.fixture(params=["concat", "gate"])
def joining(request: pytest.FixtureRequest) -> Classifier:
    """One that reads text and up to three photos."""
    photos = PhotosConfig(max=3, pool="attention" if request.param == "gate" else "mean")
    return make_classifier(text=TextConfig(fusion=request.param, drop=0.5), photos=photos)


def test_it_predicts_from_all_photos_and_the_text(joining: Classifier) -> None:
    products = with_pixels(joining, TOLD)
    predicted = joining.predict(products)
    assert predicted.problems == ("", "", "unknown category 'Hats'", "file not found", "")
    alone = [joining.predict([each]) for each in products[::-1]]
    backwards = np.concatenate([each.probabilities for each in alone])[::-1]
    np.testing.assert_allclose(predicted.probabilities, backwards, atol=1e-5)
    (form,) = joining.preprocesses
    for change in ({"text": "another"}, {"pixels": {form: products[4].pixels[form][:1]}}):
        changed = joining.predict([replace(products[4], **change)]).probabilities
        assert np.abs(changed[0] - predicted.probabilities[4]).max() > 1e-6


def test_what_is_above_the_encoders_takes_their_features(joining: Classifier) -> None:
    joining.eval()
    photos = torch.randint(0, 256, (4, 3, 3, 16, 16), dtype=torch.uint8)
    counts, categories = torch.tensor([1, 2, 3, 3]), torch.tensor([0, 1, 2, 2])
    assert joining.text_tower is not None
    tokens = torch.from_numpy(joining.text_tower.tokenise(["a", None, "b c", "d"]))
    with torch.no_grad():
        expected = joining(photos, categories, num_photos=counts, texts=tokens)
        features = joining.backbone(photos.flatten(0, 1)).unflatten(0, (4, 3))
        texts = joining.text_tower(tokens)
        got = joining.top(features, categories, num_photos=counts, texts=texts)
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=1e-4)


def test_everything_above_and_below_learns(joining: Classifier) -> None:
    joining.train()
    assert joining.text_tower is not None
    tokens = torch.from_numpy(joining.text_tower.tokenise([*"abcde", None]))
    logits = joining(
        torch.randint(0, 256, (6, 3, 3, 16, 16), dtype=torch.uint8),
        torch.arange(6) % 3,
        num_photos=torch.tensor([1, 2, 3] * 2),
        texts=tokens,
    )
    logits[logits.isfinite()].square().sum().backward()
    silent = [name for name, each in joining.named_parameters() if each.grad is None]
    assert all(name.startswith("heads.") for name in silent), silent  # a head without values


def test_another_taxonomy_keeps_neck_and_text(joining: Classifier, odd: Taxonomy) -> None:
    changed = joining.with_taxonomy(odd)
    products = with_pixels(joining, TOLD)
    before, after = joining.predict(products), changed.predict(products)
    assert np.array_equal(before.probabilities, after.probabilities)
