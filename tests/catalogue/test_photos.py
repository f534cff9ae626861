"""Which files hold a product's photos."""

from pathlib import Path

import pytest

from facetry.catalogue.photos import PhotoFinder, guess_pattern
from facetry.errors import CatalogueError, PhotoProblem

ROOT = Path("/photos")


@pytest.mark.parametrize(
    ("id_", "cell", "pattern", "names"),
    [
        (12, None, "{id:06d}.jpg", ["000012.jpg"]),
        ("000123", None, "{id}.jpg", ["000123.jpg"]),
        (1, "a.jpg", "{id}.jpg", ["a.jpg"]),
        (1, " a.jpg | sub/b c.png |", "{id}.jpg", ["a.jpg", "sub/b c.png"]),
        (1, "  ", "{id}.jpg", ["1.jpg"]),
        ("größe½", None, "{id}.jpg", ["größe½.jpg"]),
        (1, "..jpg", "{id}.jpg", ["..jpg"]),
        (1, "a..b/c.jpg", "{id}.jpg", ["a..b/c.jpg"]),
    ],
)
def test_photos_are_named_by_cell_or_by_pattern(
    id_: int | str, cell: str | None, pattern: str, names: list[str]
) -> None:
    paths, problem = PhotoFinder(ROOT, pattern).find(id_, cell)
    assert (list(paths), problem) == ([ROOT / name for name in names], "")


@pytest.mark.parametrize(
    "name",
    [
        "../secret.jpg",
        "a/../../secret.jpg",
        "..",
        "..\\secret.jpg",
        "a\\..\\..\\secret.jpg",
        "/etc/passwd",
        "\\\\server\\share\\a.jpg",
        "\\a.jpg",
        "C:\\a.jpg",
        "c:a.jpg",
        "a\0.jpg",
        "fine.jpg|../secret.jpg",
    ],
)
def test_no_name_leads_out_of_the_folder(name: str) -> None:
    assert PhotoFinder(ROOT).find(1, name) == ((), PhotoProblem.OUTSIDE)


def test_no_id_leads_out_of_the_folder() -> None:
    assert PhotoFinder(ROOT, "{id}.jpg").find("../1", None) == ((), PhotoProblem.OUTSIDE)


@pytest.mark.parametrize(
    ("folder", "id_", "problem"),
    [(None, 1, PhotoProblem.NO_FOLDER), (ROOT, None, PhotoProblem.NONE_GIVEN)],
)
def test_without_folder_or_id_there_is_no_photo(
    folder: Path | None, id_: int | None, problem: PhotoProblem
) -> None:
    assert PhotoFinder(folder).find(id_, None) == ((), problem)


@pytest.mark.parametrize("pattern", ["{id:06d}.jpg", "{id.name}.jpg", "{sku}.jpg", "{}.jpg"])
def test_a_pattern_that_does_not_fit_the_id_is_refused(pattern: str) -> None:
    with pytest.raises(CatalogueError, match="does not fit the id 'SKU-1'"):
        PhotoFinder(ROOT, pattern).find("SKU-1", None)


@pytest.mark.parametrize(
    ("id_", "pattern", "found"),
    [
        (1, "{id}_*.jpg", ["1_1.jpg", "1_2.jpg", "1_10.jpg"]),
        (1, "{id}_*", ["1_1.jpg", "1_2.jpg", "1_2.png", "1_10.jpg"]),
        (12, "{id}_*.jpg", ["12_1.jpg"]),
        (12, "{id:04d}-*.jpg", []),
        ("sub", "{id}/*.jpg", ["sub/a.jpg", "sub/b.jpg"]),
        ("none", "{id}/*.jpg", []),
        ("a[1]", "{id}_*.jpg", ["a[1]_x.jpg"]),
        ("a*", "{id}_*.jpg", []),
        ("b*", "{id}_*.jpg", ["b*_1.jpg"]),
        (1, "{id}_?.*", ["1_1.jpg", "1_2.jpg", "1_2.png"]),
        (1, "{id}_[1-3]*.png", ["1_2.png"]),
        ("x" * 300, "{id}/*.jpg", []),
    ],
)
def test_a_star_finds_all_photos_of_a_product(
    tmp_path: Path, id_: int | str, pattern: str, found: list[str]
) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "1_folder.jpg").mkdir()
    for name in (
        "1_10.jpg",
        "1_2.jpg",
        "1_1.jpg",
        "1_2.png",
        "12_1.jpg",
        "a[1]_x.jpg",
        "a1_x.jpg",
        "b*_1.jpg",
    ):
        (tmp_path / name).touch()
    for name in ("b.jpg", "a.jpg", "c.txt"):
        (tmp_path / "sub" / name).touch()
    expected = tuple(tmp_path / name for name in found)
    assert PhotoFinder(tmp_path, pattern).find(id_, None) == (
        expected,
        "" if found else PhotoProblem.MISSING,
    )


ENDINGS = (
    "0.JPG",
    "1.jpg",
    "2.JPEG",
    "3.jpeg",
    "4.Jpg",
    "5.PNG",
    "6.avif",
    "7.HEIC",
    "8.txt",
    "Img_9.JPG",
)


@pytest.fixture
def untidy(tmp_path: Path) -> Path:
    """A folder of photos whose names end in every way."""
    for name in (
        *ENDINGS,
        "1.png",
        "10.webp",
        "10.gif",
        "a.jpg",
        "A.png",
        "Tops & Co/1_2.JPG",
        "Tops & Co/1_1.jpeg",
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


@pytest.mark.parametrize(
    ("id_", "pattern", "found"),
    [
        *((number, "{id}.jpg", ENDINGS[number]) for number in range(8)),
        (8, "{id}.jpg", None),
        (1, "{id}.png", "1.png"),
        (1, "{id}.webp", "1.jpg"),
        (10, "{id}.jpg", "10.webp"),
        ("a", "{id}.png", "a.jpg"),
        ("A", "{id}.jpg", "A.png"),
        ("IMG_9", "{id}.jpg", None),
        (2, "{id}", "2.JPEG"),
        (1, "{category}/{id}_2.jpg", "Tops & Co/1_2.JPG"),
    ],
)
def test_endings_are_found_in_any_letter_case(
    untidy: Path, id_: int | str, pattern: str, found: str | None
) -> None:
    finder = PhotoFinder(untidy, pattern)
    expected = untidy / (found or finder.name(id_))
    assert finder.find(id_, None, "Tops & Co") == ((expected,), "")
    assert expected.is_file() == (found is not None)


@pytest.mark.parametrize(
    ("cell", "found"),
    [("IMG_9.jpg", "Img_9.JPG"), ("img_9", "Img_9.JPG"), ("1.jpg", "1.jpg"), ("a.png", "a.jpg")],
)
def test_names_in_a_column_are_found_in_any_letter_case(untidy: Path, cell: str, found: str) -> None:
    assert PhotoFinder(untidy).find(1, cell) == ((untidy / found,), "")


def test_a_star_finds_endings_in_any_letter_case_in_the_folder_of_a_category(untidy: Path) -> None:
    finder = PhotoFinder(untidy, "{category}/{id}_*.jpg")
    names = ("Tops & Co/1_1.jpeg", "Tops & Co/1_2.JPG")
    assert finder.find(1, None, "Tops & Co") == (tuple(untidy / name for name in names), "")
    assert finder.find(1, None, "Tops") == ((), PhotoProblem.MISSING)
    assert finder.find(1, None, "../x") == ((), PhotoProblem.OUTSIDE)
    assert finder.find(1, None, None) == ((), PhotoProblem.NONE_GIVEN)


def test_addresses_are_passed_over_for_downloaded_photos(untidy: Path) -> None:
    finder = PhotoFinder(untidy, "{id}.jpg")
    cell = "https://shop.example/x.jpg|https://shop.example/y.jpg"
    assert finder.find(0, cell) == ((untidy / "0.JPG",), "")
    assert finder.find(99, cell) == ((), PhotoProblem.ADDRESS)


def test_what_lies_there_is_said(untidy: Path) -> None:
    finder = PhotoFinder(untidy)
    said = finder.what_lies_there(untidy / "99.jpg")
    assert said == f"{untidy} holds 16 files and folders, such as 0.JPG, 1.jpg, 1.png."
    assert finder.what_lies_there(untidy / "no" / "1.jpg") == f"There is no folder {untidy / 'no'}."


def test_no_pattern_with_a_star_leads_out_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "secret_1.jpg").touch()
    (tmp_path / "photos").mkdir()
    finder = PhotoFinder(tmp_path / "photos", "{id}_*.jpg")
    assert finder.find("../secret", None) == ((), PhotoProblem.OUTSIDE)


def test_the_column_goes_before_the_star() -> None:
    assert PhotoFinder(ROOT, "{id}_*.jpg").find(1, "b.jpg|a.jpg")[0] == (ROOT / "b.jpg", ROOT / "a.jpg")


@pytest.mark.parametrize(
    ("ids", "files", "pattern"),
    [
        ([1, 2], ["000001.jpg"], "{id:06d}.jpg"),
        ([1, 2], ["2.png"], "{id}.png"),
        (["a", "b"], ["b.webp"], "{id}.webp"),
        ([1, 2], ["000002.JPEG"], "{id:06d}.JPEG"),
        ([1, 2], [], "{id:06d}.jpg"),
        (["a"], [], "{id}.jpg"),
        (["../a", "x" * 300, "b\0"], [], "{id}.jpg"),
        ([], [], "{id:06d}.jpg"),
    ],
)
def test_the_pattern_is_guessed_from_what_is_there(
    tmp_path: Path, ids: list[int | str], files: list[str], pattern: str
) -> None:
    for name in files:
        (tmp_path / name).touch()
    assert guess_pattern(PhotoFinder(tmp_path), ids) == pattern
