"""Which files a catalogue has, and what its columns hold."""

from pathlib import Path

import pytest

from facetry.catalogue.source import find_source, read_source
from facetry.errors import CatalogueError


@pytest.fixture
def challenge(tmp_path: Path) -> Path:
    for name in ("train.csv", "test.csv", "category_attributes.parquet"):
        (tmp_path / name).touch()
    for name in ("train_images", "test_images"):
        (tmp_path / name).mkdir()
    return tmp_path


@pytest.mark.parametrize(
    ("name", "table", "images"),
    [
        ("", "train.csv", "train_images"),
        ("train.csv", "train.csv", "train_images"),
        ("test.csv", "test.csv", "test_images"),
    ],
)
def test_files_next_to_a_table_are_found(challenge: Path, name: str, table: str, images: str) -> None:
    source = find_source(challenge / name)
    assert source.table == challenge / table
    assert source.images == challenge / images
    assert source.taxonomy == challenge / "category_attributes.parquet"


def test_the_photo_folder_can_be_named(challenge: Path) -> None:
    source = find_source(challenge, images=challenge / "test_images")
    assert source.images == challenge / "test_images"


def test_a_described_catalogue_names_everything_relative_to_its_file(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    described = tmp_path / "catalogue.yaml"
    described.write_text(
        "table: data/products.parquet\nimages: photos\ntaxonomy: taxonomy.yaml\n"
        "photo_pattern: '{id:06d}.png'\n"
        "columns: {id: sku, category: type, photo: image, attributes: {color: colour}}\n"
    )
    for source in (find_source(described), find_source(tmp_path)):
        assert source.table == tmp_path / "data" / "products.parquet"
        assert source.images == tmp_path / "photos"
        assert source.taxonomy == tmp_path / "taxonomy.yaml"
        assert source.columns.id == "sku"
        assert source.columns.attributes == {"color": "colour"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("table: a.csv\nimage: photos", "unknown key 'image'. Did you mean 'images'?"),
        ("table: a.csv\ncolumns: {catgory: type}", "'catgory'. Did you mean 'category'?"),
        ("table: a.csv\ncolumn: {}\nimagse: x", "Did you mean 'columns'?"),
        ("table: a.csv\ncolumn: {}\nimagse: x", "Did you mean 'images'?"),
        ("images: photos", "table: Field required"),
        ("table: a.csv\ndelimiter: é", "delimiter: Value error, one ASCII character"),
        ("table: a.csv\nheader_rows: 99999999999999999999", "less than or equal to 1000"),
        ("", "the top level"),
        ("table: [", "not YAML"),
        ("table: a.csv\ntable: b.csv", "line 2: names the key 'table' twice"),
        ("table: &t [*t]", "contains itself"),
        (f"table: {'[' * 1000}", "nested more than 64 deep"),
        (f"table: {'a' * 5000}", "File name too long"),
        (f"table: a.csv\nimages: {'a/' * 3000}", "File name too long"),
        ('table: a.csv\nrepairs: ["a\\0"]', "embedded null byte"),
        ("table: a.csv\nphoto_pattern: photo.jpg", "does not say where the id goes"),
        ("table: a.csv\nphoto_pattern: '{sku}.jpg'", "the field {sku}, which is not allowed"),
        ("table: a.csv\nphoto_pattern: '{}.jpg'", "the field {}, which is not allowed"),
        ("table: a.csv\nphoto_pattern: '{id.name}.jpg'", "the field {id.name}, which is not allowed"),
        ("table: a.csv\nphoto_pattern: '{id[0]}'", "the field {id[0]}, which is not allowed"),
        ("table: a.csv\nphoto_pattern: '{id!r}'", "the field {id!r}, which is not allowed"),
        ("table: a.csv\nphoto_pattern: '{id:999999999d}'", "the field {id:999999999d}, which is not"),
        ("table: a.csv\nphoto_pattern: '{id:{id}}'", "the field {id:{id}}, which is not allowed"),
        ("table: a.csv\nphoto_pattern: '{category:5}/{id}'", "the field {category:5}, which is not"),
        ("table: a.csv\nphoto_pattern: '{category}.jpg'", "does not say where the id goes"),
        ("table: a.csv\nphoto_pattern: '{id'", "expected '}' before end of string"),
        ("table: a.csv\nphoto_pattern: '{id}*.jpg'", "separate the star from the id"),
        ("table: a.csv\nphoto_pattern: '*/{id}.jpg'", "a star in a folder's name"),
    ],
)
def test_a_faulty_description_is_refused(tmp_path: Path, text: str, said: str) -> None:
    described = tmp_path / "catalogue.yaml"
    described.write_text(text)
    with pytest.raises(CatalogueError) as refusal:
        read_source(described)
    assert said in str(refusal.value)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("trian.csv", "Did you mean 'train.csv'?"),
        ("nowhere/train.csv", "There is no file or folder"),
        ("train_images", "neither train.csv nor catalogue.yaml"),
        ("products.docx", "is not a table that can be read"),
    ],
)
def test_what_is_no_catalogue_is_refused(challenge: Path, name: str, said: str) -> None:
    (challenge / "products.docx").touch()
    with pytest.raises(CatalogueError) as refusal:
        find_source(challenge / name)
    assert said in str(refusal.value)


@pytest.mark.parametrize("name", ["a" * 5000, "a\0.csv"])
def test_a_path_that_no_file_can_have_is_refused(challenge: Path, name: str) -> None:
    for path, images in ((challenge / name, None), (challenge, challenge / name)):
        with pytest.raises(CatalogueError, match="cannot be read"):
            find_source(path, images=images)


def test_a_photo_folder_that_is_not_there_is_refused(challenge: Path) -> None:
    described = challenge / "catalogue.yaml"
    described.write_text("table: train.csv\nimages: fotos")
    with pytest.raises(CatalogueError, match=r"photo folder .*fotos"):
        find_source(described)
    with pytest.raises(CatalogueError, match="photo folder"):
        find_source(challenge / "train.csv", images=challenge / "none")
