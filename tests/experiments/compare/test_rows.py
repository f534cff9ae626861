"""What a row's process finds out."""

from pathlib import Path

from facetry.build.load import load
from facetry.build.train import train
from facetry.catalogue.catalogue import Catalogue
from facetry.experiments.compare.rows import count_parameters
from facetry.models.classifier.classifier import Classifier
from facetry.predictions import Predictor
from facetry.predictors.ensemble import Ensemble
from facetry.recipe import parse_recipe


def test_parameters_are_counted_once(tiny_predictor: Predictor) -> None:
    assert isinstance(tiny_predictor, Classifier)
    expected = sum(each.numel() for each in tiny_predictor.parameters())
    assert count_parameters(tiny_predictor) == expected > 100_000
    inner = Ensemble({"a": tiny_predictor, "b": tiny_predictor})
    assert count_parameters(Ensemble({"c": inner, "d": tiny_predictor})) == expected


def test_parameters_of_a_search_are_its_backbones(
    tiny_predictor: Predictor, catalogue: Catalogue, tmp_path: Path
) -> None:
    by_hashes = parse_recipe({"kind": "search", "hashes": ["phash"], "split": {"method": "random"}})
    assert count_parameters(load(train(by_hashes, catalogue, tmp_path / "hashes"))) == 0
    backbone = {"name": "nano_convnext", "weights": "none"}
    by_features = parse_recipe({"kind": "search", "backbone": backbone, "split": {"method": "random"}})
    assert isinstance(tiny_predictor, Classifier)
    expected = sum(each.numel() for each in tiny_predictor.backbone.parameters())
    assert count_parameters(load(train(by_features, catalogue, tmp_path / "features"))) == expected
