"""What tests predict, with what, and what they have done in a process of its own."""

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import polars as pl
from PIL import Image

from facetry.batch.local import BatchConfig, BatchSummary, predict_table
from facetry.catalogue.catalogue import Catalogue, open_catalogue
from facetry.predictions import Predictions
from facetry.product import Preprocess, Product
from facetry.runtime.progress import SILENT, Reporter
from facetry.runtime.signals import Stopped
from facetry.taxonomy import Taxonomy

TAXONOMY = Taxonomy.of(
    {
        "Sarees": {"border": ["zari", "temple"], "color": ["red", "blue", "green"]},
        "Men Tshirts": {"neck": ["polo", "round"]},
    }
)
OUTPUTS = ("predictions.parquet", "submission.csv", "problems.csv")


class Seeing:
    """A predictor whose answers follow from the photo's pixels, and that stores the ids of its products.

    It fails on the products `culprits`.
    """

    taxonomy = TAXONOMY
    preprocesses = (Preprocess(size_px=8, mean=(0, 0, 0), std=(1, 1, 1)),)

    def __init__(self, culprits: Sequence[object] = ()) -> None:
        self.culprits = set(culprits)
        self.predicted: list[object] = []

    def predict(self, products: Sequence[Product]) -> Predictions:
        if bad := [each.id for each in products if each.id in self.culprits]:
            raise RuntimeError(f"cannot see {bad[0]}\nat all")
        self.predicted += [each.id for each in products]
        codes = [max(TAXONOMY.category_indices.get(each.category, 0), 0) for each in products]
        mask = TAXONOMY.value_mask[codes]  # B A V
        light = [each.pixels[self.preprocesses[0]].mean() if each.pixels else 0 for each in products]
        weights = mask * (1 + np.arange(mask.shape[2]) * np.array(light)[:, None, None] / 100)
        sums = weights.sum(axis=2, keepdims=True)
        return Predictions.of(TAXONOMY, products, (weights / np.maximum(sums, 1)).astype(np.float32))


def draw_photo(path: Path, seed: int) -> None:
    """A small photo of one colour, a file of its own for each seed."""
    colour = tuple(np.random.RandomState(seed).randint(0, 256, 3).tolist())
    Image.new("RGB", (12, 12), colour).save(path, "PNG")


def make_table(folder: Path, num_rows: int) -> Path:
    """A table of products, two of whose photos are missing and no photos."""
    (folder / "photos").mkdir()
    for row in range(num_rows):
        draw_photo(folder / "photos" / f"{row}.png", row)
    (folder / "photos" / "3.png").unlink()
    (folder / "photos" / "5.png").write_text("no photo")
    write_table(folder, range(num_rows))
    return folder


def write_table(folder: Path, ids: Sequence[int], **titles: str) -> None:
    """The table of the products with these ids; `titles` has those for `id_N`."""
    pl.DataFrame(
        {
            "id": ids,
            "Category": [("Sarees", "Men Tshirts")[each % 2] for each in ids],
            "title": [titles.get(f"id_{each}", f"product {each}") for each in ids],
        }
    ).write_csv(folder / "table.csv")


def open_table(folder: Path) -> Catalogue:
    return open_catalogue(folder / "table.csv", images=folder / "photos", taxonomy=TAXONOMY)


def run(
    folder: Path,
    predictor: Seeing | None = None,
    *,
    out: str = "out",
    model: str = "one",
    shard_rows: int = 10,
    reporter: Reporter = SILENT,
) -> BatchSummary:
    """Predict the table in a folder in small shards."""
    config = BatchConfig(model=model, shard_rows=shard_rows)
    return predict_table(
        predictor or Seeing(), open_table(folder), folder / out, config, reporter=reporter
    )


def outcome(out: Path) -> dict[str, bytes]:
    """What a finished run leaves, but for what names the run itself."""
    files = [*(out / name for name in OUTPUTS), *(out / "parts").iterdir()]
    return {path.name: path.read_bytes() for path in files}


class Lines:
    """A reporter that stores its messages, and does something after some rows."""

    def __init__(self, after: int = 0, then: Callable[[], object] = lambda: None) -> None:
        self.after = after
        self.then = then
        self.said: list[str] = []
        self.num_rows = 0
        self.total: int | None = None

    def say(self, text: str) -> None:
        self.said.append(text)

    @contextmanager
    def bar(self, description: str, total: int | None) -> Iterator[Callable[[int], None]]:  # noqa: ARG002
        self.total = total
        yield self.advance

    def advance(self, count: int) -> None:
        self.num_rows += count
        if self.num_rows - count < self.after <= self.num_rows:
            self.then()


def predict_until_sigterm(folder: Path, *, reporter: Reporter) -> str:  # noqa: ARG001
    """Predict and be sent SIGTERM on the way; returns what became of it."""
    lines = Lines(25, lambda: os.kill(os.getpid(), signal.SIGTERM))
    before = signal.getsignal(signal.SIGTERM)
    try:
        run(folder, reporter=lines)
    except Stopped:
        return "stopped" if signal.getsignal(signal.SIGTERM) is before else "handler left"
    return "finished"
