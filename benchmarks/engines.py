"""The same classifier on each engine: from JPEG files to Parquet, and what the machine could do.

    python -m benchmarks.engines [--quick] [--backbone NAME] [--shared] [--photos N]
                                 [--engines NAME ...] [--threads N]

In turn, round by round: products of two matrices in fp32; a plain script
(`benchmarks.plain_prediction`); for each engine `predict_table` as a whole (JPEG files of 512 x 680 px
in, Parquet out), the whole graph and the backbone alone on the same pixels; and the heads alone on a
batch of 64. Weights and photos are random, the 42 heads are the challenge's. FLOPs are those that
torch counts in the very graph; its share of the machine's rate is that of the whole, decoding included.

Shapes: B photos, S side in pixels, D features.
"""

import argparse
import copy
import os
import shutil
import tempfile
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the command line does, before torch is there
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.challenge import challenge_taxonomy
from benchmarks.measure import Times, alternate, make_parser, ratio, show
from benchmarks.photos import write_catalogue
from benchmarks.plain_prediction import PlainPrediction
from facetry.batch.local import BatchConfig, predict_table
from facetry.catalogue.catalogue import Catalogue, open_catalogue
from facetry.engines.engine import Engine, EngineConfig, package
from facetry.engines.runtimes import OnnxEngine, OpenVinoEngine, shared_core
from facetry.engines.serving import ServedClassifier
from facetry.engines.torch.convert import to_onnx, to_openvino
from facetry.engines.torch.engine import TorchEngine
from facetry.engines.torch.graph import Graph
from facetry.images import load_batches
from facetry.models.classifier.classifier import Classifier
from facetry.models.classifier.serialization import build_classifier
from facetry.models.config import BackboneConfig, HeadsConfig, ImageConfig

HEADS_BATCH = 64
MATRIX_SIDE = 2048
MATRIX_PRODUCTS = 10
MATRIX_FLOPS = 2 * MATRIX_SIDE**3 * MATRIX_PRODUCTS
HEADS_ALONE = "heads, 64 photos"
ENGINES = ("openvino", "onnx", "torch")

Batches = Sequence[NDArray[np.uint8]]


class BackboneAlone(Graph):
    """The graph without its heads."""

    def forward(self, photos: Tensor) -> Tensor:
        """Features (B, D)."""
        features: Tensor = self.backbone(photos)
        return features


@dataclass(frozen=True, kw_only=True, eq=False)
class Bench:
    """What is measured, on what."""

    classifier: Classifier
    catalogue: Catalogue
    folder: Path
    batches: Batches
    num_threads: int
    engines: Sequence[str]

    @property
    def num_photos(self) -> int:
        """How many photos each task goes through."""
        return len(self.catalogue)


def main(arguments: list[str] | None = None) -> None:
    """Measure and print."""
    parser = make_parser(__doc__, quick="32 photos, fewer rounds")
    parser.add_argument("--backbone", default="ViT-B-32")
    parser.add_argument("--shared", action="store_true", help="categories share heads (heads.shared)")
    parser.add_argument("--photos", type=int, default=192)
    parser.add_argument("--engines", nargs="+", choices=ENGINES, default=ENGINES)
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    num_photos, num_rounds = (32, 2) if options.quick else (options.photos, 5)
    backbone = BackboneConfig(name=options.backbone, weights="none")
    heads = HeadsConfig(shared=options.shared)
    classifier = build_classifier(challenge_taxonomy(), backbone, heads, ImageConfig()).eval()
    with tempfile.TemporaryDirectory() as folder:
        catalogue = open_catalogue(write_catalogue(Path(folder) / "catalogue", num_photos))
        bench = Bench(
            classifier=classifier,
            catalogue=catalogue,
            folder=Path(folder),
            batches=_pixels(catalogue, classifier),
            num_threads=options.threads,
            engines=options.engines,
        )
        times = alternate(_tasks(bench), num_rounds=num_rounds)
    _report(times, options, bench)


def _pixels(catalogue: Catalogue, classifier: Classifier) -> Batches:
    """What `predict_table` shows the engine."""
    (form,) = classifier.preprocesses
    loaded = load_batches(catalogue.products(), [form])
    return [np.stack([each.pixels[form] for each in batch]) for batch in loaded]


def _tasks(bench: Bench) -> dict[str, Callable[[], object]]:
    square = torch.randn(MATRIX_SIDE, MATRIX_SIDE)
    plain = PlainPrediction(bench.classifier.backbone, bench.classifier.taxonomy)
    products = bench.catalogue.products()
    tasks: dict[str, Callable[[], object]] = {
        "matrix products": partial(_multiply, square),
        "plain script": partial(plain.predict, products, bench.folder / "plain.parquet"),
    }
    graph, alone = Graph(bench.classifier), BackboneAlone(bench.classifier)
    engines, backbones = _engines(bench, graph, "graph"), _engines(bench, alone, "backbone")
    for name, engine in engines.items():
        served = ServedClassifier(graph.taxonomy, graph.preprocess, engine)
        tasks[f"{name}, files to table"] = partial(_whole, served, bench)
        tasks[f"{name}, graph"] = partial(_run, engine, bench.batches)
        tasks[f"{name}, backbone"] = partial(_run, backbones[name], bench.batches)
    features = torch.randn(HEADS_BATCH, bench.classifier.heads.feature_size).numpy()
    tasks[HEADS_ALONE] = partial(_heads(graph, bench.num_threads), features)
    return tasks


def _engines(bench: Bench, graph: Graph, name: str) -> Mapping[str, Engine]:
    """The graph on each engine; `name` keeps its files apart from another graph's."""
    return {each: _OPENERS[each](graph, bench, name) for each in bench.engines}


def _openvino(graph: Graph, bench: Bench, _: str) -> Engine:
    return OpenVinoEngine.load(to_openvino(graph), num_threads=bench.num_threads)


def _onnx(graph: Graph, bench: Bench, name: str) -> Engine:
    file = bench.folder / f"{name}.onnx"
    to_onnx(graph, file, {})
    return OnnxEngine.load(file, num_threads=bench.num_threads)


def _torch(graph: Graph, bench: Bench, _: str) -> Engine:
    return TorchEngine(graph, EngineConfig(name="torch", num_threads=bench.num_threads))


_OPENERS: Mapping[str, Callable[[Graph, Bench, str], Engine]] = {
    "openvino": _openvino,
    "onnx": _onnx,
    "torch": _torch,
}


def _heads(graph: Graph, num_threads: int) -> Callable[[NDArray[np.float32]], object]:
    """The heads by themselves on OpenVINO, of features (64, D)."""
    features = torch.randn(HEADS_BATCH, graph.backbone.feature_size)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        traced = torch.export.export(graph.heads, (features,))
        model = package("openvino").convert_model(traced)
    settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": num_threads}
    request = shared_core().compile_model(model, "CPU", settings).create_infer_request()
    return lambda inputs: request.infer([inputs], share_inputs=True)


def _multiply(square: Tensor) -> None:
    for _ in range(MATRIX_PRODUCTS):
        square @ square


def _whole(served: ServedClassifier, bench: Bench) -> None:
    out = bench.folder / "out"
    shutil.rmtree(out, ignore_errors=True)  # else the rows in it would be reused
    summary = predict_table(served, bench.catalogue, out, BatchConfig(model=""))
    assert not summary.problems


def _run(engine: Engine, batches: Batches) -> None:
    for batch in batches:
        engine(batch)


def _flops_per_photo(graph: Graph) -> float:
    """Counted by torch without computing anything."""
    num_photos, side = 2, graph.preprocess.size_px
    ghost = copy.deepcopy(graph).to("meta")
    photos = torch.empty(num_photos, 3, side, side, dtype=torch.uint8, device="meta")
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        ghost(photos)
    return counter.get_total_flops() / num_photos


def _report(times: Mapping[str, Times], options: argparse.Namespace, bench: Bench) -> None:
    count, flops = bench.num_photos, _flops_per_photo(Graph(bench.classifier))
    rate = MATRIX_FLOPS / times["matrix products"].median_s
    tasks = {
        name: _measured(times, name, count, flops)
        for name in times
        if name not in {"matrix products", HEADS_ALONE}
    }
    against = {
        name: ratio(times[f"{name}, backbone"], times[f"{name}, files to table"])
        for name in bench.engines
    }
    heads = _heads_share(times, count) if "openvino" in bench.engines else None
    figures = {
        "benchmark": "engines",
        "backbone": options.backbone,
        "shared_heads": options.shared,
        "num_photos": count,
        "threads": options.threads,
        "gflops_per_photo": round(flops / 1e9, 3),
        "matrix_gflops_per_s": round(rate / 1e9, 1),
        "heads_share": heads,
        "whole_against_backbone": against,
        "tasks": tasks,
    }
    rows = [(name, *(f"{each:,.2f}" for each in cells.values())) for name, cells in tasks.items()]
    shares = {f"{name}, files to table against backbone": each for name, each in against.items()}
    if heads:
        shares["openvino, heads in the graph"] = heads
    rows += [(f"{name}, %", f"{100 * each['median']:.1f}", "", "", "") for name, each in shares.items()]
    columns = ["", "photos/s", "per CPU s", "of rate", "x plain"]
    title = f"{options.backbone}, {count} photos; matrix products: {rate / 1e9:.0f} GFLOP/s"
    show(title, columns, rows, figures)


def _measured(times: Mapping[str, Times], name: str, count: int, flops: float) -> dict[str, float]:
    """What one task says: speed on the wall and per core, against the machine and the plain script."""
    own = times[name]
    share = ratio(times["matrix products"], own)["median"] * flops * count / MATRIX_FLOPS
    return {
        "photos_per_s": round(count / own.median_s, 2),
        "photos_per_core_s": round(count / own.cpu.median_s, 2),
        "share_of_matrix_rate": round(share, 4),
        "times_plain": round(ratio(times["plain script"], own)["median"], 3),
    }


def _heads_share(times: Mapping[str, Times], count: int) -> dict[str, float]:
    """The heads' part of the graph's time, 0 to 1; see `ratio`."""
    share = ratio(times[HEADS_ALONE].divided(HEADS_BATCH), times["openvino, graph"].divided(count))
    return {name: round(each, 5) for name, each in share.items()}


if __name__ == "__main__":
    main()
