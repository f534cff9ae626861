"""What each option of training does to the score, against the plain recipe.

    python -m benchmarks.options --catalogue DIR --out FOLDER [--recipe FILE] [--set KEY=VALUE ...]
                                 [--only NAME ...] [--also NAME KEY=VALUE ...] [--seeds N] [--no-train]
                                 [--split-method id_blocks] [--block-size IDS] [--threads N]
    python -m benchmarks.options --quick

On one split the recipe (each member of an ensemble for itself) is trained for each seed in each setting
and scored on the test part, whose labels no setting touches. The difference to plain is that of the
means over seeds; its 95% interval is a paired bootstrap over the test products. An option that a
backbone does not have is listed as such.

The answers of each training are kept in `--out`, and a training that is stopped goes on, so that the
same command can run in pieces; `--no-train` shows what is there. All settings have their first seed
before any has its second.
"""

import argparse
import hashlib
import os
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the command line does, before torch is there
import numpy as np
import torch

from benchmarks.frozen import changed
from benchmarks.measure import make_parser, show, working_folder
from benchmarks.paired import COLUMNS, measure_paired, paired_cells
from facetry.build.load import load
from facetry.build.train import recipe_key, train
from facetry.catalogue.catalogue import Catalogue, open_catalogue
from facetry.catalogue.split import Split, SplitConfig, make_split
from facetry.cli.console import make_reporter
from facetry.demo.garments import SampleConfig, draw_catalogue
from facetry.errors import FacetryError
from facetry.evaluation.metrics import Answers, predict
from facetry.recipe import (
    ClassifierRecipe,
    EnsembleRecipe,
    Recipe,
    dump_recipe,
    load_recipe,
    override_key,
)
from facetry.runtime.files import write_text, writing

DEMO = Path(__file__).parent.parent / "recipes" / "demo.yaml"
PLAIN = "plain"

SETTINGS: Mapping[str, Mapping[str, Any]] = {
    PLAIN: {},
    "no augmentation": {"augment": {"flip": 0.0}},
    "crop": {"augment": {"crop": 0.125}},
    "rotation": {"augment": {"rotation_deg": 10.0}},
    "light": {"augment": {"brightness": 0.2, "contrast": 0.2}},
    "colour": {"augment": {"saturation": 0.2, "hue": 0.02}},
    "augmix": {"augment": {"augmix": 0.3}},
    "mixup": {"augment": {"mixup": 0.2}},
    "cutmix": {"augment": {"cutmix": 1.0}},
    "mixup and cutmix": {"augment": {"mixup": 0.2, "cutmix": 1.0}},
    "moving average": {"training": {"ema_decay": 0.99}},
    "cosine": {"training": {"schedule": "cosine"}},
    "layer decay": {"training": {"layer_decay": 0.8}},
    "no clipping": {"training": {"clip_norm": 0.0}},
    "label smoothing": {"training": {"loss": {"label_smoothing": 0.1}}},
    "heads count equally": {"training": {"loss": {"average": "head"}}},
    "balanced classes": {"training": {"loss": {"class_weights": "balanced"}}},
    "effective numbers": {"training": {"loss": {"class_weights": "effective"}}},
    "shared heads": {"heads": {"shared": True}},
    "standardised": {"heads": {"standardise": True}},
    "several depths": {"backbone": {"intermediates": 3}, "heads": {"standardise": True}},
    "adversarial": {"training": {"adversarial": 0.01}},
    "lora": {"training": {"lora": {"rank": 8}}},
    "frozen blocks": {"training": {"frozen_blocks": 2}},
    "pruned channels": {"backbone": {"prune": {"channels": 0.25}}},
    "pruned blocks": {"backbone": {"prune": {"blocks": 0.25}}},
}
"""What each setting changes in a recipe."""

_QUICK = {
    "image": {"size_px": 32},
    "heads": {"hidden_dim": 8},
    "training": {"epochs": 1, "milestones": [], "warmup_epochs": 0.0},
}
_QUICK_SETTINGS = ("cosine", "lora")


@dataclass(frozen=True, kw_only=True)
class Bench:
    """What is measured: the settings of each recipe, on a split of a catalogue; answers go to `out`."""

    catalogue: Catalogue
    split: Split
    out: Path
    recipes: Mapping[str, ClassifierRecipe]
    settings: Mapping[str, Mapping[str, Any]]
    num_seeds: int


def main(arguments: list[str] | None = None) -> None:
    """Measure and print."""
    options = _parse(arguments)
    torch.set_num_threads(options.threads)
    with working_folder(options.out) as out:
        bench = _set_up(options, out)
        faults = {} if options.no_train else _train_all(bench)
        _show(bench, faults)


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = make_parser(__doc__, quick="tiny networks, one epoch, one seed, two settings")
    parser.add_argument("--catalogue", type=Path, help="a catalogue with photos; drawn if not given")
    parser.add_argument("--out", type=Path, help="store answers here, and go on with what is there")
    parser.add_argument("--recipe", type=Path, default=DEMO)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--only", nargs="+", choices=list(SETTINGS), help="these settings and plain")
    parser.add_argument("--also", nargs="+", action="append", default=[], metavar="NAME KEY=VALUE")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--no-train", action="store_true", help="show what is there")
    parser.add_argument("--split-method", default="stratified")
    parser.add_argument("--block-size", type=int, default=50)
    return parser.parse_args(arguments)


def _set_up(options: argparse.Namespace, out: Path) -> Bench:
    if options.catalogue is None:
        options.catalogue = out / "catalogue"
        if not options.catalogue.exists():
            num_products = 90 if options.quick else 2000
            draw_catalogue(options.catalogue, SampleConfig(num_products=num_products, size_px=64))
    catalogue = open_catalogue(options.catalogue)
    split = SplitConfig.model_validate(
        {"method": options.split_method, "block_size": options.block_size}
    )
    chosen = options.only or (_QUICK_SETTINGS if options.quick else SETTINGS)
    settings = {name: change for name, change in SETTINGS.items() if name == PLAIN or name in chosen}
    recipe = load_recipe(options.recipe, options.set)
    return Bench(
        catalogue=catalogue,
        split=make_split(catalogue, split, seed=0),
        out=out,
        recipes=_classifiers(recipe, _QUICK if options.quick else {}),
        settings=settings | {name: parsed(overrides) for name, *overrides in options.also},
        num_seeds=1 if options.quick else options.seeds,
    )


def parsed(overrides: Sequence[str]) -> dict[str, Any]:
    """A change of a recipe that is given as texts."""
    content: dict[str, Any] = {}
    for override in overrides:
        override_key(content, override)
    return content


def _classifiers(recipe: Recipe, change: Mapping[str, Any]) -> dict[str, ClassifierRecipe]:
    """The recipe by its backbone's name, or those of an ensemble's members."""
    members = recipe.members.values() if isinstance(recipe, EnsembleRecipe) else [recipe]
    classifiers = [changed(each, change) for each in members if isinstance(each, ClassifierRecipe)]
    return {each.backbone.name: each for each in classifiers}


def _jobs(bench: Bench) -> Iterator[tuple[str, str, int]]:
    for seed in range(bench.num_seeds):
        for backbone in bench.recipes:
            for name in bench.settings:
                yield backbone, name, seed


def _train_all(bench: Bench) -> dict[tuple[str, str], str]:
    """Train what is missing; returns why some settings cannot be had, by backbone and setting."""
    faults: dict[tuple[str, str], str] = {}
    for backbone, name, seed in _jobs(bench):
        if (backbone, name) in faults:
            continue
        try:
            recipe = _recipe(bench, backbone, name, seed)
            if not _file(bench, recipe).exists():
                _train_one(bench, recipe, f"{backbone}, {name}, seed {seed}")
        except FacetryError as error:
            faults[backbone, name] = error.message
    return faults


def _recipe(bench: Bench, backbone: str, name: str, seed: int) -> ClassifierRecipe:
    return changed(bench.recipes[backbone], bench.settings[name]).with_seed(seed)


def _file(bench: Bench, recipe: ClassifierRecipe) -> Path:
    """Where the answers of a recipe are kept, and those of no other catalogue or split."""
    place = f"{bench.catalogue.fingerprint[:8]}-{_split_key(bench.split)}"
    return bench.out / place / f"{recipe_key(recipe)}.npz"


def _split_key(split: Split) -> str:
    return hashlib.sha256(split.codes.tobytes()).hexdigest()[:8]


def _train_one(bench: Bench, recipe: ClassifierRecipe, what: str) -> None:
    """Train, answer the test part's labels, and keep only the answers."""
    file, model = _file(bench, recipe), bench.out / "models" / recipe_key(recipe)
    reporter, started = make_reporter(), time.perf_counter()
    file.parent.mkdir(exist_ok=True)
    try:
        train(recipe, bench.catalogue, model, split=bench.split, reporter=reporter)
    except FacetryError:
        shutil.rmtree(model.with_name(f"{model.name}.partial"), ignore_errors=True)
        raise
    seconds = time.perf_counter() - started
    products = bench.catalogue.products(bench.split.rows("test"))
    top = predict(load(model), products).top
    write_text(file.with_suffix(".yaml"), f"# {what}: {seconds:.0f} s\n{dump_recipe(recipe)}")
    with writing(file) as draft, draft.open("wb") as stream:
        np.savez_compressed(stream, top=top, seconds=seconds)
    shutil.rmtree(model)
    reporter.say(f"{what}: {seconds:.0f} s")


def _show(bench: Bench, faults: Mapping[tuple[str, str], str]) -> None:
    measured: dict[str, dict[str, Any]] = {}
    rows: list[tuple[str, ...]] = []
    for backbone in bench.recipes:
        plain = _answers(bench, backbone, PLAIN)
        for name in bench.settings:
            runs = {} if (backbone, name) in faults else _answers(bench, backbone, name)
            seeds = sorted(runs.keys() & plain.keys())
            label = f"{backbone}, {name}"
            if seeds:
                result = measure_paired([runs[s] for s in seeds], [plain[s] for s in seeds])
                measured[label] = result
                rows.append((label, *paired_cells(result, is_plain=name == PLAIN)))
            else:
                reason = faults.get((backbone, name), "not trained yet")
                rows.append((label, "", "", "", reason))
    figures = {
        "benchmark": "options",
        "catalogue": bench.catalogue.source.table.parent.name,
        "seeds": bench.num_seeds,
        "num_test": len(bench.split.rows("test")),
        "settings": measured,
        "impossible": {f"{backbone}, {name}": why for (backbone, name), why in faults.items()},
    }
    title = f"{figures['num_test']:,} test products, up to {bench.num_seeds} seeds"
    show(title, ["recipe and option", *COLUMNS], rows, figures)


def _answers(bench: Bench, backbone: str, name: str) -> dict[int, Answers]:
    """What is kept of a setting, by seed."""
    found: dict[int, Answers] = {}
    for seed in range(bench.num_seeds):
        try:
            file = _file(bench, _recipe(bench, backbone, name, seed))
        except FacetryError:
            return found
        if file.exists():
            with np.load(file) as content:
                found[seed] = _lined_up(bench, content["top"])
    return found


def _lined_up(bench: Bench, top: np.ndarray) -> Answers:
    catalogue, rows = bench.catalogue, bench.split.rows("test")
    labels = catalogue.taxonomy.encode_labels(catalogue.products(rows))
    return Answers.of(catalogue.taxonomy, catalogue.category_codes[rows], labels, top)


if __name__ == "__main__":
    main()
