"""Catalogues of a few products, written on the spot."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
from PIL import Image

from facetry.catalogue.catalogue import Catalogue, open_catalogue
from facetry.training import stored_features

MakeCatalogue = Callable[..., Catalogue]

TAXONOMY = """\
Shirts: {color: [], fabric: []}
Sarees: {color: [], border: [zari, plain]}
"""


@pytest.fixture
def two_epochs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Learn hardly anything: for tests of all but what is found."""
    small = stored_features.SMALL
    few = small.training.model_copy(update={"epochs": 2, "milestones": ()})
    monkeypatch.setattr(stored_features, "SMALL", replace(small, training=few))


@pytest.fixture
def make_catalogue(tmp_path: Path) -> MakeCatalogue:
    """Make a catalogue from rows of (id, category, color, fabric, border), "" for no label."""

    def make(rows: Sequence[tuple[object, ...]], *, taxonomy: str = TAXONOMY) -> Catalogue:
        schema = dict.fromkeys(("id", "Category", "color", "fabric", "border"), pl.String)
        texts = [tuple(map(str, row)) for row in rows]
        pl.DataFrame(texts, schema=schema, orient="row").write_csv(tmp_path / "train.csv")
        (tmp_path / "taxonomy.yaml").write_text(taxonomy)
        return open_catalogue(tmp_path)

    return make


@pytest.fixture
def with_photos(make_catalogue: MakeCatalogue, tmp_path: Path) -> MakeCatalogue:
    """Make a catalogue whose products have photos: `shades` of grey stripes, None for a broken file."""

    def make(rows: Sequence[tuple[object, ...]], shades: Sequence[int | None]) -> Catalogue:
        folder = tmp_path / "images"
        folder.mkdir(exist_ok=True)
        for (id_, *_), shade in zip(rows, shades, strict=True):
            path = folder / f"{id_}.png"
            if shade is None:
                path.write_bytes(b"no photo")
            else:
                striped(shade).save(path)
        return make_catalogue(rows)

    return make


def striped(shade: int) -> Image.Image:
    """A photo that differs from those of other shades: its stripes are as wide as the shade says."""
    image = Image.new("RGB", (64, 80), (200, 180, 90))
    for place in range(0, 64, 2 + shade % 13):
        image.paste((30, 5 * shade % 256, 40 + shade), (place, 0, place + 1 + shade % 5, 80))
    image.paste((250, 20 + shade, 10), (3 * shade % 40, 5 * shade % 50, 3 * shade % 40 + 20, 70))
    return image
