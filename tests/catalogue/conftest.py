"""Small tables, written on the spot."""

from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

CATEGORIES = {"Shirts": ["color", "fit"], "Tops & Tunics": ["color", "fit", "neck"]}

Write = Callable[[str | bytes], Path]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with an attribute list: two for Shirts, three for Tops & Tunics."""
    frame = pl.DataFrame({"Category": list(CATEGORIES), "Attribute_list": list(CATEGORIES.values())})
    frame.write_parquet(tmp_path / "category_attributes.parquet")
    return tmp_path


@pytest.fixture
def write(folder: Path) -> Write:
    """Write train.csv in that folder; its path comes back."""

    def write(text: str | bytes) -> Path:
        path = folder / "train.csv"
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return path

    return write
