"""What settings do to the score, cross-validated on the stored features of a frozen backbone.

    python -m benchmarks.folds --catalogue DIR --weights FILE [--only NAME ...] [--also NAME KEY=VALUE]
                               [--folds N] [--seeds N] [--block-size IDS] [--threads N] [--quick]

A test part of a few hundred products tells differences of 0.02 apart at best. Here every product but
those of the test part (blocks of ids, seed 0), which is not looked at, is answered once, by heads that
were trained on the other folds: eight times as many. Folds are blocks of ids as well. The settings are
those of `benchmarks.options` that a frozen backbone has; the difference to plain is that of the means
over seeds, its 95% interval a paired bootstrap over products.
"""

import argparse
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the command line does, before torch is there
import numpy as np
import torch

from benchmarks.frozen import Frozen, answers_of, freeze, top_on_test, with_changes
from benchmarks.measure import make_parser, show
from benchmarks.options import PLAIN, SETTINGS, parsed
from benchmarks.paired import COLUMNS, measure_paired, paired_cells
from facetry.catalogue.catalogue import Catalogue, open_catalogue
from facetry.catalogue.split import PARTS, Split, SplitConfig, make_split
from facetry.cli.console import make_reporter
from facetry.evaluation.metrics import Answers

NAMES = (
    "cosine",
    "moving average",
    "no clipping",
    "label smoothing",
    "heads count equally",
    "balanced classes",
    "effective numbers",
    "shared heads",
    "standardised",
    "several depths",
)
_NO_PART = -1


def main(arguments: list[str] | None = None) -> None:
    """Measure and print."""
    options = _parse(arguments)
    torch.set_num_threads(options.threads)
    catalogue = open_catalogue(options.catalogue)
    epochs = ["training.epochs=2", "training.milestones=[]"] if options.quick else []
    frozen = freeze(catalogue, options.weights, epochs)
    folds = list(make_folds(catalogue, 2 if options.quick else options.folds, options.block_size))
    seeds = range(1 if options.quick else options.seeds)
    reporter = make_reporter()
    runs: dict[str, list[Answers]] = {}
    results: dict[str, Mapping[str, Any]] = {}
    for name, changes in _settings(options).items():
        setting = with_changes(frozen, changes)
        runs[name] = [_answers(setting, folds, seed) for seed in seeds]
        results[name] = measure_paired(runs[name], runs[PLAIN])
        reporter.say(f"{name}: {results[name]['mean']}, to plain {results[name]['interval']}")
    figures = {
        "benchmark": "folds",
        "catalogue": options.catalogue.name,
        "folds": len(folds),
        "seeds": len(seeds),
        "num_labels": len(runs[PLAIN][0].rows),
        "settings": results,
    }
    title = f"{figures['num_labels']:,} labels, {len(folds)} folds, {len(seeds)} seeds"
    rows = [(name, *paired_cells(each, is_plain=name == PLAIN)) for name, each in results.items()]
    show(title, ["setting", *COLUMNS], rows, figures)


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = make_parser(__doc__, quick="one seed, two folds, two epochs")
    parser.add_argument("--catalogue", type=Path, required=True, help="a catalogue with photos")
    parser.add_argument("--weights", required=True, help="MobileNetV2's weights: a file, hub, or none")
    parser.add_argument("--only", nargs="*", choices=NAMES, help="these settings and plain")
    parser.add_argument("--also", nargs="+", action="append", default=[], metavar="NAME KEY=VALUE")
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--block-size", type=int, default=50)
    return parser.parse_args(arguments)


def _settings(options: argparse.Namespace) -> dict[str, Mapping[str, Any]]:
    chosen = NAMES if options.only is None else options.only
    settings = {name: SETTINGS[name] for name in (PLAIN, *chosen)}
    return settings | {name: parsed(overrides) for name, *overrides in options.also}


def make_folds(catalogue: Catalogue, num_folds: int, block_size: int) -> Iterator[Split]:
    """Splits whose test parts are the folds of all products but the test part, which has no part."""
    config = SplitConfig(method="id_blocks", block_size=block_size)
    held_out = make_split(catalogue, config, seed=0).rows("test")
    blocks = catalogue.table["id"].to_numpy() // block_size
    order = np.random.default_rng(0).permutation(np.unique(blocks))
    place = {block: index % num_folds for index, block in enumerate(order.tolist())}
    fold = np.array([place[block] for block in blocks.tolist()])
    for index in range(num_folds):
        codes = np.where(fold == index, PARTS.index("test"), PARTS.index("train"))
        codes[held_out] = _NO_PART
        yield Split(codes.astype(np.int8))


def _answers(frozen: Frozen, folds: list[Split], seed: int) -> Answers:
    """The answers to the products of all folds."""
    rows = [fold.rows("test") for fold in folds]
    top = np.concatenate([top_on_test(frozen, fold, seed) for fold in folds])
    return answers_of(frozen.catalogue, np.concatenate(rows), top)


if __name__ == "__main__":
    main()
