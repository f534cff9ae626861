"""Why a search answers what it answers: in words and as a page of photos."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from facetry.errors import ImageError, TaxonomyError
from facetry.predictors.search.explain import explain, write_page
from facetry.predictors.search.predictor import SimilaritySearch
from tests.reports.page import Page


def first_photo(search: SimilaritySearch) -> tuple[Path, str]:
    row = search.collection.table.row(0, named=True)
    return Path(row["photos"][0]), row["category"]


def test_votes_are_those_of_the_num_neighbours_nearest(search: SimilaritySearch) -> None:
    photo, category = first_photo(search)
    explanation = explain(search, photo, category, num_nearest=search.num_neighbours)
    heads = search.taxonomy.heads_of(category)
    assert [each.attribute for each in explanation.answers] == [each.attribute for each in heads]
    for answer in explanation.answers:
        cast = [each.labels.get(answer.attribute) for each in explanation.neighbours]
        assert answer.num_voters == len(cast) - cast.count(None)
        assert answer.num_votes == cast.count(answer.value)
        assert 0 < answer.probability <= 1


def test_how_many_are_shown_does_not_change_the_answers(search: SimilaritySearch) -> None:
    photo, category = first_photo(search)
    few, many = (explain(search, photo, category, num_nearest=number) for number in (2, 500))
    assert few.answers == many.answers
    assert len(few.neighbours) == 2
    assert many.neighbours[:2] == few.neighbours
    assert len(many.neighbours) == int((search.collection.categories == 0).sum())
    distances = [each.distance for each in many.neighbours]
    assert distances == sorted(distances)


def test_without_a_category_nobody_votes(search: SimilaritySearch) -> None:
    photo, _ = first_photo(search)
    explanation = explain(search, photo, num_nearest=500)
    assert explanation.answers == []
    assert len(explanation.neighbours) == len(search.collection)
    assert explanation.neighbours[0].distance == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize(
    ("content", "problem"),
    [(b"", "file is empty"), (b"text, not a photo", "not an image"), (None, "file not found")],
)
def test_a_photo_that_cannot_be_read_is_named(
    content: bytes | None, problem: str, search: SimilaritySearch, tmp_path: Path
) -> None:
    photo = tmp_path / "bad.jpg"
    if content is not None:
        photo.write_bytes(content)
    with pytest.raises(ImageError, match=problem) as caught:
        explain(search, photo)
    assert str(photo) in caught.value.message


def test_an_unknown_category_has_a_hint(search: SimilaritySearch) -> None:
    photo, category = first_photo(search)
    with pytest.raises(TaxonomyError) as caught:
        explain(search, photo, category[:-1])
    assert f"Did you mean {category!r}" in caught.value.hint


def test_a_category_without_products_says_which_have_some(search: SimilaritySearch) -> None:
    photo, category = first_photo(search)
    del search.collection.indexes[0]  # type: ignore[attr-defined]
    with pytest.raises(TaxonomyError, match="No product of the category") as caught:
        explain(search, photo, category)
    assert search.taxonomy.categories[1] in caught.value.hint


def test_the_page_shows_photo_answers_and_neighbours(search: SimilaritySearch, tmp_path: Path) -> None:
    photo, category = first_photo(search)
    explanation = explain(search, photo, category, num_nearest=4)
    write_page(tmp_path / "new" / "page.html", explanation, {"Model": "<b>mine</b>"})
    source = (tmp_path / "new" / "page.html").read_text()
    page = Page(source)
    assert page.cards == 4
    assert sum("data:image/webp" in (each["src"] or "") for each in page.all("img")) == 5
    assert "<b>mine</b>" in page.text
    assert str(explanation.neighbours[0].id) in page.text
    for answer in explanation.answers:
        assert f"{answer.num_votes} of {answer.num_voters}" in page.text
    assert explanation.rule in page.text
    agreeing = sum(
        each.labels.get(answer.attribute) == answer.value
        for each in explanation.neighbours
        for answer in explanation.answers
    )
    assert page.text.count("✓") == agreeing > 0
    write_page(tmp_path / "again.html", explanation, {"Model": "<b>mine</b>"})
    assert (tmp_path / "again.html").read_text() == source


def test_neighbours_link_to_their_page_in_the_shop(search: SimilaritySearch, tmp_path: Path) -> None:
    photo, category = first_photo(search)
    explanation = explain(search, photo, category, num_nearest=2)
    first, second = explanation.neighbours
    shown = [replace(first, page="https://shop.example/1"), replace(second, page="javascript:alert(1)")]
    write_page(tmp_path / "page.html", replace(explanation, neighbours=shown), {})
    links = Page((tmp_path / "page.html").read_text()).all("a")
    assert [each["href"] for each in links] == ["https://shop.example/1"]


def test_photos_that_are_gone_leave_a_note(search: SimilaritySearch, tmp_path: Path) -> None:
    random = np.random.RandomState(0).randint(0, 256, (64, 64, 3)).astype(np.uint8)
    Image.fromarray(random).save(tmp_path / "query.png")
    explanation = explain(search, tmp_path / "query.png", num_nearest=2)
    for each in explanation.neighbours:
        assert each.photos[0].is_absolute()
    gone = [replace(each, photos=(tmp_path / "gone.jpg",)) for each in explanation.neighbours]
    write_page(
        tmp_path / "page.html",
        replace(explanation, neighbours=gone, answers=[]),
        {},
    )
    page = Page((tmp_path / "page.html").read_text())
    assert page.text.count("The photo is missing") == 2
    assert "No category was given" in page.text
