"""How even a stratified split is, how long it takes, and how much a random split flatters.

    python -m benchmarks.split [--quick] [--table FILE]
                               [--catalogue DIR --weights FILE] [--seeds N] [--block-size IDS]

The first table compares the stratified split with the random one, the baseline, on a table as large
as the challenge's: drawn in its proportions, or the real one if it is named. Each product is its own
group there, as there are no photos.

The second needs a catalogue with photos and MobileNetV2's weights. The photos are embedded once; for
each way to split and each seed heads are trained and scored on that split's own test part. Intervals
are over the test products: in each of the resamples all seeds' tests are drawn anew and averaged.
"""

import argparse
import json
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the command line does, before torch is there
import torch

from benchmarks.challenge import challenge_taxonomy, draw_labels
from benchmarks.frozen import Frozen, answers_on_test, freeze
from benchmarks.measure import make_parser, show_table, time_once
from facetry.catalogue.catalogue import Catalogue, open_catalogue
from facetry.catalogue.split import (
    Split,
    SplitConfig,
    count_groups,
    find_groups,
    make_split,
    summarise,
)
from facetry.catalogue.split.stratify import MIN_EXAMPLES
from facetry.evaluation.metrics import score

NUM_PRODUCTS, NUM_QUICK = 70_213, 3_000
NUM_RESAMPLES = 1_000
METHODS = ("random", "stratified", "id_blocks")


def main(arguments: list[str] | None = None) -> None:
    """Measure and print."""
    parser = make_parser(__doc__, quick="a small table, one seed, three epochs")
    parser.add_argument("--table", type=Path, help="a table of products to split, without photos")
    parser.add_argument("--catalogue", type=Path, help="a catalogue with photos, for the scores")
    parser.add_argument("--weights", help="MobileNetV2's weights: a file, hub, or none")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--block-size", type=int, default=50)
    options = parser.parse_args(arguments)
    if (options.catalogue is None) != (options.weights is None):
        parser.error("--catalogue and --weights belong together")
    torch.set_num_threads(options.threads)
    figures: dict[str, Any] = {"benchmark": "split", "evenness": _evenness(options)}
    if options.catalogue:
        figures["scores"] = _scores(options)
    print(json.dumps(figures))


def _evenness(options: argparse.Namespace) -> dict[str, Any]:
    """Time and evenness of both splits."""
    with tempfile.TemporaryDirectory() as folder:
        table = options.table or _draw_table(Path(folder), NUM_QUICK if options.quick else NUM_PRODUCTS)
        catalogue = open_catalogue(table)
        groups = np.arange(len(catalogue))
        measured = {method: _measure(catalogue, method, groups) for method in METHODS[:2]}
    rows = [
        (
            method,
            f"{each['seconds']:.2f}",
            f"{each['worst_share_off']:.3%}",
            f"{each['worst_value_off']:.2%}",
            f"{each['num_absent']}",
        )
        for method, each in measured.items()
    ]
    columns = ["split", "seconds", "shares off by", f"value of {MIN_EXAMPLES}+ off by", "values absent"]
    show_table(f"{len(catalogue):,} products, {catalogue.taxonomy.num_heads} heads", columns, rows)
    return {"num_products": len(catalogue), **measured}


def _measure(catalogue: Catalogue, method: str, groups: np.ndarray) -> dict[str, float]:
    """Seconds, and how far shares and values are off at worst."""
    config, made = SplitConfig.model_validate({"method": method}), []
    seconds, _ = time_once(lambda: made.append(make_split(catalogue, config, seed=0, groups=groups)))
    parts = summarise(catalogue, made[0].codes, config.shares(len(catalogue)))
    return {
        "seconds": round(seconds, 3),
        "worst_share_off": round(max(abs(part.share - part.requested) for part in parts), 6),
        "worst_value_off": round(max(part.deviation for part in parts), 6),
        "num_absent": sum(part.num_absent for part in parts),
    }


def _draw_table(folder: Path, num_products: int) -> Path:
    """A table in the challenge's proportions."""
    taxonomy = challenge_taxonomy()
    categories, labels = draw_labels(taxonomy, num_products)
    heads = [taxonomy.heads_of(name) for name in taxonomy.categories]
    columns: dict[str, Any] = {
        "id": range(num_products),
        "Category": [taxonomy.categories[category] for category in categories],
    }
    for slot in range(taxonomy.num_slots):
        columns[f"attr_{slot + 1}"] = [
            heads[category][slot].values[code] if code >= 0 else None
            for category, code in zip(categories, labels[:, slot], strict=True)
        ]
    pl.DataFrame(columns).write_csv(folder / "train.csv")
    lists = [[head.attribute for head in each] for each in heads]
    names = pl.DataFrame({"Category": taxonomy.categories, "Attribute_list": lists})
    names.write_parquet(folder / "category_attributes.parquet")
    return folder / "train.csv"


def _scores(options: argparse.Namespace) -> dict[str, Any]:
    """Test scores of heads on frozen features, by way of splitting."""
    catalogue = open_catalogue(options.catalogue)
    frozen = freeze(catalogue, options.weights, _overrides(options))
    groups = find_groups(catalogue)
    seeds = range(1 if options.quick else options.seeds)
    measured = {
        method: _score(frozen, _splits(catalogue, method, groups, seeds, options.block_size))
        for method in METHODS
    }
    rows = [
        (
            method,
            f"{each['mean']:.4f}",
            f"{each['interval'][0]:.4f} to {each['interval'][1]:.4f}",
            ", ".join(f"{score:.4f}" for score in each["by_seed"]),
            f"{each['num_cut']}",
        )
        for method, each in measured.items()
    ]
    num_shared = count_groups(groups, np.zeros(len(catalogue), dtype=np.int8)).num_shared
    columns = ["split", "test score", "95% interval", "by seed", "groups cut"]
    show_table(
        f"{len(catalogue):,} products, {num_shared:,} groups of near-duplicate photos", columns, rows
    )
    return {"num_products": len(catalogue), "num_shared": num_shared, **measured}


def _overrides(options: argparse.Namespace) -> list[str]:
    return ["training.epochs=3", "training.milestones=[2]"] if options.quick else []


def _splits(
    catalogue: Catalogue, method: str, groups: np.ndarray, seeds: range, block_size: int
) -> list[Split]:
    """A split for each seed; only the stratified one heeds the groups."""
    config = SplitConfig.model_validate({"method": method, "block_size": block_size})
    return [make_split(catalogue, config, seed=seed, groups=groups) for seed in seeds]


def _score(frozen: Frozen, splits: list[Split]) -> dict[str, Any]:
    """The mean test score over the splits, its interval, and how many groups each split cut."""
    totals, by_seed, num_cut = np.zeros(NUM_RESAMPLES), [], []
    for seed, split in enumerate(splits):
        answers = answers_on_test(frozen, split, seed)
        by_seed.append(score(answers, num_resamples=0).total)
        totals += answers.resampled(NUM_RESAMPLES, seed) / len(splits)
        assert split.groups is not None
        num_cut.append(count_groups(split.groups, split.codes).num_cut)
    return {
        "mean": round(float(np.mean(by_seed)), 4),
        "interval": np.quantile(totals, [0.025, 0.975]).round(4).tolist(),
        "by_seed": [round(each, 4) for each in by_seed],
        "num_cut": num_cut,
    }


if __name__ == "__main__":
    main()
