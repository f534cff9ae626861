"""A whole training from JPEG files on, against one as it is usually written.

    python -m benchmarks.training [--quick] [--backbone NAME ...] [--steps N] [--threads N]
    python -m benchmarks.training --no-baseline --compile --batch-size 64 \
        --backbone ViT-H-14-quickgelu convnext_xxlarge        (on a GPU: bf16, full fine-tuning)

The training is that of `facetry train`: photos read, augmented, embedded, all heads, loss, backward,
clipping, AdamW. The baseline is `benchmarks.plain_training`. Photos are drawn, in several sizes.

Ours decodes photos once and keeps them where they fit the memory, so that its first epoch is slower
than the later ones; these are shown apart, as are four epochs in all (the paper's number), and epochs
whose photos do not fit the memory and are decoded each time. An epoch here has few steps, so that the
wait for its first batch weighs more than in a real one.

The machine's rate of matrix products is measured in the same run, in the numbers that training
computes in. A photo's operations are those of forward and backward without anything computed twice.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the command line does, before torch is there
import torch

from benchmarks.challenge import challenge_taxonomy, draw_labels
from benchmarks.measure import Times, alternate, make_parser, ratio, show
from benchmarks.photos import write_catalogue
from benchmarks.plain_training import PlainTraining
from benchmarks.rate import matrix_rate, operations_per_photo
from facetry.catalogue.catalogue import open_catalogue
from facetry.images import NUM_DECODERS, Augmentation, Augmenter, Mixer, PhotoStore
from facetry.models.classifier.classifier import Classifier
from facetry.models.classifier.serialization import build_classifier
from facetry.models.config import BackboneConfig, HeadsConfig, ImageConfig
from facetry.models.towers.device import compute_dtype, pick_device, slow_precision
from facetry.product import Product
from facetry.taxonomy import Taxonomy
from facetry.training.config import TrainingConfig
from facetry.training.data import Examples, PhotoInputs
from facetry.training.loop import fit
from facetry.training.run import Run, start
from facetry.training.state import TrainingState
from facetry.training.targets.loss import Criterion
from facetry.training.tower import compiled
from facetry.training.tracking.records import EpochRecord, StepRecord

SIZES_PX = ((512, 512), (512, 680), (800, 1000), (360, 480))
NUM_EPOCHS, NUM_PRODUCTS = 4, 70_213
"""The paper's number of epochs, and the challenge's of products."""
AIMS = "aims: at least 1.5 times the baseline, waiting under 5%, 45% of the rate on a GPU"


@dataclass(eq=False)
class Epochs:
    """A tracker that keeps the records of epochs."""

    records: list[EpochRecord] = field(default_factory=list)

    @property
    def waiting_share(self) -> float:
        """Of the time of all epochs but the first, which warms up."""
        records = self.records[1:] or self.records
        return sum(each.waiting_share for each in records) / len(records)

    def log_step(self, record: StepRecord) -> None:
        """Pass over a step."""

    def log_epoch(self, record: EpochRecord) -> None:
        """Keep an epoch."""
        self.records.append(record)

    def finish(self) -> None:
        """Nothing is left to do."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Data:
    """Products with photos, and labels drawn at random: categories (B), labels (B, A)."""

    taxonomy: Taxonomy
    products: list[Product]
    categories: NDArray[np.int64]
    labels: NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Ours:
    """Our training of one model, whose epochs may read photos in either way."""

    classifier: Classifier
    state: TrainingState
    kept: Run
    decoded: Run
    epochs: Mapping[str, Epochs]
    read_s: float

    @classmethod
    def of(cls, backbone: BackboneConfig, config: TrainingConfig, data: Data) -> "Ours":
        """Set up as `facetry train` does; `read_s` is the time to read all photos once."""
        built = build_classifier(data.taxonomy, backbone, HeadsConfig(), ImageConfig())
        classifier = built.to(pick_device())
        began = time.perf_counter()
        kept = _store(classifier, data, budget_bytes=2**40)
        read_s = time.perf_counter() - began
        stores = {"kept": kept, "decoded": _store(classifier, data, budget_bytes=0)}
        epochs = {name: Epochs() for name in stores}
        runs = {
            name: replace(_run(classifier, config, data, store), tracker=epochs[name])
            for name, store in stores.items()
        }
        state = start(runs["kept"], classifier)
        return cls(classifier=classifier, state=state, **runs, epochs=epochs, read_s=read_s)

    def epoch(self, run: Run) -> None:
        """Train one more epoch."""
        config = run.config.model_copy(update={"epochs": self.state.epoch + 1})
        fit(replace(run, config=config), self.state, lambda _: None)


def _store(classifier: Classifier, data: Data, *, budget_bytes: int) -> PhotoStore:
    (form,) = classifier.preprocesses
    return PhotoStore(data.products, form, num_workers=NUM_DECODERS, budget_bytes=budget_bytes)


def _run(classifier: Classifier, config: TrainingConfig, data: Data, store: PhotoStore) -> Run:
    categories, labels = torch.from_numpy(data.categories), torch.from_numpy(data.labels)
    examples = Examples(
        ids=store.readable.tolist(),
        categories=categories,
        labels=labels,
        train=store.readable,
        validation=np.arange(0),
    )
    inputs = PhotoInputs(
        store=store,
        augmenter=Augmenter(Augmentation(), 0, data.taxonomy),
        mixer=Mixer(Augmentation(), 0),
        device=classifier.device,
    )
    return Run(
        taxonomy=data.taxonomy,
        config=config,
        seed=0,
        examples=examples,
        inputs=inputs,
        criterion=Criterion.of(config.loss, data.taxonomy, labels, categories),
        device=classifier.device,
    )


def main(arguments: list[str] | None = None) -> None:
    """Measure and print."""
    options = parse(arguments)
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    if line := slow_precision(options.precision, pick_device()):
        print(line, flush=True)
    with tempfile.TemporaryDirectory() as folder:
        data = draw_data(Path(folder), options.batch_size * options.steps)
        measured = {name: measure(name, data, options) for name in options.backbone}
    figures = {
        "benchmark": "training",
        "device": _device_name(),
        "threads": options.threads,
        "batch_size": options.batch_size,
        "num_products": len(data.products),
        "backbones": measured,
    }
    rows = [row for name, each in measured.items() for row in _rows(name, each)]
    show(
        f"Training on {_device_name()}; {AIMS}",
        ["", "photos/s", "times baseline", "% waiting"],
        rows,
        figures,
    )


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = make_parser(__doc__, quick="8 photos in a batch, one round")
    parser.add_argument("--backbone", nargs="+", default=["ViT-B-32", "mobilenetv2_100"])
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--steps", type=int, default=3, help="in an epoch")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--no-baseline", action="store_true", help="measure ours alone")
    options = parser.parse_args(arguments)
    if options.quick:
        options.batch_size, options.steps, options.rounds = 8, 1, 1
    return options


def draw_data(folder: Path, num_products: int) -> Data:
    """Products with photos of several sizes."""
    table = write_catalogue(folder / "catalogue", num_products, sizes_px=SIZES_PX)
    taxonomy = challenge_taxonomy()
    categories, labels = draw_labels(taxonomy, num_products)
    products = open_catalogue(table).products()
    return Data(taxonomy=taxonomy, products=products, categories=categories, labels=labels)


def measure(name: str, data: Data, options: argparse.Namespace) -> dict[str, Any]:
    """The figures of one backbone; `options` are those that `main` takes."""
    backbone = BackboneConfig(name=name, weights="none")
    config = TrainingConfig(batch_size=options.batch_size, precision=options.precision)
    ours = Ours.of(backbone, config, data)
    tasks = {"kept": partial(ours.epoch, ours.kept), "decoded": partial(ours.epoch, ours.decoded)}
    plain = None
    if not options.no_baseline:
        plain = PlainTraining(backbone, ImageConfig(), data.taxonomy, config)
        paths = [product.photos[0] for product in data.products]
        tasks["baseline"] = partial(plain.epoch, paths, data.categories, data.labels)
    tower = compiled(ours.kept, ours.classifier.backbone) if options.compile else nullcontext(False)
    with tower as is_compiled:
        times = alternate(tasks, num_rounds=options.rounds)
    figures = _speeds(times, len(data.products), ours.read_s)
    waiting = {key: ours.epochs[key].waiting_share for key in ("kept", "decoded")}
    if plain:
        waiting["baseline"] = plain.waiting_s / plain.seconds
    return {
        **figures,
        **_share_of_rate(ours, figures["photos_per_s"]["kept"]),
        "compiled": is_compiled,
        "waiting_share": {name: round(each, 4) for name, each in waiting.items()},
    }


def _speeds(times: Mapping[str, Times], num_products: int, read_s: float) -> dict[str, Any]:
    """Photos a second by the middle round, and how many times the baseline's."""
    seconds = {name: each.median_s for name, each in times.items()}
    first = read_s + seconds["kept"]
    all_s = {
        **seconds,
        "first": first,
        "in all": (first + (NUM_EPOCHS - 1) * seconds["kept"]) / NUM_EPOCHS,
    }
    figures: dict[str, Any] = {
        "photos_per_s": {name: round(num_products / each, 3) for name, each in all_s.items()},
        "hours": round(NUM_EPOCHS * NUM_PRODUCTS / num_products * all_s["in all"] / 3600, 3),
    }
    if "baseline" in times:
        base_s = seconds["baseline"]
        figures["speedup"] = {
            name: round(base_s / each, 3) for name, each in all_s.items() if name != "baseline"
        }
        figures["speedup_by_round"] = ratio(times["baseline"], times["kept"])
    return figures


def _share_of_rate(ours: Ours, photos_per_s: float) -> dict[str, Any]:
    """What training computes, as a share of what the machine can in matrix products."""
    backbone, config = ours.classifier.backbone, ours.kept.config
    dtype = compute_dtype(config.precision, ours.kept.device)
    operations = operations_per_photo(backbone)
    rate = matrix_rate(dtype, ours.kept.device)
    return {
        "numbers": str(dtype).removeprefix("torch."),
        "gflop_per_photo": round(operations / 1e9, 2),
        "matrix_gflop_per_s": round(rate / 1e9, 1),
        "share_of_rate": round(photos_per_s * operations / rate, 4),
        "peak_mib": round(max(each.memory_mib for each in ours.epochs["kept"].records)),
    }


def _device_name() -> str:
    return torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"


_NAMES = {
    "kept": "photos in memory",
    "first": "first epoch",
    "in all": f"{NUM_EPOCHS} epochs in all",
    "decoded": "photos decoded each epoch",
    "baseline": "baseline",
}


def _rows(backbone: str, figures: Mapping[str, Any]) -> list[tuple[str, ...]]:
    rows = []
    for key, name in _NAMES.items():
        if key in figures["photos_per_s"]:
            speed = f"{figures['photos_per_s'][key]:,.2f}"
            times = figures.get("speedup", {}).get(key)
            waiting = figures["waiting_share"].get(key)
            rows.append(
                (
                    f"{backbone}, {name}",
                    speed,
                    f"{times:.2f}" if times else "",
                    "" if waiting is None else f"{100 * waiting:.1f}",
                )
            )
    rows.append((f"{backbone}, % of the rate", f"{100 * figures['share_of_rate']:.1f}", "", ""))
    rows.append((f"{backbone}, hours for {NUM_PRODUCTS:,}", f"{figures['hours']:.1f}", "", ""))
    return rows


if __name__ == "__main__":
    main()
