"""Exports as a browser makes them."""

import re

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
