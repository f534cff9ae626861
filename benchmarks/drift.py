"""How often drift is seen where there is none, and how well shifts of known size are found.

    python -m benchmarks.drift [--quick] [--model DIR --catalogue DIR] [--repeats N] [--out DIR]

Without a model, a catalogue is drawn and a small model trained on it. All products that the model was
not trained on are measured once. In each repetition they are divided anew: up to 2,000 for the
reference, and, disjoint from them, a batch of the same kind with 100, 500 or 2,000 products.

Then batches with a shift of known size: so many percent of the photos darkened to 60%, so many percent
in another style (smaller, on an orange ground), and so large a share of one category's products
replaced by products with another true value. Their photos are changed and measured once, too.

A batch counts as drift if `facetry drift` would call anything drift, and as found if it names what was
shifted: the brightness, the features, a value of that category.
"""

import argparse
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageEnhance

from benchmarks.measure import make_parser, show, working_folder
from facetry.build.load import load
from facetry.build.train import train
from facetry.catalogue.catalogue import open_catalogue
from facetry.confidence.drift.compare import compare
from facetry.confidence.drift.result import Drift
from facetry.confidence.drift.sample import Sample, measure
from facetry.demo.garments import SampleConfig, draw_catalogue
from facetry.evaluation.held_out import trained_on
from facetry.predictions import Predictor
from facetry.product import Product
from facetry.recipe import parse_recipe

SIZES = (100, 500, 2000)
SHARES = (0.1, 0.3, 1.0)
"""Of a batch's photos that are changed."""

DISTANCES = (0.05, 0.2, 0.4)
"""By which the mix of one category's true values is moved: the total variation distance."""

RECIPE: dict[str, Any] = {
    "backbone": {"name": "nano_convnext", "weights": "none"},
    "heads": {"hidden_dim": 64},
    "training": {"epochs": 4, "batch_size": 32, "backbone_lr": 1e-3, "heads_lr": 1e-3},
    "split": {"validation": 0.1, "test": 0.6, "method": "random"},
}


def darkened(photo: Image.Image) -> Image.Image:
    """The photo at 60% of its brightness."""
    return ImageEnhance.Brightness(photo).enhance(0.6)


def restyled(photo: Image.Image) -> Image.Image:
    """The photo made smaller, on an orange ground."""
    ground = Image.new("RGB", photo.size, (236, 120, 70))
    width, height = photo.size
    ground.paste(photo.resize((width * 7 // 10, height * 7 // 10)), (width // 7, height // 7))
    return ground


CHANGES: dict[str, tuple[Callable[[Image.Image], Image.Image], Callable[[Drift], bool]]] = {
    "darker photos": (darkened, lambda drift: "brightness" in {each.name for each in drift.drifted}),
    "another style": (restyled, lambda drift: "features" in {each.kind for each in drift.drifted}),
}


@dataclass(frozen=True, kw_only=True, eq=False)
class Pools:
    """What was measured of all held-out products, as they are and with changed photos, row by row."""

    plain: Sample
    changed: dict[str, Sample]


def take(sample: Sample, rows: np.ndarray) -> Sample:
    """Some products of a sample."""
    assert sample.features is not None
    return replace(
        sample,
        categories=sample.categories[rows],
        top=sample.top[rows],
        confidence=sample.confidence[rows],
        quality=sample.quality[rows],
        features=sample.features[rows],
        products=[sample.products[row] for row in rows],
        problems=type(sample.problems)(),
    )


def mixed(plain: Sample, changed: Sample, is_changed: np.ndarray) -> Sample:
    """A sample of which some products have changed photos."""

    def choose(name: str) -> np.ndarray:
        one, other = getattr(changed, name), getattr(plain, name)
        return np.where(is_changed[:, None], one, other)

    names = ("top", "confidence", "quality", "features")
    return replace(plain, **{name: choose(name) for name in names})


def measure_pools(predictor: Predictor, products: Sequence[Product], folder: Path) -> Pools:
    """Measure the products that have a readable photo, and their changed photos."""
    plain = measure(predictor, products)
    changed = {}
    for name, (change, _) in CHANGES.items():
        copies = [change_photo(each, change, folder / name) for each in plain.products]
        changed[name] = measure(predictor, copies)
        shutil.rmtree(folder / name)
    return Pools(plain=plain, changed=changed)


def change_photo(
    product: Product, change: Callable[[Image.Image], Image.Image], folder: Path
) -> Product:
    """The product with a changed copy of its photo."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{product.id}.png"
    with Image.open(product.photos[0]) as photo:
        change(photo.convert("RGB")).save(path, compress_level=1)
    return replace(product, photos=(path,))


def false_alarms(pools: Pools, size: int, repeats: int) -> dict[str, Any]:
    """How many batches of the same kind are called drift."""
    num_alarms, sizes = 0, []
    for seed in range(repeats):
        old, new = divide(pools.plain, size, seed)
        found = compare(take(pools.plain, old), take(pools.plain, new))
        num_alarms += bool(found.drifted)
        sizes += [each.effect.size for each in found.shifts if each.kind == "features"]
    return {
        "num_batches": repeats,
        "num_alarms": num_alarms,
        "num_figures": len(found.shifts),
        "features_effect": round(float(np.mean(sizes)), 4),
    }


def divide(sample: Sample, size: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows of a reference and of a batch, which share none."""
    order = np.random.default_rng(seed).permutation(len(sample))
    return order[size : size + 2000], order[:size]


def found_changes(pools: Pools, name: str, size: int, share: float, repeats: int) -> int:
    """In how many batches with so many changed photos the change is found."""
    num_found = 0
    for seed in range(repeats):
        old, new = divide(pools.plain, size, seed)
        is_changed = np.arange(size) < round(share * size)
        batch = mixed(take(pools.plain, new), take(pools.changed[name], new), is_changed)
        num_found += CHANGES[name][1](compare(take(pools.plain, old), batch))
    return num_found


def found_mixes(pools: Pools, size: int, distance: float, repeats: int) -> tuple[int, float]:
    """In how many batches whose mix of true values in a category is moved that is found; how far it is.

    It is moved less far than asked for where the most frequent value is rarer.
    """
    plain, num_found, moved = pools.plain, 0, 0.0
    category = int(np.bincount(plain.categories).argmax())
    name = plain.taxonomy.categories[category]
    attribute = plain.taxonomy.heads_of(name)[0].attribute
    labels = np.array([each.labels.get(attribute, "") for each in plain.products], dtype=object)
    values, counts = np.unique(
        labels[(plain.categories == category) & (labels != "")], return_counts=True
    )
    frequent, other = values[np.argsort(-counts)[:2]]
    for seed in range(repeats):
        old, new = divide(plain, size, seed)
        of_category = plain.categories[new] == category
        replaced = np.flatnonzero(of_category & (labels[new] == frequent))
        replaced = replaced[: round(distance * of_category.sum())]
        is_other = (plain.categories == category) & (labels == other)
        moved += len(replaced) / max(1, of_category.sum()) / repeats
        spare = np.random.default_rng(seed).permutation(np.intersect1d(np.flatnonzero(is_other), old))
        chosen = np.resize(spare[: 1 + len(spare) // 2], len(replaced))
        batch = new.copy()
        batch[replaced] = chosen
        drift = compare(take(plain, np.setdiff1d(old, chosen)), take(plain, batch))
        num_found += any(
            each.kind == "values" and each.category == name and each.name == attribute
            for each in drift.drifted
        )
    return num_found, round(float(moved), 3)


def measured_pools(options: argparse.Namespace, folder: Path) -> Pools:
    """Draw and train what is not given, and measure what the model was not trained on."""
    catalogue, model = options.catalogue, options.model
    if model is None:
        catalogue, model = folder / "catalogue", folder / "model"
        num_products = 700 if options.quick else 5000
        if not catalogue.exists():
            config = SampleConfig(num_products=num_products, size_px=64, test_share=0, workers=2)
            draw_catalogue(catalogue, config)
        recipe = dict(RECIPE, training=RECIPE["training"] | ({"epochs": 1} if options.quick else {}))
        train(parse_recipe(recipe), open_catalogue(catalogue), model)
    opened = open_catalogue(catalogue)
    rows = np.flatnonzero(~trained_on(model, opened, "validation"))
    return measure_pools(load(model), opened.products(rows), folder)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and print two tables and the figures."""
    parser = make_parser(__doc__, quick="a small catalogue, one size, few repetitions")
    parser.add_argument("--model", type=Path)
    parser.add_argument("--catalogue", type=Path)
    parser.add_argument("--repeats", type=int, default=100)
    parser.add_argument("--out", type=Path, help="folder to keep catalogue and model in")
    options = parser.parse_args(arguments)
    sizes = SIZES[:1] if options.quick else SIZES
    repeats = 3 if options.quick else options.repeats
    with working_folder(options.out) as folder:
        pools = measured_pools(options, folder)
    sizes = tuple(size for size in sizes if len(pools.plain) >= size + 200)
    alarms = {str(size): false_alarms(pools, size, repeats) for size in sizes}
    tries = max(2, repeats // 5)
    shifts: list[dict[str, Any]] = []
    for size in sizes:
        for name in CHANGES:
            for share in SHARES:
                num = found_changes(pools, name, size, share, tries)
                shifts.append({"shift": name, "share": share, "size": size, "found": num, "of": tries})
        for distance in DISTANCES:
            num, moved = found_mixes(pools, size, distance, tries)
            shifts.append({"shift": "mix", "share": moved, "size": size, "found": num, "of": tries})
    rows = [(f"none, {size}", f"{each['num_alarms']} of {repeats}") for size, each in alarms.items()]
    rows += [
        (f"{each['shift']} {each['share']:.0%}, {each['size']}", f"{each['found']} of {each['of']}")
        for each in shifts
    ]
    figures = {
        "benchmark": "drift",
        "num_products": len(pools.plain),
        "false_alarms": alarms,
        "shifts": shifts,
    }
    show("Batches called drift", ["shift, products in the batch", "batches"], rows, figures)


if __name__ == "__main__":
    main()
