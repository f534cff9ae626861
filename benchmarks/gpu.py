"""The paper's ensemble on a GPU: end to end, as a share of what the card can do.

    python -m benchmarks.gpu [--quick] [--backbone NAME ...] [--photos N] [--batch-size N] [--no-compile]
    python -m benchmarks.gpu --training                                            (takes much longer)

ConvNeXt-XXLarge and ViT-H/14 with random weights and all heads of the challenge see photos that are
drawn, from their JPEG files on: decoder threads run ahead, each batch goes through both members on the
torch engine (bf16 where there is a GPU, compiled, CUDA graphs). A batch that does not fit the memory is
cut. "pixels alone" is the same without the decoding.

The baseline has the same photos decoded by the same threads, and runs the towers eagerly under fp16
autocast (on a CPU in fp32) with a network for each head, one product at a time.

Operations are torch's count for the very graphs, the card's rate that of products of large matrices in
the engine's numbers, measured in this run. With --training also full fine-tuning of both, from
`benchmarks.training`: its share of the rate, and the hours for the challenge's products in 4 epochs.
"""

import argparse
import copy
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the command line does, before torch is there
import torch
from torch import nn

from benchmarks import training
from benchmarks.challenge import challenge_taxonomy
from benchmarks.measure import Times, alternate, make_parser, ratio, show
from benchmarks.photos import write_catalogue
from benchmarks.plain_training import head_key, head_network
from benchmarks.rate import forward_operations, matrix_rate
from facetry.catalogue.catalogue import open_catalogue
from facetry.engines.engine import EngineConfig
from facetry.engines.serving import ServedClassifier
from facetry.engines.torch.engine import TorchEngine
from facetry.engines.torch.graph import Graph
from facetry.images import NUM_DECODERS, batched, load
from facetry.models.classifier.serialization import build_classifier
from facetry.models.config import BackboneConfig, HeadsConfig, ImageConfig
from facetry.models.towers.device import pick_device
from facetry.models.towers.image import Backbone
from facetry.predictions import Predictor
from facetry.predictors.ensemble import Ensemble
from facetry.product import Preprocess, Product
from facetry.taxonomy import Taxonomy

SIZES_PX = ((512, 512), (512, 680), (800, 1000), (360, 480))
AIMS = "aims: 60% of the rate, 2.5 times the baseline"

Batch = Sequence[Product]


def main(arguments: list[str] | None = None) -> None:
    """Measure and print."""
    options = _parse(arguments)
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        table = write_catalogue(Path(folder) / "catalogue", options.photos, sizes_px=SIZES_PX)
        figures = _measure(open_catalogue(table).products(), options)
    if options.training:
        figures["training"] = _train(options)
    _report(figures)


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = make_parser(__doc__, quick="tiny networks, 16 photos, one round")
    parser.add_argument("--backbone", nargs="+", default=["convnext_xxlarge", "ViT-H-14-quickgelu"])
    parser.add_argument("--photos", type=int, default=4096)
    parser.add_argument("--batch-size", type=int, default=256, help="at most; cut where memory ends")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--no-compile", action="store_true")
    parser.add_argument("--training", action="store_true", help="also full fine-tuning")
    options = parser.parse_args(arguments)
    if options.quick:
        options.backbone, options.photos = ["nano_convnext", "nano_vit"], 16
        options.batch_size, options.rounds = 8, 1
    return options


def _measure(products: Batch, options: argparse.Namespace) -> dict[str, Any]:
    taxonomy, device = challenge_taxonomy(), pick_device()
    members, eager, operations, engines = {}, [], 0.0, []
    for name in options.backbone:
        backbone = BackboneConfig(name=name, weights="none")
        classifier = build_classifier(taxonomy, backbone, HeadsConfig(), ImageConfig())
        graph = Graph(classifier.to(device).eval())
        operations += forward_operations(graph, graph.preprocess.size_px)
        eager.append(EagerPrediction(classifier.backbone, taxonomy))
        engines.append(TorchEngine(graph, EngineConfig(compile=not options.no_compile)))
        members[name] = ServedClassifier(taxonomy, graph.preprocess, engines[-1])
    ensemble = Ensemble(members)
    forms, size = ensemble.preprocesses, options.batch_size
    decoded = list(_decode(products[: 2 * size], forms, size))
    num_decoded = sum(map(len, decoded))
    times_over = max(1, len(products) // num_decoded)
    tasks: dict[str, Callable[[], object]] = {
        "end to end": lambda: _predict(ensemble, _decode(products, forms, size)),
        "pixels alone": lambda: _predict(ensemble, chain.from_iterable([decoded] * times_over)),
        "baseline": lambda: _predict_eagerly(eager, _decode(products, forms, size)),
    }
    times = alternate(tasks, num_rounds=options.rounds)
    nums = {name: len(products) for name in tasks}
    nums["pixels alone"] = times_over * num_decoded
    rate = matrix_rate(engines[0].dtype, device)
    return {
        "benchmark": "gpu",
        "device": torch.cuda.get_device_name() if device.type == "cuda" else "CPU",
        "engines": [each.description for each in engines],
        "num_photos": len(products),
        "gflop_per_photo": round(operations / 1e9, 2),
        "matrix_gflop_per_s": round(rate / 1e9, 1),
        **_speeds(times, nums, operations / rate),
    }


def _decode(products: Batch, forms: Sequence[Preprocess], size: int) -> Iterator[tuple[Product, ...]]:
    """Batches of decoded products, of which threads work on the next two while one is predicted."""
    loaded = load(products, forms, num_workers=NUM_DECODERS, num_prefetched=2 * size)
    return batched(loaded, size)


def _predict(predictor: Predictor, batches: Iterator[Batch]) -> None:
    for batch in batches:
        assert not any(predictor.predict(batch).problems)


def _predict_eagerly(members: "Sequence[EagerPrediction]", batches: Iterator[Batch]) -> None:
    for batch in batches:
        for member in members:
            member.predict(batch)


class EagerPrediction:
    """A tower under fp16 autocast, and a network for each head that sees one product at a time."""

    def __init__(self, backbone: Backbone, taxonomy: Taxonomy) -> None:
        self.backbone = copy.deepcopy(backbone)
        self.device = backbone.mean.device
        self.taxonomy = taxonomy
        heads = {head_key(head): head_network(backbone.feature_size, head) for head in taxonomy.heads}
        self.heads = nn.ModuleDict(heads).to(self.device).eval()

    @torch.no_grad()
    def predict(self, products: Batch) -> list[list[float]]:
        """The most probable value's probability for each attribute of each product."""
        form = self.backbone.preprocess
        photos = torch.from_numpy(np.stack([product.pixels[form] for product in products]))
        is_half = self.device.type == "cuda"
        with torch.autocast(self.device.type, torch.float16, enabled=is_half):
            features = self.backbone(photos.to(self.device))  # B D
            return [
                [
                    float(self.heads[head_key(head)](feature[None]).softmax(dim=1).max())
                    for head in self.taxonomy.heads_of(product.category)
                ]
                for product, feature in zip(products, features, strict=True)
            ]


def _speeds(times: Mapping[str, Times], nums: Mapping[str, int], best_s: float) -> dict[str, Any]:
    """Photos a second; `best_s` is what one photo would take at the card's full rate."""
    photo_s = {name: each.median_s / nums[name] for name, each in times.items()}
    return {
        "photos_per_s": {name: round(1 / each, 2) for name, each in photo_s.items()},
        "ms_per_photo": {name: round(1000 * each, 3) for name, each in photo_s.items()},
        "share_of_rate": {name: round(best_s / each, 4) for name, each in photo_s.items()},
        "speedup": ratio(times["baseline"], times["end to end"]),
    }


def _train(options: argparse.Namespace) -> dict[str, Any]:
    """Full fine-tuning of each backbone, as `benchmarks.training` measures it."""
    quick = ["--quick"] if options.quick else ["--batch-size", "64", "--steps", "16"]
    compiles = [] if options.no_compile else ["--compile"]
    words = ["--no-baseline", "--backbone", *options.backbone, *quick, *compiles]
    wanted = training.parse([*words, "--threads", str(options.threads)])
    with tempfile.TemporaryDirectory() as folder:
        data = training.draw_data(Path(folder), wanted.batch_size * wanted.steps)
        return {name: training.measure(name, data, wanted) for name in options.backbone}


def _report(figures: Mapping[str, Any]) -> None:
    rows = [
        (
            name,
            f"{speed:,.1f}",
            f"{figures['ms_per_photo'][name]:,.2f}",
            f"{100 * figures['share_of_rate'][name]:.1f}",
        )
        for name, speed in figures["photos_per_s"].items()
    ]
    rows.append(("times the baseline", f"{figures['speedup']['median']:.2f}", "", ""))
    for name, each in figures.get("training", {}).items():
        speed = each["photos_per_s"]["kept"]
        share = f"{100 * each['share_of_rate']:.1f}"
        rows.append((f"training {name}", f"{speed:,.1f}", f"{1000 / speed:,.2f}", share))
        rows.append((f"  hours for {training.NUM_PRODUCTS:,} x 4", f"{each['hours']:.1f}", "", ""))
    title = f"Ensemble on {figures['device']}; {AIMS}"
    show(title, ["", "photos/s", "ms a photo", "% of the rate"], rows, figures)


if __name__ == "__main__":
    main()
