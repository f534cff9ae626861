"""People are asked first what is most useful, unlike what came before; look-alikes stand beside."""

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select

from facetry.review.arranging import NUM_NEIGHBOURS, arrange
from facetry.review.pages import ReviewPages
from facetry.review.recorder import NUM_FEATURES, Recorded, Unsure, project
from facetry.review.store.arrangement import Arrangement
from facetry.review.usefulness import group_look_alikes, places_in_groups, usefulness
from facetry.service.database import Database
from facetry.service.models import load_model
from facetry.service.state import make_service
from facetry.service.tables import REVIEW_CELLS, REVIEW_PRODUCTS
from facetry.taxonomy import Taxonomy
from tests.review.stored import REVIEW, SetClock, Stored, cell, product
from tests.service.fakes import service_config
from tests.service.serving import HERE

TAXONOMY = Taxonomy.of({"Sarees": {"colour": ["blue", "red"], "border": ["none", "zari"]}})


@pytest.fixture
def stored(database_url: str) -> Iterator[Stored]:
    database = Database.open(database_url)
    yield Stored.of(database, SetClock())
    database.close()


def recorded(unsure: list[float], features: np.ndarray | None = None) -> Recorded:
    """What was recorded of products P0, P1, ...: equally unsure of both cells."""
    both = np.array(unsure, dtype=np.float32)[:, None].repeat(2, axis=1)
    nothing = np.empty((len(unsure), 0), dtype=np.float16)
    return Recorded(
        rows={f"P{row}": row for row in range(len(unsure))},
        unsure=Unsure(margin=both, entropy=both, of_label=both),
        features=nothing if features is None else features.astype(np.float16),
    )


def arranged(stored: Stored, found: Recorded) -> None:
    arrange(Arrangement(stored.reviews.database), REVIEW, TAXONOMY, found)


def order(stored: Stored) -> list[tuple[int, int]]:
    cells = REVIEW_CELLS.c
    query = select(cells.row, cells.head).order_by(cells.priority.desc(), cells.row, cells.head)
    with stored.reviews.database.transaction() as connection:
        return [(row, head) for row, head in connection.execute(query.where(cells.is_open))]


def neighbours(stored: Stored, row: int) -> list[int]:
    products = REVIEW_PRODUCTS.c
    query = select(products.neighbours).where(products.row == row)
    with stored.reviews.database.transaction() as connection:
        return list(json.loads(connection.execute(query).scalar_one()))


def test_the_order_is_by_uncertainty_frequency_and_unlike_neighbours(stored: Stored) -> None:
    # P0 and P1 answer alike, P2 does not; of the second attribute a quarter as many cells are blank.
    answers = {0: "red", 1: "red", 2: "blue", 3: "blue"}
    stored.reviews.add(
        [product(row) for row in answers],
        [
            *(cell(row, predicted=value) for row, value in answers.items()),
            cell(2, head=1, predicted="zari"),
        ],
    )
    arranged(stored, recorded([0.9, 0.8, 0.7, 0.1]))
    # 0.9; 0.8 of a look-alike: 0.4; 0.7; 0.7 of a rare attribute: 0.35; 0.1
    assert order(stored) == [(0, 0), (2, 0), (1, 0), (2, 1), (3, 0)]


def test_products_that_look_alike_are_spread_by_their_features(stored: Stored) -> None:
    stored.add(range(4))  # all are answered alike
    features = np.array([[1, -1], [1, -0.9], [-1, 1], [-1, 0.9]])
    arranged(stored, recorded([0.9, 0.8, 0.7, 0.6], features))
    assert [row for row, _ in order(stored)] == [0, 2, 1, 3]


def test_what_was_drawn_at_random_keeps_its_order(stored: Stored) -> None:
    stored.add(range(3), stream="sample")
    before = order(stored)
    arranged(stored, recorded([0.1, 0.5, 0.9]))
    assert order(stored) == before


def test_labelled_products_like_it_stand_beside(stored: Stored) -> None:
    rng = np.random.default_rng(0)
    base = rng.standard_normal((3, 8))
    features = np.repeat(base, 6, axis=0) + 0.01 * rng.standard_normal((18, 8))
    stored.add([0, 6, 12])
    known = {"stream": "", "is_open": False, "known": "red", "value": "red", "source": "table"}
    stored.add([row for row in range(18) if row % 6], **known)
    arranged(stored, recorded([0.5] * 18, features))
    for row in (0, 6, 12):
        assert set(neighbours(stored, row)[:5]) == set(range(row + 1, row + 6))
        assert len(neighbours(stored, row)) == NUM_NEIGHBOURS
    assert neighbours(stored, 1) == []


def test_photos_that_cannot_be_read_look_like_nothing(stored: Stored) -> None:
    features = np.random.default_rng(0).standard_normal((6, 8))
    features[[1, 4]] = 0  # a labelled one, and one that is asked about
    known = {"stream": "", "is_open": False, "known": "red", "value": "red", "source": "table"}
    stored.add(range(3), **known)
    stored.add(range(3, 6))
    arranged(stored, recorded([0.5] * 6, features))
    assert neighbours(stored, 4) == []
    assert set(neighbours(stored, 3)) == {0, 2}
    assert len(order(stored)) == 3


def test_without_features_there_are_no_neighbours(stored: Stored) -> None:
    stored.add(range(3))
    arranged(stored, recorded([0.5] * 3))
    assert neighbours(stored, 0) == []


def test_a_review_in_which_nothing_waits_is_arranged(stored: Stored) -> None:
    stored.add(range(3), stream="", is_open=False)
    arranged(stored, recorded([0.5] * 3))
    assert order(stored) == []


def test_many_features_are_projected_and_near_ones_stay_near() -> None:
    rng = np.random.default_rng(1)
    rows = rng.standard_normal((40, 3000)).astype(np.float32)
    rows[1] = rows[0] + 0.3 * rng.standard_normal(3000)
    kept = project(rows).astype(np.float32)
    assert kept.shape == (40, NUM_FEATURES)
    unit = kept / np.linalg.norm(kept, axis=1, keepdims=True)
    cosines = unit @ unit[0]
    assert cosines[1:].argmax() == 0
    assert np.array_equal(project(rows[:2]), project(rows)[:2])


@given(st.lists(st.tuples(st.integers(0, 3), st.floats(0, 1)), max_size=30))
def test_places_count_those_of_the_group_that_come_before(pairs: list[tuple[int, float]]) -> None:
    groups = np.array([group for group, _ in pairs], dtype=np.int64)
    unsure = np.array([each for _, each in pairs])
    places = places_in_groups(groups, unsure)
    for group in set(groups.tolist()):
        own = np.flatnonzero(groups == group)
        assert sorted(places[own]) == list(range(len(own)))
        by_place = own[np.argsort(places[own])]
        assert (np.diff(unsure[by_place]) <= 0).all()


@given(st.integers(0, 40), st.integers(0, 2**32 - 1))
def test_groups_are_named_by_their_first_member(num: int, seed: int) -> None:
    features = np.random.default_rng(seed).standard_normal((num, 4)).astype(np.float32)
    groups = group_look_alikes(features)
    assert all(groups[group] == group <= row for row, group in enumerate(groups.tolist()))


def test_nothing_is_useful_of_nothing() -> None:
    assert usefulness(np.zeros(0), np.zeros(0, dtype=int), np.zeros(0, dtype=int)).shape == (0,)


def test_the_features_of_a_served_model_are_recorded(
    tiny_model: Path, drawn: Path, tmp_path: Path
) -> None:
    config = service_config(tmp_path / "data", models={"shop": tiny_model})
    service = make_service(config, partial(load_model, config=config))
    service.start()
    pages = ReviewPages(drawn)
    pages.begin(service, HERE)
    pages.end()
    (folder,) = (tmp_path / "data" / "reviews").glob("*/recorded/*")
    found = Recorded.read(folder)
    assert found.features.shape[1] > 0
    with service.database.transaction() as connection:
        query = select(REVIEW_PRODUCTS.c.neighbours).where(REVIEW_PRODUCTS.c.neighbours != "[]")
        assert connection.execute(query).first() is not None
    service.close()
