"""Photos that were pasted into a sheet."""

from io import BytesIO
from pathlib import Path

import pytest
import xlsxwriter
from PIL import Image

from facetry.catalogue.pasted_photos import find_pasted, write_pasted
from facetry.errors import CatalogueError


def picture(level: int, kind: str = "PNG") -> BytesIO:
    content = BytesIO()
    Image.new("RGB", (4, 4), (level, 0, 0)).save(content, kind)
    return content


@pytest.fixture
def book(tmp_path: Path) -> Path:
    with xlsxwriter.Workbook(tmp_path / "t.xlsx") as workbook:
        workbook.add_worksheet("Other").insert_image(0, 0, "x.png", {"image_data": picture(9)})
        sheet = workbook.add_worksheet("Products")
        sheet.write_row(0, 0, ["id", "photo"])
        for row in (1, 2, 3):
            sheet.write(row, 0, f"A{row}")
            sheet.embed_image(row, 1, f"{row}.png", {"image_data": picture(row * 10)})
        sheet.insert_image(2, 2, "z.jpg", {"image_data": picture(200, "JPEG")})
    return tmp_path / "t.xlsx"


def test_pictures_in_cells_and_above_them_are_found_by_row(book: Path) -> None:
    found = find_pasted(book, "Products")
    assert {row: [ending for ending, _ in each] for row, each in found.items()} == {
        2: [".png"],
        3: [".jpg", ".png"],
        4: [".png"],
    }
    assert list(find_pasted(book)) == [1]  # of the first sheet


def test_they_are_written_by_id(book: Path, tmp_path: Path) -> None:
    found = find_pasted(book, "Products")
    assert write_pasted(found, {2: "A1", 3: "A2", 9: "A9"}, tmp_path / "photos") == 2
    names = sorted(each.name for each in (tmp_path / "photos").iterdir())
    assert names == ["A1_1.png", "A2_1.jpg", "A2_2.png"]
    with Image.open(tmp_path / "photos" / "A1_1.png") as image:
        assert image.getpixel((0, 0)) == (10, 0, 0)


def test_an_id_cannot_lead_out_of_the_folder(book: Path, tmp_path: Path) -> None:
    with pytest.raises(CatalogueError, match="cannot be part"):
        write_pasted(find_pasted(book, "Products"), {2: "../A1"}, tmp_path / "photos")


def test_a_file_that_is_no_workbook_is_refused(tmp_path: Path) -> None:
    (tmp_path / "t.xlsx").write_bytes(b"PK\x03\x04 nonsense")
    with pytest.raises(CatalogueError, match=r"t\.xlsx cannot be read"):
        find_pasted(tmp_path / "t.xlsx")
