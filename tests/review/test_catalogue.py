"""The page of a catalogue: completeness, the grid and its filter, a fix, changes of many cells."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from httpx import Response
from sqlalchemy import update

from facetry.review.answers import Answer
from facetry.review.catalogue import bulk
from facetry.review.reviews import Reviews
from facetry.review.store.decisions import By
from facetry.review.store.grid import Chosen
from facetry.review.store.records import Review
from facetry.service.tables import REVIEW_CELLS
from facetry.taxonomy import Taxonomy
from tests.review.shop import NUM_PRODUCTS, Reviewing, reviewing
from tests.service.serving import wait_until

GRID = "/review/shop/catalogue"


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Reviewing]:
    """Twenty-four sarees, every other one of a known colour."""
    with reviewing(tmp_path) as started:
        yield started


def review_of(shop: Reviewing) -> Review:
    return shop.reviews.store.get("shop")


def ids_of(text: str) -> list[str]:
    return re.findall(r'id="cell-(\d+-\d+)"', text)


def fix(shop: Reviewing, row: int, value: str, before: str = "", key: str = "") -> Response:
    data = {"key": key or f"press-{row}-{value}", "value": value, "before": before}
    return shop.client.post(f"{GRID}/cells/{row}/0", data=data, headers=shop.token)


def value_of(shop: Reviewing, row: int) -> tuple[str | None, str]:
    cell = shop.reviews.grid.cell(review_of(shop), (row, 0)).cell
    return cell.value, cell.source


def test_completeness_is_shown_before_and_after(shop: Reviewing) -> None:
    text = shop.client.get(GRID).text
    assert f'<th scope="row">Sarees</th>\n<td>{NUM_PRODUCTS}</td>\n<td>50%</td>\n<td>50%</td>' in text
    fix(shop, 0, "red")
    fix(shop, 2, "not applicable")
    counts = shop.reviews.grid.completeness(review_of(shop))[0]
    assert (counts.num_before, counts.num_after, counts.num_blank) == (12, 14, 10)
    fix(shop, 1, "blue", before="red")  # what the table had still counts as what it had
    assert shop.reviews.grid.completeness(review_of(shop))[0].num_before == 12


@pytest.mark.parametrize(
    ("query", "num_cells"),
    [
        ("", 24),
        ("category=Sarees&attribute=colour", 24),
        ("category=Kurtis", 0),
        ("attribute=colour&value=red", 8),
        ("source=table", 12),
        ("source=none", 12),
        ("state=blank", 12),
        ("state=open", 12),
        ("state=disputed", 0),
        ("low=85", 16),
        ("high=85", 8),
        ("product=P1", 11),
        ("product=P1&state=blank", 5),
        ("reviewer=local", 0),
    ],
)
def test_the_address_is_the_filter(shop: Reviewing, query: str, num_cells: int) -> None:
    text = shop.client.get(f"{GRID}?{query}").text
    assert len(ids_of(text)) == num_cells
    assert f">{num_cells} cells</h2>" in text


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("category=Saris", "There is no category &#39;Saris&#39;. "),
        ("attribute=color", "no attribute"),
        ("source=me", "no source"),
        ("low=lots", "A confidence of &#39;lots&#39; is none."),
        ("high=101", "is none"),
        ("after=x", "no such place"),
        ("after=2147483648-0", "no such place"),
        ("colour=red", "Extra inputs are not permitted"),
    ],
)
def test_a_filter_that_there_is_not_is_refused(shop: Reviewing, query: str, said: str) -> None:
    answer = shop.client.get(f"{GRID}?{query}", headers={"accept": "text/html"})
    assert answer.status_code == 422
    assert said.strip() in answer.text


def test_pages_follow_each_other_without_gaps(shop: Reviewing, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("facetry.review.catalogue.page.CELLS_ON_PAGE", 7)
    seen, address = [], GRID
    while address:
        text = shop.client.get(address).text
        seen += ids_of(text)
        following = re.search(r'class="next" href="([^"]+)"', text)
        address = following[1].replace("&amp;", "&") if following else ""
    assert seen == [f"{row}-0" for row in range(NUM_PRODUCTS)]


def test_texts_of_a_shop_are_shown_and_never_run(shop: Reviewing) -> None:
    text = shop.client.get(GRID).text
    assert "&lt;b&gt;Saree&lt;/b&gt; \U0001f600 =1+1" in text
    assert "<b>Saree" not in text


def test_a_cell_is_fixed_in_place_and_tells_its_history(shop: Reviewing) -> None:
    form = shop.client.get(f"{GRID}/cells/0/0/edit").text
    assert "<option selected>blue</option>" in form
    answer = fix(shop, 0, "red")
    assert '<span class="value" dir="auto">red</span>' in answer.text
    assert value_of(shop, 0) == ("red", "person")
    told = shop.client.get(f"{GRID}/cells/0/0/history").text
    assert 'local\nsaid <strong dir="auto">red</strong>; the model had said' in told
    assert told.count("<li") == 2


def test_the_history_of_a_cell_sways_nobody_who_is_asked_blindly(tmp_path: Path) -> None:
    with reviewing(tmp_path, requires_keys=True) as shop:
        keys = [shop.service.keys.create(name, ["review"]) for name in ("anna", "ben")]
        review = review_of(shop)
        with shop.service.database.transaction() as connection:
            connection.execute(update(REVIEW_CELLS).values(stream="sample", num_wanted=2))
        by = By(person=keys[0][0].id)
        shop.reviews.decisions.answer(review, by, [Answer(key="p1", row=0, head=0, kind="not_visible")])
        told = []
        for _, secret in keys:
            shop.client.post("/review/sign-in", data={"key": secret})
            told.append(shop.client.get(f"{GRID}/cells/0/0/history").text)
        assert ["not visible" in each for each in told] == [True, False]
        assert "another person is asked" in told[1]
        assert "blue" not in "".join(told)
        by = By(person=keys[1][0].id)
        shop.reviews.decisions.answer(review, by, [Answer(key="p2", row=0, head=0, kind="not_visible")])
        told = shop.client.get(f"{GRID}/cells/0/0/history").text
        assert told.count("not visible") == 2
        assert "blue" in told


def test_a_fix_counts_once_and_a_known_value_can_be_fixed(shop: Reviewing) -> None:
    for _ in range(2):
        assert fix(shop, 1, "blue", before="red", key="one press").status_code == 200
    assert value_of(shop, 1) == ("blue", "person")
    assert shop.client.get(f"{GRID}/cells/1/0/history").text.count("local\nsaid") == 1


def test_two_people_who_fix_the_same_cell_are_told(shop: Reviewing) -> None:
    assert fix(shop, 0, "red", key="first person").status_code == 200
    second = fix(shop, 0, "blue", key="second person")
    assert second.status_code == 409
    assert "it is red now" in second.json()["error"]["message"]
    assert value_of(shop, 0) == ("red", "person")


@pytest.mark.parametrize(
    ("path", "value", "status"),
    [
        ("0/0", "teal", 409),
        ("0/7", "red", 404),
        ("99/0", "red", 404),
        ("0/0", "", 422),
        ("-1/0", "red", 422),
    ],
)
def test_a_fix_that_cannot_be_is_refused(shop: Reviewing, path: str, value: str, status: int) -> None:
    data = {"key": "press-one", "value": value, "before": ""}
    answer = shop.client.post(f"{GRID}/cells/{path}", data=data, headers=shop.token)
    assert answer.status_code == status


def test_nothing_changes_without_the_pages_token(shop: Reviewing) -> None:
    for path in ("cells/0/0", "bulk/preview", "bulk", "changes/x/undo"):
        assert shop.client.post(f"{GRID}/{path}", data={"to": "red"}).status_code == 403


BLANKS = "category=Sarees&attribute=colour&state=blank"


def preview(shop: Reviewing, to: str, query: str = BLANKS, **more: str) -> tuple[str, dict[str, str]]:
    """What a preview says, and the form that it offers."""
    data = {"query": query, "to": to, **more}
    text = shop.client.post(f"{GRID}/bulk/preview", data=data, headers=shop.token).text
    form = dict(re.findall(r'name="(\w+)" value="([^"]*)"', text))
    return text, {name: text.replace("&amp;", "&") for name, text in form.items()}


def make(shop: Reviewing, form: dict[str, str]) -> int:
    answer = shop.client.post(f"{GRID}/bulk", data=form, headers=shop.token)
    finish(shop)
    return answer.status_code


def finish(shop: Reviewing) -> None:
    wait_until(lambda: "every 1s" not in shop.client.get(f"{GRID}/changes").text, 10)


def test_many_cells_are_previewed_changed_once_and_taken_back(shop: Reviewing) -> None:
    text, form = preview(shop, "red")
    assert "12 cells change." in text
    assert '12: <span dir="auto">blank</span> becomes <strong dir="auto">red</strong>' in text
    assert [make(shop, form) for _ in range(2)] == [200, 200]
    assert {value_of(shop, row) for row in range(0, NUM_PRODUCTS, 2)} == {("red", "person")}
    listed = shop.client.get(f"{GRID}/changes").text
    assert "12 of 12 cells" in listed
    assert listed.count("<li>") == 1
    shop.client.post(f"{GRID}/changes/{form['bulk_id']}/undo", headers=shop.token)
    finish(shop)
    assert {value_of(shop, row) for row in range(0, NUM_PRODUCTS, 2)} == {(None, "none")}
    assert "taken back" in shop.client.get(f"{GRID}/changes").text


def test_what_was_fixed_after_a_change_stays_when_it_is_taken_back(shop: Reviewing) -> None:
    _, form = preview(shop, "red")
    make(shop, form)
    fix(shop, 4, "blue", before="red")
    shop.client.post(f"{GRID}/changes/{form['bulk_id']}/undo", headers=shop.token)
    finish(shop)
    assert value_of(shop, 4) == ("blue", "person")
    assert value_of(shop, 6) == (None, "none")


def test_what_people_decided_is_left_out_unless_it_is_asked_for(shop: Reviewing) -> None:
    fix(shop, 0, "blue")
    query = "category=Sarees&attribute=colour"
    text, _ = preview(shop, "red", query)
    assert "1 that people decided are left out." in text
    assert "8 have the value already." in text
    text, _ = preview(shop, "red", query, decided="yes")
    assert "16 cells change." in text


def test_what_the_model_says_is_accepted_for_all(shop: Reviewing) -> None:
    _, form = preview(shop, bulk.PREDICTED)
    make(shop, form)
    cells = [shop.reviews.grid.cell(review_of(shop), (row, 0)).cell for row in range(0, NUM_PRODUCTS, 2)]
    assert all(cell.value == cell.predicted for cell in cells)
    assert {cell.value for cell in cells} == {"red", "blue"}


def test_cells_that_changed_since_the_preview_are_previewed_again(shop: Reviewing) -> None:
    _, form = preview(shop, "red")
    fix(shop, 0, "blue")
    answer = shop.client.post(f"{GRID}/bulk", data=form, headers=shop.token)
    assert answer.status_code == 409
    assert "changed since the preview" in answer.json()["error"]["message"]
    assert shop.reviews.bulks.all(review_of(shop)) == []


@pytest.mark.parametrize(
    ("query", "to", "status"),
    [
        ("", "red", 422),
        ("category=Sarees", "teal", 409),
        ("category=Nothing", "red", 422),
        ("a=b", "red", 422),
    ],
)
def test_a_change_that_cannot_be_is_refused(shop: Reviewing, query: str, to: str, status: int) -> None:
    data = {"query": query, "to": to}
    assert shop.client.post(f"{GRID}/bulk/preview", data=data, headers=shop.token).status_code == status


def test_too_many_cells_are_refused(shop: Reviewing, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulk, "MOST_CHANGED", 5)
    answer = shop.client.post(
        f"{GRID}/bulk/preview", data={"query": BLANKS, "to": "red"}, headers=shop.token
    )
    assert (answer.status_code, answer.json()["error"]["hint"][:9]) == (413, "Filter by")


def test_nothing_to_change_is_said(shop: Reviewing) -> None:
    text, form = preview(shop, "red", "category=Sarees&attribute=colour&product=none")
    assert "Nothing changes." in text
    assert "digest" not in form


def test_counting_stops_at_a_bound(shop: Reviewing, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("facetry.review.store.grid.MOST_COUNTED", 10)
    assert shop.reviews.grid.count(review_of(shop), Chosen()) == 10


def test_a_value_deleted_from_the_taxonomy_stays_and_cannot_be_given(
    shop: Reviewing, monkeypatch: pytest.MonkeyPatch
) -> None:
    fix(shop, 0, "red")
    smaller = Taxonomy.of({"Sarees": {"colour": ["blue"]}})
    monkeypatch.setattr(Reviews, "taxonomy", lambda *_: smaller)
    assert fix(shop, 2, "red").status_code == 409
    assert value_of(shop, 0) == ("red", "person")
    assert 'dir="auto">red</span>' in shop.client.get(f"{GRID}/cells/0/0").text
    assert fix(shop, 0, "blue", before="red").status_code == 200
