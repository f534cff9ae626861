"""A shop's table with blanks, and a predictor whose answers are known."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from facetry.batch.fill.config import FillConfig, FillSummary
from facetry.batch.fill.run import fill_table, undo_fill
from facetry.catalogue.catalogue import Catalogue, assemble
from facetry.catalogue.source import Source
from facetry.predictions import Predictions
from facetry.product import Preprocess, Product
from facetry.runtime.progress import SILENT, Reporter
from facetry.taxonomy import Taxonomy

TAXONOMY = Taxonomy.of(
    {
        "Tees": {"color": ["black", "red", "white"], "neck": ["polo", "round"]},
        "Shoes": {"color": ["black", "red", "white"]},
    }
)

COLUMNS = {
    "id": "sku",
    "category": "type",
    "attributes": {"color": "colour", "neck": "neck line"},
}
VALUES = {"normalise": ["case"], "separator": [",", "/"]}

HEADER = ("sku", "type", "colour", "neck line", "price")
ROWS = (
    ("001", "Tees", "Black", "round", "5,10"),
    ("002", "Tees", "", "N/A", "6,10"),
    ("003", "Shoes", "Black", "", "7,10"),
    ("004", "Shoes", "-", "", "8,10"),
    ("005", "Tees", "red, white", "not applicable", "9,10"),
    ("006", "Tees", "black", "Polo", "10,10"),
    ("007", "Tees", "mauve", "", "11,10"),
    ("008", "Tees", "", "", ""),  # its photo is missing
)
"""Rows whose ids have leading zeros, with words for "nothing" and spellings in two letter cases."""

FILLED = {("002", "colour"): "Black", ("002", "neck line"): "Polo", ("004", "colour"): "Black"}
"""Cells that a fill by `Sure` writes beside that of 007: black as most rows spell it."""

FILLED[("007", "neck line")] = "Polo"


class Sure:
    """Predicts the first value of each head, with one confidence for each slot."""

    taxonomy = TAXONOMY
    preprocesses = (Preprocess(size_px=8, mean=(0, 0, 0), std=(1, 1, 1)),)

    def __init__(self, *confidences: float) -> None:
        self.confidences = confidences or (0.8, 0.6)
        self.asked: list[object] = []

    def predict(self, products: Sequence[Product]) -> Predictions:
        """The first value, with the confidence of its slot; the others share the rest."""
        self.asked += [each.id for each in products]
        codes = [TAXONOMY.category_indices.get(each.category, 0) for each in products]
        mask = TAXONOMY.value_mask[codes]  # B A V
        first = np.array(self.confidences)[None, :, None] * (np.arange(mask.shape[2]) == 0)
        others = (1 - np.array(self.confidences))[None, :, None] * (np.arange(mask.shape[2]) > 0)
        others = others / np.maximum(mask.sum(axis=2, keepdims=True) - 1, 1)
        return Predictions.of(TAXONOMY, products, (mask * (first + others)).astype(np.float32))


def draw_photos(folder: Path) -> Path:
    """Photos of all products but the last."""
    photos = folder / "photos"
    photos.mkdir()
    for sku, *_ in ROWS[:-1]:
        Image.new("RGB", (12, 12), (int(sku) * 30, 0, 0)).save(photos / f"{sku}.png")
    return photos


def open_shop(table: Path, **options: object) -> Catalogue:
    """The catalogue of a table, with the model's taxonomy."""
    photos = table.parent / "photos"
    source = Source.model_validate(
        {
            "table": table,
            "images": photos if photos.is_dir() else draw_photos(table.parent),
            "photo_pattern": "{id}.png",
            "columns": COLUMNS,
            "values": VALUES,
            **options,
        }
    )
    return assemble(source, TAXONOMY, is_closed=True)


def fill(
    table: Path,
    out: Path,
    predictor: Sure | None = None,
    *,
    reporter: Reporter = SILENT,
    catalogue: Catalogue | None = None,
    **config: object,
) -> FillSummary:
    """Fill a table."""
    return fill_table(
        predictor or Sure(),
        catalogue or open_shop(table),
        out,
        FillConfig(**{"model": "one", "source": "model one 2024-05-01", **config}),  # type: ignore[arg-type]
        reporter=reporter,
    )


def undo(table: Path, out: Path) -> FillSummary:
    """Take a fill back."""
    return undo_fill(open_shop(table), out)


def filled_rows() -> list[list[str]]:
    """The rows as a fill leaves them."""
    return [
        [FILLED.get((row[0], column), cell) for column, cell in zip(HEADER, row, strict=True)]
        for row in ROWS
    ]
