"""What admins decide: disputes, proposed values and the shares; who else asks is refused."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import delete, update

from facetry.review.answers import Answer
from facetry.review.store.decisions import By
from facetry.review.store.queue import Asked
from facetry.review.store.records import CELLS, PRODUCTS
from facetry.service.tables import REVIEW_CELLS, REVIEW_PRODUCTS
from tests.review.shop import Reviewing, reviewing
from tests.review.test_queue import rows_of, say


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Reviewing]:
    with reviewing(tmp_path, num_products=8) as started:
        yield started


def post(shop: Reviewing, path: str, **form: object) -> tuple[int, str]:
    answer = shop.client.post(f"/review/shop/{path}", data=form, headers=shop.token)
    return answer.status_code, answer.text


def propose(shop: Reviewing, row: int, value: str = "teal") -> int:
    answer = say(row, value, kind="proposed")
    return shop.client.post(
        "/review/shop/answers", json={"answers": [answer]}, headers=shop.token
    ).status_code


def cell_of(shop: Reviewing, row: int) -> tuple[str | None, str | None, bool]:
    reviews = shop.client.app.state.reviews  # type: ignore[attr-defined]
    page = reviews.store.get("shop")
    task = reviews.queue.task(page, row, Asked(person="nobody"))
    (cell,) = task.cells
    return cell.decided, cell.proposed, cell.is_open


def test_an_added_value_is_offered_and_its_cells_are_decided(shop: Reviewing) -> None:
    assert propose(shop, 0) == propose(shop, 2) == 200
    page = shop.client.get("/review/shop/values").text
    assert "teal" in page
    assert "2 cells" in page
    assert "1 proposed values" in shop.client.get("/review/shop/waiting").text
    status, text = post(shop, "values", head=0, value="teal", verdict="added")
    assert status == 200
    assert "at the next training" in text
    assert cell_of(shop, 0) == cell_of(shop, 2) == ("teal", None, False)
    assert 'data-value="teal"' in shop.client.get("/review/shop").text
    assert shop.client.get("/review/shop/waiting").text.strip() == ""


def test_a_value_that_means_another_is_read_as_it(shop: Reviewing) -> None:
    propose(shop, 0, "rede")
    assert "nearest value" in shop.client.get("/review/shop/values").text
    assert post(shop, "values", head=0, value="rede", verdict="replaced", replacement="green")[0] == 409
    assert post(shop, "values", head=0, value="rede", verdict="replaced", replacement="red")[0] == 200
    assert cell_of(shop, 0) == ("red", None, False)


def test_a_refused_value_brings_its_cells_back_to_whoever_proposed_it(shop: Reviewing) -> None:
    propose(shop, 0)
    assert 0 not in rows_of(shop.client.get("/review/shop").text)
    assert post(shop, "values", head=0, value="teal", verdict="refused")[0] == 200
    assert cell_of(shop, 0) == (None, None, True)
    everything = set(rows_of(shop.client.get("/review/shop").text))
    shop.client.post("/review/shop/answers", json={"answers": [say(2), say(4)]}, headers=shop.token)
    assert 0 in everything | set(rows_of(shop.client.get("/review/shop").text))
    again = shop.client.post(
        "/review/shop/answers",
        json={"answers": [say(0, "teal", kind="proposed", key="another-press")]},
        headers=shop.token,
    )
    assert again.status_code == 409
    assert "refused" in again.text


@pytest.mark.parametrize("verdict", ["added", "refused"])
def test_a_value_is_ruled_on_where_a_product_that_had_it_is_gone(shop: Reviewing, verdict: str) -> None:
    propose(shop, 0)
    propose(shop, 2)
    with shop.service.database.transaction() as connection:
        connection.execute(delete(REVIEW_CELLS).where(CELLS.row == 0))
    assert post(shop, "values", head=0, value="teal", verdict=verdict)[0] == 200
    assert cell_of(shop, 2) == (("teal", None, False) if verdict == "added" else (None, None, True))


@pytest.mark.parametrize("value", ["RED", " red ", "Red"])
def test_a_proposed_value_that_there_is_counts_as_it(shop: Reviewing, value: str) -> None:
    assert propose(shop, 0, value) == 200
    assert cell_of(shop, 0) == ("red", None, False)


def test_texts_of_proposals_are_shown_as_text(shop: Reviewing) -> None:
    propose(shop, 0, '=1+1 <script>alert("x")</script> \u05e9\u05dc\u05d5\u05dd \U0001f600')
    page = shop.client.get("/review/shop/values").text
    assert "<script>alert" not in page
    assert "=1+1 &lt;script&gt;" in page


def test_shares_are_set_and_bad_ones_refused(shop: Reviewing) -> None:
    assert post(shop, "shares", useful=50, audit=0, sample=50, label=0, novel=0)[0] == 200
    reviews = shop.client.app.state.reviews  # type: ignore[attr-defined]
    shares = reviews.store.shares(reviews.store.get("shop"))
    assert (shares["useful"], shares["sample"], shares["audit"]) == (0.5, 0.5, 0.0)
    for bad in ({"useful": "x"}, {"useful": -1}, {"useful": 101}, {"useful": 0}, {"useful": "9" * 5000}):
        assert post(shop, "shares", **bad)[0] == 422


def test_only_admins_rule_and_a_dispute_says_who_said_what(tmp_path: Path) -> None:
    with reviewing(tmp_path, num_products=2, requires_keys=True) as shop:
        keys = {
            name: shop.service.keys.create(name, scopes)
            for name, scopes in (
                ("<i>anna</i>", ["review"]),
                ("ben", ["review"]),
                ("root", ["review", "admin"]),
            )
        }
        reviews = shop.client.app.state.reviews  # type: ignore[attr-defined]
        review = reviews.store.get("shop")
        with shop.service.database.transaction() as connection:
            connection.execute(update(REVIEW_CELLS).values(num_wanted=2))
        for (key, _), value in zip(list(keys.values())[:2], ("red", "blue"), strict=True):
            answer = Answer(key=f"press-{value}", row=0, head=0, kind="value", value=value)
            reviews.decisions.answer(review, By(person=key.id), [answer])
        shop.service.keys.revoke(keys["ben"][0].id)
        shop.client.post("/review/sign-in", data={"key": keys["<i>anna</i>"][1]})
        for path in ("values", "waiting"):
            assert shop.client.get(f"/review/shop/{path}").status_code == 403
        assert post(shop, "values", head=0, value="x", verdict="added")[0] == 403
        assert rows_of(shop.client.get("/review/shop").text) == []
        assert shop.client.post("/review/sign-out", headers=shop.token).status_code == 200
        assert shop.client.get("/review/shop").status_code == 401
        shop.client.post("/review/sign-in", data={"key": keys["root"][1]})
        page = shop.client.get("/review/shop").text
        assert "People disagree" in page
        assert "&lt;i&gt;anna&lt;/i&gt;</b> says" in page
        assert "ben</b> says" in page
        assert "1 disputes" in shop.client.get("/review/shop/waiting").text
        shop.client.post("/review/shop/answers", json={"answers": [say(0, "blue")]}, headers=shop.token)
        assert cell_of(shop, 0)[0] == "blue"


def test_what_a_person_holds_is_free_when_they_sign_out(tmp_path: Path) -> None:
    with reviewing(tmp_path, num_products=2, requires_keys=True) as shop:
        _, anna = shop.service.keys.create("anna", ["review"])
        _, ben = shop.service.keys.create("ben", ["review"])
        shop.client.post("/review/sign-in", data={"key": anna})
        assert rows_of(shop.client.get("/review/shop").text) == [0]
        renewed = shop.client.post("/review/shop/renew", headers=shop.token)
        assert renewed.json() == {"rows": [0]}
        with shop.service.database.transaction() as connection:
            assert connection.execute(REVIEW_PRODUCTS.select().where(PRODUCTS.holder.is_not(None))).all()
        shop.client.post("/review/sign-out", headers=shop.token)
        shop.client.post("/review/sign-in", data={"key": ben})
        assert rows_of(shop.client.get("/review/shop").text) == [0]


@pytest.mark.parametrize("to", ["https://evil.example", "//evil.example", "/review", "/other"])
def test_signing_in_leads_to_no_other_site(tmp_path: Path, to: str) -> None:
    with reviewing(tmp_path, num_products=2, requires_keys=True) as shop:
        _, key = shop.service.keys.create("anna", ["review"])
        for asked, expected in ((to, "/review"), ("/review/shop", "/review/shop")):
            answer = shop.client.post(
                "/review/sign-in", data={"key": key, "to": asked}, follow_redirects=False
            )
            assert answer.headers["location"] == expected


def test_labelled_products_like_it_are_shown_unless_the_cell_is_blind(shop: Reviewing) -> None:
    with shop.service.database.transaction() as connection:
        connection.execute(update(REVIEW_PRODUCTS).values(neighbours="[1, 3, 5, 7, 0]"))
        connection.execute(update(REVIEW_CELLS).values(stream="useful"))
    page = shop.client.get("/review/shop").text
    assert "photos/1/0/small" in page
    assert 'data-for="0"' in page
    with shop.service.database.transaction() as connection:
        connection.execute(update(REVIEW_CELLS).values(stream="audit"))
    assert "photos/1/0/small" not in shop.client.get("/review/shop").text
