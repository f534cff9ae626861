"""Tables of growing length predicted: memory at most, and time a row.

    python -m benchmarks.memory [--quick] [--rows N ...] [--photo-px N] [--network NAME] [--repeat]
                                [--csv]

Each table is predicted in a process of its own, from JPEG files to Parquet and CSV. The loader, the
parts and the tables are those of `facetry predict`. A network is converted for OpenVINO beforehand, so
that the process has no torch. Unless one is named, as nano_vit, the mean of each photo stands in its
place: this shows what is used around the network, where little else takes memory.

A few photos serve for all rows. The first rows that a process predicts do not count: imports, and the
first memory of each library. With `--repeat` each table is predicted once more, when all rows are taken
over. The table is a Parquet file, or with `--csv` a CSV file, which is in memory as a whole while it is
read.
"""

import argparse
import functools
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl

from benchmarks.challenge import challenge_taxonomy
from benchmarks.measure import make_parser, show
from benchmarks.photos import draw_photo
from facetry.batch.local import BatchConfig, predict_table
from facetry.catalogue.catalogue import open_catalogue
from facetry.engines.runtimes import OpenVinoEngine
from facetry.engines.serving import ServedClassifier
from facetry.predictions import Predictions, Predictor
from facetry.product import Preprocess, Product
from facetry.runtime.memory import POLARS_SETTINGS, peak_rss_mib

SIZES = (1_000, 10_000, 100_000, 1_000_000)
NUM_PHOTOS = 100
_NUM_WARM = 500
_ONE = "--one"  # makes a process measure one table


class Mean:
    """A predictor that costs next to nothing: how bright a photo is decides."""

    taxonomy = challenge_taxonomy()
    preprocesses = (Preprocess(size_px=32, mean=(0, 0, 0), std=(1, 1, 1)),)

    def predict(self, products: Sequence[Product]) -> Predictions:
        """Predict all products as one batch."""
        codes = self.taxonomy.encode_categories([each.category for each in products])
        light = np.array([each.pixels[self.preprocesses[0]].mean() for each in products])
        mask = self.taxonomy.value_mask[codes]  # B A V
        weights = mask * (1 + np.arange(mask.shape[2]) * light[:, None, None])
        sums = np.maximum(weights.sum(axis=2, keepdims=True), 1)
        return Predictions.of(self.taxonomy, products, (weights / sums).astype(np.float32))


def main(arguments: list[str] | None = None) -> None:
    """Measure and print."""
    words = sys.argv[1:] if arguments is None else arguments
    parser = make_parser(__doc__, quick="300 and 1,200 rows")
    parser.add_argument(_ONE, type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--network", default="")
    parser.add_argument("--rows", type=int, nargs="+", default=SIZES)
    parser.add_argument("--photo-px", type=int, default=96)
    parser.add_argument("--repeat", action="store_true")
    parser.add_argument("--csv", action="store_true")
    options = parser.parse_args(words)
    if options.one:
        print(json.dumps(_measure(options)))
        return
    sizes = (300, 1_200) if options.quick else tuple(options.rows)
    with tempfile.TemporaryDirectory() as network:
        if options.network:
            _convert(options.network, Path(network))
        figures = {num_rows: _apart(num_rows, Path(network), options) for num_rows in sizes}
    _report(options.network, figures)


def _convert(name: str, folder: Path) -> None:
    """A network of random weights, as `facetry export` would write it, and its preprocess."""
    import torch

    from facetry.engines.torch.convert import save_openvino, to_openvino
    from facetry.engines.torch.graph import Graph
    from facetry.models.classifier.serialization import build_classifier
    from facetry.models.config import BackboneConfig, HeadsConfig, ImageConfig

    torch.manual_seed(0)
    backbone = BackboneConfig(name=name, weights="none")
    classifier = build_classifier(Mean.taxonomy, backbone, HeadsConfig(), ImageConfig()).eval()
    save_openvino(to_openvino(Graph(classifier)), folder, {})
    (form,) = classifier.preprocesses
    (folder / "preprocess.json").write_text(form.model_dump_json())


def _apart(num_rows: int, network: Path, options: argparse.Namespace) -> dict[str, float]:
    """The figures of one table, from a process that does nothing else."""
    with tempfile.TemporaryDirectory() as folder:
        _write(Path(folder), num_rows, options.photo_px, "csv" if options.csv else "parquet")
        command = [sys.executable, "-m", "benchmarks.memory", _ONE, folder]
        command += ["--network", str(network if options.network else "")]
        command += ["--threads", str(options.threads)]
        command += ["--repeat"] if options.repeat else []
        threads = {"POLARS_MAX_THREADS": str(options.threads)}
        environment = {**os.environ, **POLARS_SETTINGS, **threads}  # as `facetry predict` has it
        done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    figures: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return figures


def _write(folder: Path, num_rows: int, photo_px: int, form: str) -> None:
    """A table of so many rows, one of a few rows to warm up with, and their photos."""
    (folder / "photos").mkdir()
    for number in range(NUM_PHOTOS):
        photo = draw_photo(number).resize((photo_px, photo_px))
        photo.save(folder / "photos" / f"{number:03}.jpg", quality=88)
    names = Mean.taxonomy.categories
    for name, length in (("warm", _NUM_WARM), ("table", num_rows)):
        rows = np.arange(length)
        table = pl.DataFrame(
            {
                "id": rows,
                "Category": np.array(names)[rows % len(names)],
                "image": [f"{row % NUM_PHOTOS:03}.jpg" for row in rows],
                "title": [f"A product with the number {row}" for row in rows],
            }
        )
        (table.write_csv if form == "csv" else table.write_parquet)(folder / f"{name}.{form}")
        described = f"table: {name}.{form}\nimages: photos\ncolumns: {{photo: image}}\n"
        (folder / f"{name}.yaml").write_text(described)


def _measure(options: argparse.Namespace) -> dict[str, float]:
    """Predict the table in this process."""
    predict = functools.partial(_predict, _predictor(options.network, options.threads), options.one)
    predict("warm")
    figures = predict("table")
    if options.repeat:
        figures |= {f"{name}_taken": each for name, each in predict("table").items()}
    return {name: round(each, 4) for name, each in figures.items()}


def _predictor(network: str, num_threads: int) -> Predictor:
    """The network in a folder, or what does without."""
    if not network:
        return Mean()
    form = Preprocess.model_validate_json((Path(network) / "preprocess.json").read_bytes())
    engine = OpenVinoEngine.load(Path(network) / "model.xml", num_threads=num_threads)
    return ServedClassifier(Mean.taxonomy, form, engine)


def _predict(predictor: Predictor, folder: Path, name: str) -> dict[str, float]:
    """What predicting a table takes; cores' time hardly depends on who else uses the machine."""
    started, cpu_started = time.perf_counter(), time.process_time()
    catalogue = open_catalogue(folder / f"{name}.yaml", taxonomy=Mean.taxonomy)
    summary = predict_table(predictor, catalogue, folder / f"out_{name}", BatchConfig(model="mean"))
    assert not summary.problems
    per_row = 1000 / summary.num_products
    return {
        "ms_per_row": per_row * (time.perf_counter() - started),
        "cpu_ms_per_row": per_row * (time.process_time() - cpu_started),
        "peak_MiB": peak_rss_mib(),
    }


def _report(network: str, figures: dict[int, dict[str, float]]) -> None:
    columns = list(next(iter(figures.values())))
    spread = {
        name: round(max(values) / min(values), 4)
        for name in columns
        for values in [[each[name] for each in figures.values()]]
    }
    rows = [
        (f"{num_rows:,} rows", *(f"{each[name]:,.3f}" for name in columns))
        for num_rows, each in figures.items()
    ]
    rows.append(("most / least", *(f"{spread[name]:,.3f}" for name in columns)))
    found = {
        "benchmark": "memory",
        "network": network,
        "rows": {str(key): each for key, each in figures.items()},
    }
    show(
        f"Predicting tables, {network or 'no network'}",
        ["", *columns],
        rows,
        {**found, "most_to_least": spread},
    )


if __name__ == "__main__":
    main()
