"""Everything wrong with a catalogue, found in one go."""

import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from PIL import Image

from facetry.catalogue.check import CheckReport, PhotoCheck, check_catalogue
from facetry.demo.garments import FaultRates, SampleConfig, draw_catalogue
from facetry.taxonomy import Taxonomy

Write = Callable[[str | bytes], Path]

HEADER = "id,Category,len,attr_1,attr_2,attr_3,attr_4\n"
GOOD = "1,Shirts,2,red,slim,,\n2,Shirts,2,blue,wide,,\n3,Tops & Tunics,3,red,wide,v,\n"
GOOD += "4,Tops & Tunics,3,blue,slim,round,nu\n"
TAXONOMY = Taxonomy.of(
    {
        "Shirts": {"color": ["blue", "red"], "fit": ["slim", "wide"]},
        "Tops & Tunics": {
            "color": ["blue", "red"],
            "fit": ["slim", "wide"],
            "neck": ["round", "v"],
        },
    }
)

Found = dict[str, list[tuple[str, int, tuple[int, ...]]]]


def found(report: CheckReport) -> Found:
    """Kind -> severity, count, rows of its problems, photo folder aside."""
    kinds: Found = {}
    for problem in report.problems:
        if problem.kind != "no photo folder":
            each = (problem.severity, problem.count, problem.rows)
            kinds.setdefault(problem.kind, []).append(each)
    return kinds


def test_a_sound_table_has_no_problem(write: Write) -> None:
    report = check_catalogue(write(HEADER + GOOD))
    assert found(report) == {}
    assert report.findings.is_empty()
    summary = report.summary
    assert summary is not None
    assert (summary.num_products, summary.num_categories, summary.num_heads) == (4, 2, 5)
    assert (summary.num_labels, summary.num_possible, summary.missing_share) == (10, 10, 0)


@pytest.mark.parametrize(
    ("rows", "kind", "severity", "numbers"),
    [
        (",Shirts,2,red,,,\n,Shirts,2,red,,,\n", "missing id", "error", (6, 7)),
        ("1,Shirts,2,red,,,\n", "repeated id", "error", (2, 6)),
        ("5,,2,red,,,\n", "missing category", "warning", (6,)),
        ("5,Shirt,2,red,,,\n6,Shirt,2,red,,,\n", "unknown category", "warning", (6, 7)),
        ("5,Shirts,3,red,,,\n", "wrong length", "warning", (6,)),
        ("5,Shirts,two,red,,,\n", "wrong length", "warning", (6,)),
        ("5,Shirts,2,red,,v,\n", "misplaced label", "warning", (6,)),
        ("5,Shirts,2,red,,,v\n", "misplaced label", "warning", (6,)),
    ],
)
def test_faulty_rows_are_found(
    write: Write, rows: str, kind: str, severity: str, numbers: tuple[int, ...]
) -> None:
    report = check_catalogue(write(HEADER + GOOD + rows))
    assert found(report) == {kind: [(severity, len(numbers), numbers)]}
    assert tuple(report.findings["row"]) == numbers
    assert set(report.findings["problem"]) == {kind}


@pytest.mark.parametrize(
    "rows",
    ["5,Shirts,2.0,red,,dummy_value,NU\n", "5,Shirts,,red,,nan,\n", "\n,,,,,,\n5,Shirts,2,,,,\n"],
)
def test_fills_and_blank_lines_are_no_fault(write: Write, rows: str) -> None:
    assert found(check_catalogue(write(HEADER + GOOD + rows))) == {}


def test_values_are_checked_against_a_given_taxonomy(write: Write) -> None:
    rows = "5,Shirts,2,rde,slim,,\n6,Shirts,2,rde,slim,,\n7,Shirts,2,slim,slim,,\n"
    report = check_catalogue(write(HEADER + GOOD + rows), taxonomy=TAXONOMY)
    _, first, second, *_ = report.problems
    assert found(report) == {"unknown value": [("warning", 2, (6, 7)), ("warning", 1, (8,))]}
    assert "'rde' is not a value of Shirts / color" in first.what
    assert "Did you mean 'red'?" in first.advice
    assert "Did you mean" not in second.advice
    finding = report.findings.row(0, named=True)
    assert [finding[name] for name in ("row", "id", "category", "attribute", "value")] == [
        6, "5", "Shirts", "color", "rde",
    ]  # fmt: skip
    assert report.summary is not None
    assert report.summary.num_labels == 13


def test_values_that_the_taxonomy_file_lacks_are_added_and_reported(write: Write) -> None:
    table = write(HEADER + GOOD + "5,Shirts,2,rde,,,\n")
    (table.parent / "category_attributes.parquet").unlink()
    (table.parent / "taxonomy.yaml").write_text(TAXONOMY.to_yaml())
    report = check_catalogue(table)
    assert found(report) == {"further value": [("warning", 1, (6,))]}
    assert "Did you mean 'red'?" in report.problems[1].advice


def test_a_given_attribute_list_allows_any_value(write: Write) -> None:
    bare = {"Shirts": {"color": [], "fit": []}, "Tops & Tunics": {"color": [], "fit": [], "neck": []}}
    assert found(check_catalogue(write(HEADER + GOOD), taxonomy=Taxonomy.of(bare))) == {}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"", ["train.csv is empty."]),
        (HEADER, ["train.csv has no rows."]),
        ("sku,Categroy,attr_1\n1,Shirts,red\n", ["no column 'id'", "no column 'Category'"]),
        (HEADER + GOOD + "5,Shirts,2,red,,,,,,,\n", ["row 6 has 11 cells"]),
        (HEADER + '1,Shirts,2,6" hem,,,\n2,Shirts,2,a,,,\n', ["line 2 has a quotation mark"]),
    ],
)
def test_what_cannot_be_opened_is_an_error_in_the_report(
    write: Write, text: str | bytes, said: list[str]
) -> None:
    report = check_catalogue(write(text))
    errors = [problem.what for problem in report.problems if problem.severity == "error"]
    assert len(errors) == len(said)
    assert all(part in what for part, what in zip(said, errors, strict=True))
    assert all(problem.advice for problem in report.problems)
    assert report.summary is None


def test_errors_of_several_files_are_reported_at_once(write: Write) -> None:
    table = write("sku,Category,Category\n1,Shirts,x\n")
    (table.parent / "category_attributes.parquet").write_bytes(b"no")
    report = check_catalogue(table)
    assert set(found(report)) == {"unusable", "missing column", "doubled column"}


def test_a_path_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "train.csv").touch()
    (problem,) = check_catalogue(tmp_path / "tarin.csv").problems
    assert problem.advice == "Did you mean 'train.csv'?"
    (problem,) = check_catalogue(tmp_path / "train.csv", images=tmp_path / "none").problems
    assert "photo folder" in problem.what


def test_categories_and_heads_without_labels_are_reported(write: Write) -> None:
    report = check_catalogue(write(HEADER + "1,Shirts,2,red,,,\n"))
    assert found(report) == {
        "head without labels": [("warning", 1, ())],
        "empty category": [("note", 1, ())],
        "head with one value": [("note", 1, ())],
    }
    what = {problem.kind: problem.what for problem in report.problems}
    assert "Shirts / fit" in what["head without labels"]
    assert "Tops & Tunics" in what["empty category"]
    assert "Shirts / color" in what["head with one value"]


def test_a_table_to_predict_needs_no_labels(write: Write) -> None:
    report = check_catalogue(write("id,Category\n1,Shirts\n2,Tops & Tunics\n"))
    assert found(report) == {"no labels": [("note", 1, ())]}
    assert report.summary is not None
    assert report.summary.missing_share == 1


def test_two_spellings_of_an_attribute_are_noted(tmp_path: Path) -> None:
    values = ["daily", "party"]
    taxonomy = Taxonomy.of({"A": {"occasion": values}, "B": {"ocassion": values}})
    (tmp_path / "t.csv").write_text("id,Category,attr_1\n1,A,daily\n2,B,party\n")
    report = check_catalogue(tmp_path / "t.csv", taxonomy=taxonomy)
    assert found(report) == {"look-alike attributes": [("note", 1, ())]}


def test_a_long_tail_of_findings_becomes_one_problem(write: Write) -> None:
    rows = "".join(f"{number},Kind {number:02},1,red,,,\n" for number in range(5, 30))
    report = check_catalogue(write(HEADER + GOOD + rows))
    unknown = found(report)["unknown category"]
    assert len(unknown) == 11
    assert unknown[-1] == ("warning", 15, (16, 17, 18, 19, 20))
    assert report.findings.height == 25


def test_errors_come_first(write: Write) -> None:
    text = HEADER.replace("attr_2", "colors") + "1,Hat,2,red,,,\n1,Shirts,2,red,,,\n"
    report = check_catalogue(write(text))
    assert [problem.severity for problem in report.problems][:2] == ["error", "error"]
    counts = [report.count(each) for each in ("error", "warning", "note")]
    assert [problem.severity for problem in report.problems] == [
        *["error"] * counts[0],
        *["warning"] * counts[1],
        *["note"] * counts[2],
    ]
    assert all(counts)


def test_a_catalogue_without_a_photo_folder_is_an_error(write: Write) -> None:
    table = write(HEADER + GOOD)
    (problem,) = check_catalogue(table).problems
    assert (problem.severity, problem.kind) == ("error", "no photo folder")
    assert "--images" in problem.advice
    assert not check_catalogue(table, photos="none").problems


def write_huge_png(path: Path) -> None:
    """A few bytes that claim to be 30,000 x 30,000 pixels."""
    Image.new("1", (8, 8)).save(path)
    content = bytearray(path.read_bytes())
    content[16:24] = struct.pack(">II", 30_000, 30_000)  # the header's width and height
    content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
    path.write_bytes(content)


@pytest.fixture
def photos(write: Write) -> Path:
    """A catalogue of two categories with every kind of bad photo in the second."""
    table = write(
        "id,Category,image\n1,Shirts,good.jpg\n2,Shirts,missing.jpg|good.jpg\n"
        "3,Tops & Tunics,missing.jpg\n4,Tops & Tunics,empty.jpg\n5,Tops & Tunics,text.jpg\n"
        "6,Tops & Tunics,cut.jpg\n7,Tops & Tunics,huge.png\n8,Tops & Tunics,../good.jpg\n"
        "9,Tops & Tunics,/etc/passwd\n10,Tops & Tunics,C:\\good.jpg\n11,Tops & Tunics,folder\n"
    )
    folder = table.parent / "photos"
    (folder / "folder").mkdir(parents=True)
    Image.effect_noise((64, 64), 50).convert("RGB").save(folder / "good.jpg", quality=95)
    (folder / "cut.jpg").write_bytes((folder / "good.jpg").read_bytes()[:1500])
    (folder / "empty.jpg").touch()
    (folder / "text.jpg").write_text("Dear customer,")
    write_huge_png(folder / "huge.png")
    described = table.parent / "catalogue.yaml"
    described.write_text(
        "table: train.csv\nimages: photos\ntaxonomy: category_attributes.parquet\n"
        "columns: {photo: image}\n"
    )
    return described


OUTSIDE = ("warning", 3, (9, 10, 11))


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ("none", {}),
        (
            "exist",
            {
                "photo: file not found": [("warning", 3, (3, 4, 12))],
                "photo: path leaves the image folder": [OUTSIDE],
                "photo: file is empty": [("warning", 1, (5,))],
                "missing photo": [("note", 1, ())],
            },
        ),
        (
            "open",
            {
                "photo: file not found": [("warning", 3, (3, 4, 12))],
                "photo: path leaves the image folder": [OUTSIDE],
                "photo: file is empty": [("warning", 1, (5,))],
                "photo: not an image": [("warning", 1, (6,))],
                "photo: too many pixels": [("warning", 1, (8,))],
                "photo: file is truncated": [("warning", 1, (7,))],
                "category without photos": [("warning", 1, ())],
                "missing photo": [("note", 1, ())],
            },
        ),
    ],
)
def test_photos_that_cannot_be_used_are_found(photos: Path, how: PhotoCheck, expected: Found) -> None:
    report = check_catalogue(photos, photos=how)
    assert found(report) == {**expected, "no labels": [("note", 1, ())]}
    if how != "none":
        missing = report.findings.filter(pl.col("problem") == "photo: file not found")
        assert missing["value"].to_list() == ["missing.jpg", "missing.jpg", "folder"]
        assert missing["id"].to_list() == ["2", "3", "11"]


def test_a_folder_of_other_photos_is_an_error(write: Write, tmp_path: Path) -> None:
    (tmp_path / "train_images").mkdir()
    report = check_catalogue(write(HEADER + GOOD))
    assert found(report)["no usable photo"] == [("error", 4, ())]


def test_it_is_said_what_lies_where_a_photo_was_sought(write: Write, tmp_path: Path) -> None:
    (tmp_path / "train_images").mkdir()
    for name in ("IMG_7.JPG", "IMG_8.JPG"):
        (tmp_path / "train_images" / name).touch()
    problems = {each.kind: each for each in check_catalogue(write(HEADER + GOOD)).problems}
    folder = tmp_path / "train_images"
    assert problems["missing photo"].what == (
        f"No file {folder / '000001.jpg'}. "
        f"{folder} holds 2 files and folders, such as IMG_7.JPG, IMG_8.JPG."
    )


def test_photos_in_any_letter_case_are_found(tmp_path: Path) -> None:
    endings = (".JPG", ".jpeg", ".Jpg", ".png")
    (tmp_path / "Shirts").mkdir()
    for number, ending in enumerate(endings):
        (tmp_path / "Shirts" / f"{number}{ending}").write_text("x")
    lines = "".join(f"{number},Shirts,red\n" for number in range(4))
    (tmp_path / "p.csv").write_text(f"id,Category,colour\n{lines}")
    described = tmp_path / "catalogue.yaml"
    described.write_text(
        "table: p.csv\nimages: .\nphoto_pattern: '{category}/{id}.jpg'\n"
        "columns: {attributes: {colour: colour}}\n"
    )
    assert not any("photo" in kind for kind in found(check_catalogue(described, photos="exist")))


@pytest.mark.parametrize("images", ["", "images: photos\n"])
def test_addresses_of_photos_are_to_be_downloaded(tmp_path: Path, images: str) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "p.csv").write_text(
        "id,Category,colour,image\n1,Shirts,red,https://shop.example/1.jpg\n"
    )
    described = tmp_path / "catalogue.yaml"
    described.write_text(
        f"table: p.csv\n{images}columns: {{photo: image, attributes: {{colour: colour}}}}\n"
    )
    report = check_catalogue(described)
    assert any("facetry photos TABLE --out DIR" in problem.advice for problem in report.problems)


def test_a_pattern_that_does_not_fit_the_ids_is_an_error(write: Write, tmp_path: Path) -> None:
    write("id,Category\nSKU-1,Shirts\n")
    (tmp_path / "photos").mkdir()
    described = tmp_path / "catalogue.yaml"
    described.write_text(
        "table: train.csv\nimages: photos\ntaxonomy: category_attributes.parquet\n"
        "photo_pattern: '{id:06d}.jpg'\n"
    )
    report = check_catalogue(described)
    assert "does not fit the id 'SKU-1'" in report.problems[0].what
    assert report.count("error") == 1


def test_photos_of_faulty_rows_are_checked_too(write: Write, tmp_path: Path) -> None:
    (tmp_path / "train_images").mkdir()
    (tmp_path / "train_images" / "000001.jpg").write_text("x")
    report = check_catalogue(write(HEADER + GOOD + ",Shirts,2,red,,,\n1,Hats,2,red,,,\n"))
    assert found(report)["photo: no photo given"] == [("warning", 1, (6,))]
    assert found(report)["photo: file not found"] == [("warning", 3, (3, 4, 5))]


def test_the_faults_planted_in_a_drawn_catalogue_are_counted_right(tmp_path: Path) -> None:
    rates = FaultRates(truncated=0.1, not_an_image=0.1, empty=0.1)
    config = SampleConfig(num_products=40, seed=1, size_px=64, rates=rates)
    planted = draw_catalogue(tmp_path / "drawn", config).num_faults
    kinds = {
        "truncated": "photo: file is truncated",
        "not an image": "photo: not an image",
        "empty": "photo: file is empty",
    }
    parts = [
        check_catalogue(tmp_path / "drawn" / name, photos="open").findings
        for name in ("train.csv", "test.csv")
    ]
    counts = dict(pl.concat(parts)["problem"].cast(pl.String).value_counts().iter_rows())
    assert counts == {kind: planted[fault] for fault, kind in kinds.items()}


@pytest.mark.shared_data
def test_the_challenge_is_sound(shared_data: Path) -> None:
    report = check_catalogue(shared_data / "meesho")
    assert [problem.kind for problem in report.problems] == [
        "no photo folder",
        "look-alike attributes",
    ]
    assert report.summary is not None
    assert report.summary.num_possible - report.summary.num_labels == 167_718
