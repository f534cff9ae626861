"""Photos without a table are a catalogue: their categories are given, or are their folders' names."""

from pathlib import Path

import pytest

from facetry.catalogue.photo_folder import holds_photos, open_photos
from facetry.errors import CatalogueError
from facetry.taxonomy import Taxonomy

TAXONOMY = Taxonomy.of({name: {"colour": ["red"]} for name in ("Sarees", "T-Shirts & Polos")})


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    names = ("2.JPG", "10/1.png", "notes.txt")
    others = ("T-Shirts & Polos/a.webp", "other/b.jpg", ".hidden/c.jpg")
    for name in (*(f"sarees/{each}" for each in names), *others):
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return tmp_path / "photos"


def categories(path: Path, category: str | None = None) -> dict[str, str]:
    with open_photos(path, category, TAXONOMY) as opened:
        opened.require_sound()
        assert all(photo.is_file() for product in opened.products() for photo in product.photos)
        return {str(product.id): product.category for product in opened.products()}


def test_folders_are_named_like_categories(photos: Path) -> None:
    assert categories(photos) == {
        "T-Shirts & Polos/a.webp": "T-Shirts & Polos",
        "other/b.jpg": "",
        "sarees/2.JPG": "Sarees",
        "sarees/10/1.png": "Sarees",
    }
    assert categories(photos / "sarees") == {"2.JPG": "Sarees", "10/1.png": "Sarees"}


def test_one_category_is_given_for_all(photos: Path) -> None:
    assert set(categories(photos, "sarees").values()) == {"Sarees"}


def test_one_photo(photos: Path) -> None:
    assert categories(photos / "sarees" / "2.JPG") == {"2.JPG": "Sarees"}
    assert categories(photos / "other" / "b.jpg", "Sarees") == {"b.jpg": "Sarees"}


def test_an_unknown_category_is_refused(photos: Path) -> None:
    with pytest.raises(CatalogueError, match="no category 'Saree'") as refusal:
        categories(photos, "Saree")
    assert refusal.value.hint == "Did you mean 'Sarees'?"
    with pytest.raises(CatalogueError, match="Of which category") as refusal:
        categories(photos / "other")
    assert refusal.value.hint == "Name it with --category. Known: Sarees, T-Shirts & Polos."


def test_what_holds_photos(photos: Path) -> None:
    assert holds_photos(photos)
    assert holds_photos(photos / "sarees" / "2.JPG")
    assert not holds_photos(photos / "sarees" / "notes.txt")
    assert not holds_photos(photos / "nothing")
    (photos / "catalogue.yaml").touch()
    assert not holds_photos(photos)
