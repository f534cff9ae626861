"""What distinguishes two catalogues, and how older versions stored it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from facetry.catalogue.catalogue import Catalogue, open_catalogue
from facetry.catalogue.identity import (
    catalogue_identity,
    is_same_catalogue,
    table_fingerprint,
    upgraded_identity,
)

ROWS = "1,Shirts,red,a.jpg,x.jpg\n2,Shirts,blue,b.jpg,y.jpg\n"

Open = Callable[..., Catalogue]


@pytest.fixture
def opened(tmp_path: Path) -> Open:
    """Write a table and what describes it, and open it as a catalogue."""

    def make(rows: str = ROWS, *, images: str | None = "photos", **columns: str) -> Catalogue:
        (tmp_path / "table.csv").write_text(f"id,Category,attr_1,photo,back\n{rows}")
        content: dict[str, Any] = {"table": "table.csv", "columns": columns}
        if images:
            (tmp_path / images).mkdir(exist_ok=True)
            content["images"] = images
        (tmp_path / "catalogue.yaml").write_text(json.dumps(content))
        return open_catalogue(tmp_path / "catalogue.yaml")

    return make


@pytest.mark.parametrize(
    ("change", "differing"),
    [
        ({"rows": ROWS}, []),
        ({"rows": ROWS.replace("red", "green")}, ["catalogue"]),
        ({"images": "elsewhere"}, ["photos"]),
        ({"images": None}, ["photos"]),
        ({"rows": ROWS.replace("b.jpg", "c.jpg")}, ["photo_names"]),
        ({"photo": "back"}, ["photo_names", "photos"]),
        ({"text": "attr_1"}, ["catalogue"]),
    ],
    ids=str,
)
def test_what_distinguishes_two_catalogues(
    opened: Open, change: dict[str, Any], differing: list[str]
) -> None:
    first = opened(photo="photo")
    identity, table = catalogue_identity(first), table_fingerprint(first)
    other = opened(**{"photo": "photo", **change})
    now = catalogue_identity(other)
    assert sorted(key for key in identity if identity[key] != now[key]) == differing
    assert (table_fingerprint(other) == table) == (not differing)


def test_photos_that_no_column_names_need_no_names(opened: Open) -> None:
    assert catalogue_identity(opened()).keys() == {"catalogue", "photos"}


@pytest.mark.parametrize("images", ["photos", None])
@pytest.mark.parametrize("photo", [{}, {"photo": "photo"}], ids=str)
@pytest.mark.parametrize("form", ["audit", "export", "model"])
def test_what_older_versions_stored_is_still_the_same(
    opened: Open, images: str | None, photo: dict[str, str], form: str
) -> None:
    catalogue = opened(images=images, **photo)
    folder = catalogue.source.images
    photos: dict[str, dict[str, str | None]] = {
        "audit": {"photos": str(folder.resolve()) if folder else None},
        "export": {},
        "model": {"photos": f"{folder.resolve() if folder else None} None {photo.get('photo')}"},
    }
    stored = {"catalogue": catalogue.fingerprint, "seed": 3, **photos[form]}
    assert upgraded_identity(stored, catalogue) == {**catalogue_identity(catalogue), "seed": 3}
    for other in ({"photos": "/elsewhere"}, {"catalogue": "another"}):
        changed = upgraded_identity({**stored, **other}, catalogue)
        assert changed != {**catalogue_identity(catalogue), "seed": 3}


@pytest.mark.parametrize(
    ("stored", "is_same"),
    [
        ({}, True),
        ({"photos": "moved"}, True),
        ({"catalogue": "with repaired labels"}, True),
        ({"catalogue": "another", "photos": "elsewhere"}, False),
    ],
    ids=str,
)
def test_the_same_table_or_the_same_photos_are_the_same_products(
    opened: Open, stored: dict[str, str], is_same: bool
) -> None:
    catalogue = opened()
    assert is_same_catalogue({**catalogue_identity(catalogue), **stored}, catalogue) == is_same


def test_nothing_stored_is_no_catalogue(opened: Open) -> None:
    assert not is_same_catalogue({}, opened())
