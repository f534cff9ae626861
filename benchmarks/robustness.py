"""What damage to photos costs a recipe, trained plainly, with AugMix, and with misleading photos.

    python -m benchmarks.robustness --catalogue DIR [--recipe FILE] [--set KEY=VALUE ...] [--seeds N]
                                    [--split-method id_blocks] [--block-size IDS] [--out FOLDER]
    python -m benchmarks.robustness --catalogue DIR --models FOLDER ... [--products N]
    python -m benchmarks.robustness --quick

Trains the recipe in each way and for each seed, on one split, and scores its test part without damage
and on every kind of damage at five strengths; or scores model folders, the first being the baseline.
The difference to the baseline is that of the means over seeds (and kinds and strengths), its 95%
interval a paired bootstrap over the test products. Models are kept in `--out`, so that a stopped run
goes on.
"""

import argparse
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from statistics import fmean
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the command line does, before torch is there
import torch

from benchmarks.measure import make_parser, show, working_folder
from facetry.build.load import load
from facetry.build.train import train
from facetry.catalogue.catalogue import Catalogue, open_catalogue
from facetry.catalogue.split import SplitConfig, make_split, read_split
from facetry.cli.console import make_reporter
from facetry.demo.garments import SampleConfig, draw_catalogue
from facetry.evaluation.held_out import SPLIT
from facetry.evaluation.metrics import Answers, paired_difference, predict, score
from facetry.evaluation.robustness.scores import predict_damaged
from facetry.images.corruptions import CORRUPTIONS
from facetry.predictions import Predictions
from facetry.product import Product
from facetry.recipe import load_recipe

RECIPES = Path(__file__).parent.parent / "recipes"
WAYS: Mapping[str, Sequence[str]] = {
    "plain": (),
    "augmix": ("augment.augmix=0.3",),
    "adversarial": ("training.adversarial=0.01",),
}
QUICK = (
    "backbone={name: nano_convnext, weights: none}",
    "training={epochs: 1, heads_lr: 0.001, backbone_lr: 0.001}",
)
NUM_RESAMPLES = 200


@dataclass(frozen=True)
class Measured:
    """One way's answers: without damage by seed, and with each kind by seed and strength."""

    clean: list[Answers] = field(default_factory=list)
    damaged: dict[str, list[Answers]] = field(default_factory=dict)

    @cached_property
    def all_damaged(self) -> list[Answers]:
        """The answers to all kinds of damage."""
        return [each for answers in self.damaged.values() for each in answers]


def main(arguments: list[str] | None = None) -> None:
    """Measure and print."""
    options = _parse(arguments)
    torch.set_num_threads(options.threads)
    with working_folder(options.out) as folder:
        if options.catalogue is None:
            options.catalogue = folder / "catalogue"
            if not options.catalogue.exists():
                draw_catalogue(options.catalogue, SampleConfig(num_products=90, seed=1, size_px=64))
        catalogue = open_catalogue(options.catalogue)
        models = _given(options) if options.models else _train_all(catalogue, folder, options)
        measured = {name: _measure(each, catalogue, options) for name, each in models.items()}
    _show(measured, options)


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = make_parser(__doc__, quick="a tiny network, one epoch, two kinds of damage")
    parser.add_argument("--catalogue", type=Path, help="a catalogue with photos; drawn if not given")
    parser.add_argument("--models", type=Path, nargs="+", help="model folders to score instead")
    parser.add_argument("--recipe", type=Path, default=RECIPES / "cpu" / "mobilenetv2.yaml")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--split-method", default="stratified")
    parser.add_argument("--block-size", type=int, default=50)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--products", type=int, help="score only so many of the test part")
    parser.add_argument("--out", type=Path, help="keep the models here")
    return parser.parse_args(arguments)


def _given(options: argparse.Namespace) -> dict[str, list[Path]]:
    return {folder.name: [folder] for folder in options.models}


def _train_all(catalogue: Catalogue, folder: Path, options: argparse.Namespace) -> dict[str, list[Path]]:
    """Model folders by way, one for each seed."""
    config = SplitConfig.model_validate(
        {"method": options.split_method, "block_size": options.block_size}
    )
    split = make_split(catalogue, config, seed=0)
    quick = QUICK if options.quick else ()
    return {
        way: [
            train(
                load_recipe(options.recipe, [*quick, *options.set, *WAYS[way], f"seed={seed}"]),
                catalogue,
                folder / f"{way}-{seed}",
                split=split,
                reporter=make_reporter(),
            )
            for seed in range(1 if options.quick else options.seeds)
        ]
        for way in options.ways
    }


def _measure(folders: Sequence[Path], catalogue: Catalogue, options: argparse.Namespace) -> Measured:
    """The answers of the models of one way to the test part's labels."""
    measured, reporter = Measured(), make_reporter()
    for folder in folders:
        model = load(folder)
        products = catalogue.products(read_split(folder / SPLIT, catalogue).rows("test"))
        products = products[: options.products]
        clean = predict(model, products, reporter=reporter, description=folder.name)
        measured.clean.append(_answers(clean, products))
        for kind in _kinds(options):
            name = f"{folder.name}, {kind}"
            predicted = predict_damaged(model, products, kind, description=name, reporter=reporter)
            answers = [_answers(each, products) for each in predicted]
            measured.damaged.setdefault(kind, []).extend(answers)
    return measured


def _kinds(options: argparse.Namespace) -> list[str]:
    return ["noise", "jpeg"] if options.quick else list(CORRUPTIONS)


def _answers(predictions: Predictions, products: Sequence[Product]) -> Answers:
    taxonomy = predictions.taxonomy
    labels = taxonomy.encode_labels(products)
    return Answers.of(taxonomy, predictions.category_codes, labels, predictions.top)


def _show(measured: Mapping[str, Measured], options: argparse.Namespace) -> None:
    baseline = next(iter(measured.values()))
    ways = {name: _figures(each, baseline) for name, each in measured.items()}
    figures = {
        "benchmark": "robustness",
        "catalogue": options.catalogue.name,
        "num_labels": len(baseline.clean[0].rows),
        "models": len(baseline.clean),
        "ways": ways,
    }
    rows = [
        [name, *(f"{_at(ways[way], name):.4f}" for way in ways)]
        for name in ["clean", "damaged", *_kinds(options)]
    ]
    rows += [
        [
            f"{what}, to the first",
            *(_difference_text(each[f"{what}_difference"]) for each in ways.values()),
        ]
        for what in ("clean", "damaged")
    ]
    title = f"Test score on {figures['num_labels']:,} labels, without damage and with"
    show(title, ["photos", *ways], rows, figures)


def _figures(measured: Measured, baseline: Measured) -> dict[str, Any]:
    """Mean scores, and the differences to the baseline."""
    return {
        "clean": _mean(measured.clean),
        "damaged": _mean(measured.all_damaged),
        "kinds": {kind: _mean(each) for kind, each in measured.damaged.items()},
        "clean_difference": _difference(measured.clean, baseline.clean),
        "damaged_difference": _difference(measured.all_damaged, baseline.all_damaged),
    }


def _at(figures: Mapping[str, Any], name: str) -> float:
    value: float = figures[name] if name in figures else figures["kinds"][name]
    return value


def _mean(answers: Sequence[Answers]) -> float:
    return round(fmean(score(each, num_resamples=0).total for each in answers), 4)


def _difference(ours: Sequence[Answers], theirs: Sequence[Answers]) -> dict[str, Any]:
    if ours is theirs:
        return {"mean": 0.0, "interval": [0.0, 0.0]}
    found = paired_difference(ours, theirs, num_resamples=NUM_RESAMPLES)
    return {"mean": round(found.mean, 4), "interval": [round(end, 4) for end in found.interval]}


def _difference_text(difference: Mapping[str, Any]) -> str:
    low, high = difference["interval"]
    return f"{difference['mean']:+.4f} ({low:+.4f} to {high:+.4f})"


if __name__ == "__main__":
    main()
