"""What each way of cleaning and balancing does to the score, against none.

    python -m benchmarks.clean --catalogue DIR --weights FILE [--quick] [--split-method id_blocks]
                               [--block-size IDS] [--seeds N] [--threads N]

Photos are embedded once by MobileNetV2, and once more without their background. On one split heads
are trained for each seed and each setting, and scored on the test part, whose labels no setting
touches. The difference to none is that of the means over seeds; its 95% interval is a paired
bootstrap over the test products. Photos without background are so in the test as well.
"""

import argparse
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the command line does, before torch is there
import torch

from benchmarks.frozen import answers_on_test, freeze, with_changes
from benchmarks.measure import make_parser, show
from benchmarks.paired import COLUMNS, measure_paired, paired_cells
from facetry.catalogue.catalogue import Catalogue, open_catalogue
from facetry.catalogue.split import Split, SplitConfig, make_split
from facetry.evaluation.metrics import Answers

SETTINGS: Mapping[str, Mapping[str, Mapping[str, Any]]] = {
    "none": {},
    "neighbours replace": {"clean": {"neighbours": "replace"}},
    "neighbours weigh": {"clean": {"neighbours": "weigh"}},
    "upsample 0.1": {"clean": {"upsample": 0.1}},
    "class weights": {"training": {"loss": {"class_weights": "balanced"}}},
}
WITHOUT_BACKGROUND = "image.background=grabcut"


def main(arguments: list[str] | None = None) -> None:
    """Measure and print."""
    options = _parse(arguments)
    torch.set_num_threads(options.threads)
    catalogue = open_catalogue(options.catalogue)
    config = SplitConfig.model_validate(
        {"method": options.split_method, "block_size": options.block_size}
    )
    split = make_split(catalogue, config, seed=0)
    seeds = range(1 if options.quick else options.seeds)
    runs = _run_all(catalogue, split, seeds, options)
    measured = {name: measure_paired(each, runs["none"]) for name, each in runs.items()}
    figures = {
        "benchmark": "clean",
        "catalogue": options.catalogue.name,
        "split": options.split_method,
        "seeds": len(seeds),
        "num_test": len(split.rows("test")),
        "num_labels": len(runs["none"][0].rows),
        "settings": measured,
    }
    title = f"{figures['num_labels']:,} test labels, {len(seeds)} seeds, split {options.split_method}"
    rows = [(name, *paired_cells(each, is_plain=name == "none")) for name, each in measured.items()]
    show(title, ["cleaning", *COLUMNS], rows, figures)


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = make_parser(__doc__, quick="one seed, three epochs")
    parser.add_argument("--catalogue", type=Path, required=True, help="a catalogue with photos")
    parser.add_argument("--weights", required=True, help="MobileNetV2's weights: a file, hub, or none")
    parser.add_argument("--split-method", default="stratified")
    parser.add_argument("--block-size", type=int, default=50)
    parser.add_argument("--seeds", type=int, default=3)
    return parser.parse_args(arguments)


def _run_all(
    catalogue: Catalogue, split: Split, seeds: range, options: argparse.Namespace
) -> dict[str, list[Answers]]:
    """The answers to the test's labels by setting, one for each seed."""
    overrides = ["training.epochs=3", "training.milestones=[2]"] if options.quick else []
    frozen = freeze(catalogue, options.weights, overrides)
    runs = {
        name: [answers_on_test(with_changes(frozen, changes), split, seed) for seed in seeds]
        for name, changes in SETTINGS.items()
    }
    cut_out = freeze(catalogue, options.weights, [*overrides, WITHOUT_BACKGROUND])
    runs["no background"] = [answers_on_test(cut_out, split, seed) for seed in seeds]
    return runs


if __name__ == "__main__":
    main()
