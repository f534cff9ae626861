"""Exports as a browser makes them."""

import re
from pathlib import Path

import openpyxl
from openpyxl.styles import PatternFill

from tests.review.shop import Reviewing


def say(shop: Reviewing, row: int, value: str | None, kind: str = "value") -> None:
    """Decide the cell of a product."""
    answer = {"key": f"press-{row}-{kind}-{value}", "row": row, "kind": kind, "head": 0, "value": value}
    found = shop.client.post("/review/shop/answers", json={"answers": [answer]}, headers=shop.token)
    assert found.status_code == 200, found.text


def make(shop: Reviewing, form: str = "table") -> str:
    """The part of the page about a form, once its file is made."""
    found = shop.client.post(f"/review/shop/export/{form}", headers=shop.token)
    assert found.status_code == 200, found.text
    return found.text


def download(shop: Reviewing, form: str = "table") -> bytes:
    """The file of a form, made anew."""
    section = make(shop, form)
    link = re.search(r'href="(/review/shop/exports/[0-9a-f]{32})"', section)
    assert link, section
    return shop.client.get(link[1]).content


def as_xlsx(folder: Path) -> None:
    """Make the shop's table a workbook with styles, a formula and another sheet."""
    book = openpyxl.Workbook()
    sheet = book.active
    for line in (folder / "products.csv").read_text(encoding="utf-8").splitlines():
        sheet.append(
            [cell.strip('"') if not cell.startswith('"=') else cell for cell in line.split(",")]
        )
    for number, cells in enumerate(sheet.iter_rows(min_row=2), start=2):
        cells[3].fill = PatternFill("solid", fgColor="FFEE00")
        cells[4].value = f"=ROW()+{number}"
    book.create_sheet("Notes")["A1"] = "שלום \U0001f600"
    book.save(folder / "products.xlsx")
    description = folder / "catalogue.yaml"
    text = description.read_text().replace("products.csv", "products.xlsx").replace(" text: title,", "")
    description.write_text(text)
