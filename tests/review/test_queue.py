"""The queue's pages: what is asked, what is answered, and what is refused."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from tests.review.shop import NUM_PRODUCTS, Reviewing, reviewing


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Reviewing]:
    with reviewing(tmp_path) as started:
        yield started


def rows_of(page: str) -> list[int]:
    return [int(row) for row in re.findall(r'data-row="(\d+)"', page)]


def say(row: int, value: str | None = "red", *, key: str = "", kind: str = "value") -> dict[str, object]:
    head = None if kind == "bad_photo" else 0
    return {"key": key or f"press-{row}-{kind}", "row": row, "kind": kind, "head": head, "value": value}


def test_only_blank_cells_are_asked_about(shop: Reviewing) -> None:
    page = shop.client.get("/review/shop").text
    assert all(row % 2 == 0 for row in rows_of(page))
    assert f"{NUM_PRODUCTS // 2}</span> left" in page


def test_texts_of_a_shop_are_shown_and_never_run(shop: Reviewing) -> None:
    answer = shop.client.get("/review/shop")
    assert "&lt;b&gt;Saree&lt;/b&gt; \U0001f600 =1+1" in answer.text
    assert "<b>Saree" not in answer.text
    policy = answer.headers["content-security-policy"]
    assert "script-src 'self'" in policy
    assert "unsafe" not in policy


def test_an_answer_is_stored_once_and_the_next_product_comes(shop: Reviewing) -> None:
    first, *_ = rows_of(shop.client.get("/review/shop").text)
    for expected in (1, 0):
        found = shop.client.post(
            "/review/shop/answers", json={"answers": [say(first)]}, headers=shop.token
        )
        assert found.json() == {"num_new": expected}
    assert first not in rows_of(shop.client.get("/review/shop/next").text)


def test_undo_brings_the_product_back(shop: Reviewing) -> None:
    first, *_ = rows_of(shop.client.get("/review/shop").text)
    shop.client.post("/review/shop/answers", json={"answers": [say(first)]}, headers=shop.token)
    back = shop.client.post("/review/shop/undo", json={}, headers=shop.token)
    assert rows_of(back.text) == [first]
    nothing = shop.client.post("/review/shop/undo", json={}, headers=shop.token)
    assert nothing.status_code == 409


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (say(0, "green"), 409),
        (say(0, None), 409),
        (say(0, "", kind="proposed"), 422),
        (say(0, "teal\x01", kind="proposed"), 422),
        (say(0, "teal\0", kind="proposed"), 422),
        (say(0, key="press\0one"), 422),
        (say(99_999), 404),
        (say(2**63), 422),
        ({**say(0), "head": 7}, 404),
        ({**say(0), "head": None}, 422),
        ({**say(0), "kind": "no such"}, 422),
        ({**say(0), "key": "short"}, 422),
    ],
)
def test_an_answer_that_cannot_be_is_refused(shop: Reviewing, answer: object, status: int) -> None:
    found = shop.client.post("/review/shop/answers", json={"answers": [answer]}, headers=shop.token)
    assert found.status_code == status
    assert found.json()["error"]["message"]


@pytest.mark.parametrize(
    "headers", [{}, {"X-Facetry-Token": "other"}, {"origin": "https://evil.example"}]
)
def test_nothing_changes_without_the_pages_token(shop: Reviewing, headers: dict[str, str]) -> None:
    (row, *_) = rows_of(shop.client.get("/review/shop").text)
    answer = shop.client.post("/review/shop/answers", json={"answers": [say(row)]}, headers=headers)
    assert answer.status_code == 403


def test_photos_are_encoded_anew_and_one_that_vanished_says_so(shop: Reviewing, tmp_path: Path) -> None:
    (row, *_) = rows_of(shop.client.get("/review/shop").text)
    found = shop.client.get(f"/review/shop/photos/{row}/0/large")
    assert found.headers["content-type"] == "image/webp"
    assert found.content[8:12] == b"WEBP"
    (tmp_path / "shop" / "images" / f"{row}.jpg").unlink()
    assert shop.client.get(f"/review/shop/photos/{row}/0/small").status_code == 404
    for path, status in (
        (f"{row}/1/small", 404),
        (f"{row}/0/huge", 404),
        ("999/0/small", 404),
        (f"{2**63}/0/small", 422),
    ):
        assert shop.client.get(f"/review/shop/photos/{path}").status_code == status
    assert shop.client.get("/review/shop%00").status_code == 404


def test_where_a_photo_was_taken_is_told_to_nobody(shop: Reviewing, tmp_path: Path) -> None:
    (row, *_) = rows_of(shop.client.get("/review/shop").text)
    exif = Image.Exif()
    exif.get_ifd(0x8825)[1] = "SECRETPLACE"  # GPS
    exif[0x010E] = "SECRETPLACE"
    Image.new("RGB", (32, 32), "red").save(tmp_path / "shop" / "images" / f"{row}.jpg", exif=exif)
    assert b"SECRETPLACE" in (tmp_path / "shop" / "images" / f"{row}.jpg").read_bytes()
    found = shop.client.get(f"/review/shop/photos/{row}/0/large").content
    assert b"SECRETPLACE" not in found
    assert b"EXIF" not in found


def test_people_sign_in_with_a_key_for_reviews(tmp_path: Path) -> None:
    with reviewing(tmp_path, requires_keys=True) as shop:
        _, good = shop.service.keys.create("anna", ["review"])
        _, other = shop.service.keys.create("till", ["predict"])
        assert shop.client.get("/review/shop").status_code == 401
        for key, status in (("wrong", 401), (other, 403)):
            assert shop.client.post("/review/sign-in", data={"key": key}).status_code == status
        signed_in = shop.client.post("/review/sign-in", data={"key": good}, follow_redirects=False)
        cookie = signed_in.headers["set-cookie"].lower()
        assert all(word in cookie for word in ("httponly", "samesite=strict"))
        assert good not in cookie
        assert shop.client.get("/review/shop").status_code == 200
        assert shop.token["X-Facetry-Token"] not in cookie
        shop.client.cookies.set("facetry_person", "x.9999999999.0", domain="127.0.0.1")
        assert (
            shop.client.get("/review/shop", headers={"cookie": "facetry_person=x.9.0"}).status_code
            == 401
        )


def test_a_browser_is_shown_pages_whatever_happens(tmp_path: Path) -> None:
    asks = {"accept": "text/html,*/*"}
    with reviewing(tmp_path, requires_keys=True) as shop:
        sent = shop.client.get("/review/shop", headers=asks, follow_redirects=False)
        assert (sent.status_code, sent.headers["location"]) == (
            303,
            "/review/sign-in?to=%2Freview%2Fshop",
        )
        assert "Sign in" in shop.client.get("/review/sign-in", headers=asks).text
    with reviewing(tmp_path) as shop:
        found = shop.client.get("/review/no-such", headers=asks)
        assert found.status_code == 404
        assert "There is no review" in found.text
        assert found.headers["content-type"].startswith("text/html")


def test_the_same_review_goes_on_after_a_restart(tmp_path: Path) -> None:
    with reviewing(tmp_path) as shop:
        first, *_ = rows_of(shop.client.get("/review/shop").text)
        shop.client.post("/review/shop/answers", json={"answers": [say(first)]}, headers=shop.token)
    with reviewing(tmp_path) as again:
        assert not again.predictor.batches  # nothing is predicted twice
        assert first not in rows_of(again.client.get("/review/shop").text)
        assert f"{NUM_PRODUCTS // 2 - 1}</span> left" in again.client.get("/review/shop").text


def test_an_empty_queue_says_so(tmp_path: Path) -> None:
    with reviewing(tmp_path, num_products=2) as shop:
        shop.client.post("/review/shop/answers", json={"answers": [say(0)]}, headers=shop.token)
        page = shop.client.get("/review/shop").text
        assert 'id="empty" class="lead" >' in page
        assert rows_of(page) == []
