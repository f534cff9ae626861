"""Changes of many cells count once, pass over what changed meanwhile, and are taken back as one."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from facetry.review.store.bulks import Bulk, Bulks, Change
from facetry.review.store.decisions import By
from facetry.service.database import Database
from facetry.service.problems import Problem
from tests.review.stored import REVIEW, SetClock, Stored, say

BULK = Bulk(id="b1", person="anna", what="all red ones", num_cells=3)
BY = By(person="anna", is_ruling=True, bulk="b1")


@pytest.fixture
def stored(database_url: str) -> Iterator[Stored]:
    database = Database.open(database_url)
    found = Stored.of(database, SetClock())
    found.add(range(4))
    yield found
    database.close()


@pytest.fixture
def bulks(stored: Stored) -> Bulks:
    return Bulks(stored.reviews.database, stored.reviews.clock)


def change(row: int, value: str = "blue", *, before: str | None = None) -> Change:
    return Change(answer=say(row, value, key=f"b1-{row}"), before=before)


def test_a_change_is_made_once_however_often_it_is_begun(bulks: Bulks, stored: Stored) -> None:
    for _ in range(2):
        bulks.begin(REVIEW, BULK)
        assert bulks.add(REVIEW, BY, [change(row) for row in range(3)]) == []
    assert [each.id for each in bulks.all(REVIEW)] == ["b1"]
    assert bulks.num_made("b1") == 3
    assert [stored.task(row).cells[0].value for row in range(4)] == ["blue", "blue", "blue", None]


def test_a_cell_that_changed_meanwhile_is_passed_over(bulks: Bulks, stored: Stored) -> None:
    stored.answer("ben", say(1, "green"))
    bulks.begin(REVIEW, BULK)
    passed = bulks.add(REVIEW, BY, [change(0), change(1), change(9)])
    assert [each.answer.row for each in passed] == [1, 9]
    assert [stored.task(row).cells[0].value for row in (0, 1)] == ["blue", "green"]


def test_all_of_it_is_taken_back_but_for_what_was_decided_since(bulks: Bulks, stored: Stored) -> None:
    stored.answer("ben", say(2, "red"))
    bulks.begin(REVIEW, BULK)
    bulks.add(REVIEW, BY, [change(0), change(1), change(2, before="red")])
    stored.answer("ben", say(1, "green", key="later-on"))
    assert sum(bulks.undo(REVIEW, "b1")) == 3
    assert [stored.task(row).cells[0].value for row in range(3)] == [None, "green", "red"]
    assert bulks.get(REVIEW, "b1").undone_at is not None
    assert sum(bulks.undo(REVIEW, "b1")) == 0


def test_a_product_that_is_gone_stops_no_taking_back(bulks: Bulks, stored: Stored) -> None:
    bulks.begin(REVIEW, BULK)
    bulks.add(REVIEW, BY, [change(row) for row in range(3)])
    stored.remove(1)
    assert sum(bulks.undo(REVIEW, "b1")) == 3
    assert [stored.task(row).cells[0].value for row in (0, 2)] == [None, None]


def test_what_was_taken_back_and_is_gone_on_with_can_be_taken_back_again(
    bulks: Bulks, stored: Stored
) -> None:
    bulks.begin(REVIEW, BULK)
    bulks.add(REVIEW, BY, [change(0)])
    assert sum(bulks.undo(REVIEW, "b1")) == 1
    bulks.begin(REVIEW, BULK)
    bulks.add(REVIEW, BY, [change(0), change(1)])
    assert [stored.task(row).cells[0].value for row in (0, 1)] == [None, "blue"]
    assert bulks.get(REVIEW, "b1").undone_at is None
    assert sum(bulks.undo(REVIEW, "b1")) == 1


def test_what_is_not_there_is_not_taken_back(bulks: Bulks) -> None:
    with pytest.raises(Problem):
        next(bulks.undo(REVIEW, "b1"))


def test_a_dispute_is_left_to_somebody_who_may_rule(bulks: Bulks, stored: Stored) -> None:
    stored.add([7], num_wanted=2)
    for person, value in (("ben", "red"), ("carl", "blue")):
        stored.answer(person, say(7, value, key=f"dispute-{person}"))
    bulks.begin(REVIEW, BULK)
    assert [each.answer.row for each in bulks.add(REVIEW, BY, [change(7)])] == [7]
    assert bulks.add(REVIEW, replace(BY, may_rule=True), [change(7)]) == []
