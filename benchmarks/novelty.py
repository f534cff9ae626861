"""How well photos unlike those of their category are told from known ones.

    python -m benchmarks.novelty --catalogue DIR --model FOLDER [--hold-out CATEGORY ...]
                                 [--pass-for CATEGORY] [--photos N] [--damaged N]
    python -m benchmarks.novelty --quick

Known photos are the test part of the model's split. Unlike them are products of held-out categories,
passed off as another one; products of a wrong category; drawn photos that show nothing, or no clothing;
and damaged photos. What is held out is left out of what others are compared with; a tower that
was trained, not frozen, has seen it all the same.

Three scores are compared: `novelty`, as a model stores it; `nearest`, the cosine distance of the plain
features to the nearest photo of the category; and `unsure`, 1 less the mean confidence of a product's
predictions. AUROC is the chance that a photo of the row scores above a known one; FPR@95 is the share of
the row's photos that pass for known where 95% of the known ones do; `flagged` is the share above the
threshold of novelty, which 2% of known photos should be. The 95% intervals are bootstrapped over groups
of like photos.
"""

import argparse
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the command line does, before torch is there
import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.measure import make_parser, show, working_folder
from benchmarks.odd_photos import BLANK, KINDS, draw_photos
from facetry.build.load import load_plain
from facetry.build.train import train
from facetry.catalogue.catalogue import Catalogue, open_catalogue
from facetry.catalogue.split import Part, Split, read_split
from facetry.cli.console import make_reporter
from facetry.confidence.novelty import (
    FeatureSet,
    Novelty,
    choose_references,
    kth_distances,
)
from facetry.demo.garments import SampleConfig, draw_catalogue
from facetry.evaluation.held_out import SPLIT
from facetry.images import load_batches, load_changed
from facetry.images.corruptions import CORRUPTIONS, Damage
from facetry.nearest import unit
from facetry.predictions import Embedder
from facetry.product import Product
from facetry.recipe import parse_recipe

Floats = NDArray[np.floating]

NUM_RESAMPLES = 200
STRENGTHS = (1, 3, 5)
QUICK = {
    "kind": "classifier",
    "backbone": {"name": "nano_convnext", "weights": "none"},
    "heads": {"hidden_dim": 16},
    "training": {"epochs": 1, "heads_lr": 0.001, "backbone_lr": 0.001},
    "split": {"validation": 0.4, "test": 0.2, "method": "random"},
}


@dataclass(frozen=True, kw_only=True, eq=False)
class Seen:
    """What a predictor makes of the products (B) that it can read.

    `features` (B, D), `categories` (B) those that the products are passed off as, `confidence` (B) the
    mean over their predictions; like photos have the same number in `groups` (B).
    """

    features: NDArray[Any]
    categories: NDArray[np.int64]
    confidence: Floats
    groups: NDArray[np.int64]


Score = Callable[[Seen], Floats]
"""Higher for photos that are less like those of their category (B)."""


def main(arguments: list[str] | None = None) -> None:
    """Measure and print."""
    options = _parse(arguments)
    torch.set_num_threads(options.threads)
    with working_folder(None) as folder:
        if options.quick:
            _draw_and_train(options, folder)
        trial = Trial.of(options, folder)
        scores = make_scores(
            trial.references("train"), trial.references("validation"), trial.num_categories
        )
        known = trial.see(trial.part("test"))
        cases = {name: trial.see(products) for name, products in trial.cases().items()}
        cases |= trial.damaged()
    show_figures(
        known, cases, scores, {"catalogue": options.catalogue.name, "model": options.model.name}
    )


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = make_parser(__doc__, quick="a tiny network, one epoch, few drawn photos")
    parser.add_argument("--catalogue", type=Path, help="the catalogue that the model was trained on")
    parser.add_argument("--model", type=Path, help="a model folder")
    parser.add_argument("--hold-out", nargs="*", default=[], metavar="CATEGORY")
    parser.add_argument("--pass-for", metavar="CATEGORY", help="the largest one if not given")
    parser.add_argument("--photos", type=int, default=40, help="drawn photos of each kind")
    parser.add_argument("--damaged", type=int, default=150, help="test products with damaged photos")
    options = parser.parse_args(arguments)
    if not options.quick and not (options.catalogue and options.model):
        parser.error("name --catalogue and --model, or --quick")
    return options


def _draw_and_train(options: argparse.Namespace, folder: Path) -> None:
    options.catalogue, options.model = folder / "catalogue", folder / "model"
    options.photos, options.damaged, options.hold_out = 4, 8, ["Sarees"]
    draw_catalogue(options.catalogue, SampleConfig(num_products=240, seed=1, size_px=64))
    train(
        parse_recipe(QUICK), open_catalogue(options.catalogue), options.model, reporter=make_reporter()
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class Trial:
    """A model, the products that it is tried on, and a folder for drawn photos."""

    predictor: Embedder
    catalogue: Catalogue
    split: Split
    options: argparse.Namespace
    folder: Path

    @classmethod
    def of(cls, options: argparse.Namespace, folder: Path) -> "Trial":
        """The trial that the options describe."""
        predictor, catalogue = load_plain(options.model), open_catalogue(options.catalogue)
        assert isinstance(predictor, Embedder), "the model has no features"
        split = read_split(options.model / SPLIT, catalogue)
        return cls(predictor=predictor, catalogue=catalogue, split=split, options=options, folder=folder)

    @property
    def num_categories(self) -> int:
        """C."""
        return len(self.predictor.taxonomy.categories)

    @property
    def passed_for(self) -> str:
        """The category that what is held out is passed off as."""
        names = self.predictor.taxonomy.categories
        sizes = np.bincount(self.catalogue.category_codes[self.rows("train")], minlength=len(names))
        return str(self.options.pass_for or names[int(sizes.argmax())])

    def rows(self, part: Part) -> NDArray[np.int64]:
        """The rows of a part whose categories are not held out."""
        rows = self.split.rows(part)
        held_out = self.catalogue.taxonomy.encode_categories(self.options.hold_out)
        codes = self.catalogue.category_codes[rows]
        return rows[(codes >= 0) & ~np.isin(codes, held_out)]

    def references(self, part: Part) -> FeatureSet:
        """The features that novelty is learned from."""
        rows = choose_references(self.catalogue.category_codes, self.rows(part))
        seen = self.see(Like(self.catalogue.products(rows), rows))
        return FeatureSet(features=seen.features, categories=seen.categories)

    def part(self, part: Part) -> "Like":
        """The products of a part, those of like photos together."""
        rows = self.rows(part)
        groups = rows if self.split.groups is None else self.split.groups[rows]
        return Like(self.catalogue.products(rows), groups)

    def cases(self) -> dict[str, "Like"]:
        """Products that are unlike those of their category, by what they are."""
        held_out = {
            f"{name} as {self.passed_for}": self._passed_off(self._of(name))
            for name in self.options.hold_out
        }
        return {**held_out, "a wrong category": self._swapped(), **self._drawn()}

    def _of(self, category: str) -> "Like":
        (code,) = self.catalogue.taxonomy.encode_categories([category])
        rows = np.flatnonzero(self.catalogue.category_codes == code)
        groups = rows if self.split.groups is None else self.split.groups[rows]
        return Like(self.catalogue.products(rows), groups)

    def _passed_off(self, like: "Like") -> "Like":
        products = [replace(each, category=self.passed_for) for each in like.products]
        return Like(products, like.groups)

    def _swapped(self) -> "Like":
        """Test products, each passed off as one of the other categories."""
        like, random = self.part("test"), np.random.default_rng(0)
        names = sorted({product.category for product in like.products})
        products = [
            replace(each, category=str(random.choice([name for name in names if name != each.category])))
            for each in like.products
        ]
        return Like(products, like.groups)

    def _drawn(self) -> dict[str, "Like"]:
        """Drawn photos, blank ones and others."""
        found: dict[str, list[Product]] = {"blank": [], "no clothing": []}
        for kind in KINDS:
            files = draw_photos(self.folder / "odd", kind, self.options.photos)
            found["blank" if kind in BLANK else "no clothing"] += [
                Product(id=file.stem, category=self.passed_for, photos=(file,)) for file in files
            ]
        return {name: Like(each, np.arange(len(each))) for name, each in found.items()}

    def damaged(self) -> dict[str, Seen]:
        """Some test products with photos damaged at several strengths, by the kind of damage."""
        like = self.part("test")
        chosen = np.random.default_rng(0).permutation(len(like.products))[: self.options.damaged]
        some = Like([like.products[row] for row in chosen], like.groups[chosen])
        side_px = max(form.size_px for form in self.predictor.preprocesses)
        kinds = ["noise"] if self.options.quick else list(CORRUPTIONS)
        return {
            f"damaged: {CORRUPTIONS[kind].title.lower()}": self.see(
                some, [Damage(kind=kind, strength=each, side_px=side_px) for each in STRENGTHS]
            )
            for kind in kinds
        }

    def see(self, like: "Like", changes: Sequence[Damage] = ()) -> Seen:
        """Predict products; where there are `changes`, once with each."""
        parts: list[Seen] = []
        groups = iter(like.groups.tolist())
        forms, reporter = self.predictor.preprocesses, make_reporter()
        loaded = (
            load_changed(like.products, forms, changes, reporter=reporter)
            if changes
            else ((batch,) for batch in load_batches(like.products, forms, reporter=reporter))
        )
        for batches in loaded:
            own = np.array([next(groups) for _ in batches[0]], dtype=np.int64)
            parts += [self._see_batch(batch, own) for batch in batches]
        return _joined(parts)

    def _see_batch(self, batch: Sequence[Product], groups: NDArray[np.int64]) -> Seen:
        predictions, features = self.predictor.predict_and_embed(batch)
        readable = predictions.readable
        num_heads = np.maximum(predictions.head_mask.sum(axis=1), 1)
        return Seen(
            features=features[readable],
            categories=predictions.category_codes[readable],
            confidence=(predictions.confidence.sum(axis=1) / num_heads)[readable],
            groups=groups[readable],
        )


@dataclass(frozen=True, eq=False)
class Like:
    """Products (B); those with like photos have the same number in `groups` (B)."""

    products: Sequence[Product]
    groups: NDArray[np.int64]


def _joined(parts: Sequence[Seen]) -> Seen:
    return Seen(
        features=np.concatenate([each.features for each in parts]),
        categories=np.concatenate([each.categories for each in parts]),
        confidence=np.concatenate([each.confidence for each in parts]),
        groups=np.concatenate([each.groups for each in parts]),
    )


def make_scores(known: FeatureSet, others: FeatureSet, num_categories: int) -> dict[str, Score]:
    """The scores that are compared, learned from the same photos."""
    novelty = Novelty.fit(known, others, num_categories)

    def nearest(seen: Seen) -> Floats:
        distances = np.zeros(len(seen.features))
        for category in np.unique(seen.categories):
            own = unit(known.features[known.categories == category])
            asked = seen.categories == category
            distances[asked] = kth_distances(unit(seen.features[asked]), own, 1)
        return distances

    return {
        "novelty": lambda seen: novelty.scores(seen.features, seen.categories),
        "nearest": nearest,
        "unsure": lambda seen: 1 - seen.confidence,
    }


def show_figures(
    known: Seen, cases: Mapping[str, Seen], scores: Mapping[str, Score], facts: Mapping[str, object]
) -> None:
    """Print how well each score tells the cases from known photos."""
    of_known = {name: score(known) for name, score in scores.items()}
    figures: dict[str, Any] = {}
    for case, seen in cases.items():
        found = {name: score(seen) for name, score in scores.items()}
        figures[case] = {
            name: _told(of_known[name], found[name], known.groups, seen.groups) for name in scores
        }
        figures[case]["flagged"] = round(float((found["novelty"] > 1).mean()), 4)
        figures[case]["num"] = len(seen.groups)
    flagged = float((of_known["novelty"] > 1).mean())
    rows = [
        [case, str(each["num"]), *(_cell(each[name]) for name in scores), f"{each['flagged']:.2f}"]
        for case, each in figures.items()
    ]
    show(
        f"AUROC, FPR@95, against {len(known.groups):,} known photos, of which {flagged:.1%} are flagged",
        ["photos", "number", *scores, "flagged"],
        rows,
        {
            "benchmark": "novelty",
            **facts,
            "num_known": len(known.groups),
            "known_flagged": round(flagged, 4),
            "cases": figures,
        },
    )


def _told(
    known: Floats, odd: Floats, known_groups: NDArray[np.int64], odd_groups: NDArray[np.int64]
) -> dict[str, Any]:
    """AUROC and FPR@95 with their intervals."""
    random = np.random.default_rng(0)
    drawn = [
        _told_once(known[_resampled(known_groups, random)], odd[_resampled(odd_groups, random)])
        for _ in range(NUM_RESAMPLES)
    ]
    auroc, fpr95 = _told_once(known, odd)
    ends = np.quantile(drawn, [0.025, 0.975], axis=0).round(4)
    return {
        "auroc": round(auroc, 4),
        "auroc_interval": ends[:, 0].tolist(),
        "fpr95": round(fpr95, 4),
        "fpr95_interval": ends[:, 1].tolist(),
    }


def _told_once(known: Floats, odd: Floats) -> tuple[float, float]:
    ordered = np.sort(known)
    num_below = [np.searchsorted(ordered, odd, side) for side in ("left", "right")]  # ties count half
    auroc = np.mean(num_below) / len(known)
    return float(auroc), float((odd <= np.quantile(known, 0.95)).mean())


def _resampled(groups: NDArray[np.int64], random: np.random.Generator) -> NDArray[np.int64]:
    """Indices of as many groups as there are, drawn with replacement."""
    _, codes = np.unique(groups, return_inverse=True)
    members = np.split(np.argsort(codes, kind="stable"), np.cumsum(np.bincount(codes))[:-1])
    return np.concatenate([members[each] for each in random.integers(0, len(members), len(members))])


def _cell(told: Mapping[str, Any]) -> str:
    low, high = told["auroc_interval"]
    return f"{told['auroc']:.3f} ({low:.3f} to {high:.3f}), {told['fpr95']:.2f}"


if __name__ == "__main__":
    main()
