"""From the start of a process to the first predicted row, with an export and with the weights.

    python -m benchmarks.startup [--quick] [--backbone NAME ...] [--rounds N] [--threads N]

Each run is a process of its own: `facetry predict` of a table with a single product, from its photo's
JPEG file to the tables written, the interpreter's start and end included. The first round, when files
are read from the disk and Python compiles them, is not counted. The exports are made once, before.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the command line does, before torch is there
import torch

from benchmarks.challenge import challenge_taxonomy
from benchmarks.measure import Times, alternate, make_parser, show
from benchmarks.photos import write_catalogue
from facetry.engines.engine import Runtime
from facetry.engines.export_folder import (
    PARITY,
    ExportNote,
    export_folder,
    metadata,
    write_export,
)
from facetry.engines.torch.convert import save_openvino, to_onnx, to_openvino
from facetry.engines.torch.graph import Graph
from facetry.models.classifier.serialization import build_classifier, save_classifier
from facetry.models.config import BackboneConfig, HeadsConfig, ImageConfig
from facetry.models.folder import RECIPE, open_folder, write_checksums
from facetry.recipe import ClassifierRecipe, dump_recipe
from facetry.runtime.files import write_text

AIM_S = 3.0
"""What an exported model may take."""

_WAYS: Mapping[str, str] = {
    "OpenVINO, exported": "openvino",
    "ONNX Runtime, exported": "onnxruntime",
    "torch, eager": "torch",
}


def main(arguments: list[str] | None = None) -> None:
    """Measure and print."""
    options = _parse(arguments)
    torch.set_num_threads(options.threads)
    threads = ["--threads", str(options.threads)]
    with tempfile.TemporaryDirectory() as folder:
        table = write_catalogue(Path(folder) / "catalogue", 1)
        measured = {}
        for name in options.backbone:
            model = _write_model(name, Path(folder) / name)
            tasks: dict[str, Callable[[], object]] = {
                way: partial(_predict, model, table, ["--engine", engine, *threads])
                for way, engine in _WAYS.items()
            }
            measured[name] = alternate(tasks, num_rounds=options.rounds)
    _report(measured, options)


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = make_parser(__doc__, quick="a tiny network, one round")
    parser.add_argument("--backbone", nargs="+", default=["mobilenetv2_100", "ViT-B-32"])
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args(arguments)
    if options.quick:
        options.backbone, options.rounds = ["nano_vit"], 1
    return options


def _write_model(name: str, folder: Path) -> Path:
    """A model folder with random weights and its exports."""
    torch.manual_seed(0)
    backbone, taxonomy = BackboneConfig(name=name, weights="none"), challenge_taxonomy()
    classifier = build_classifier(taxonomy, backbone, HeadsConfig(), ImageConfig()).eval()
    save_classifier(folder, classifier)
    write_text(folder / RECIPE, dump_recipe(ClassifierRecipe(backbone=backbone)))
    write_checksums(folder)
    graph = Graph(classifier)
    about = metadata(graph.taxonomy, graph.preprocess)
    openvino, onnx = (_begin_export(folder, runtime) for runtime in ("openvino", "onnx"))
    save_openvino(to_openvino(graph), openvino, about)
    to_onnx(graph, onnx / "model.onnx", about)
    _end_export(folder, openvino, "openvino")
    _end_export(folder, onnx, "onnx")
    return folder


def _begin_export(model: Path, name: str) -> Path:
    folder = export_folder(model, name)
    folder.mkdir(parents=True)
    return folder


def _end_export(model: Path, folder: Path, runtime: Runtime) -> None:
    write_text(folder / PARITY, "{}")
    weights = open_folder(model).weights_sum
    assert weights
    write_export(folder, ExportNote(runtime=runtime, precision="fp32", weights=weights, versions={}))


def _predict(model: Path, table: Path, options: Sequence[str]) -> None:
    """One process that predicts one product."""
    # Compiled Python goes where nothing else is: an installed package has it, whatever is set here.
    settings = {"PYTHONPYCACHEPREFIX": str(model.parent / "compiled"), "PYTHONDONTWRITEBYTECODE": ""}
    with tempfile.TemporaryDirectory() as out:
        words = ["predict", str(model), str(table), "-o", f"{out}/out", *options]
        done = subprocess.run(
            [sys.executable, "-m", "facetry", *words],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, **settings},
        )
    assert done.returncode == 0, done.stderr
    assert "1 products predicted, 0 not." in done.stdout, done.stdout


def _report(measured: Mapping[str, Mapping[str, Times]], options: argparse.Namespace) -> None:
    rows: list[tuple[str, ...]] = []
    figures: dict[str, Any] = {}
    for backbone, times in measured.items():
        for way, each in times.items():
            rows.append((f"{backbone}, {way}", *each.cells(), *each.cpu.cells()))
        figures[backbone] = {
            way: {**each.as_dict(), "cpu_ms": each.cpu.as_dict()["median_ms"]}
            for way, each in times.items()
        }
    show(
        f"Process start to one predicted row; exported: {AIM_S:g} s at most",
        ["", "median, ms", "range, ms", "CPU, ms", "range, ms"],
        rows,
        {"benchmark": "startup", "threads": options.threads, "backbones": figures},
    )


if __name__ == "__main__":
    main()
