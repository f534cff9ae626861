"""Each product is one person's at a time; each answer counts once, and can be taken back."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from facetry.review.answers import Answer
from facetry.review.store import HOLD_S, Review, ReviewStore
from facetry.service.database import Database
from facetry.service.problems import Problem

REVIEW = Review(
    id="r",
    name="shop",
    catalogue="shop",
    model="model",
    model_version="1",
    precision=None,
    is_ready=True,
)
NUM_PRODUCTS = 20


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def product(row: int) -> dict[str, object]:
    return {
        "review": "r",
        "row": row,
        "product_id": f"P{row}",
        "category": "Sarees",
        "title": None,
        "photos": json.dumps([f"{row}.jpg"]),
        "problem": "",
        "is_flagged": False,
    }


def cell(row: int, head: int = 0, **changes: object) -> dict[str, object]:
    return {
        "review": "r",
        "row": row,
        "head": head,
        "known": None,
        "predicted": "red",
        "confidence": 0.6,
        "action": "review",
        "alternatives": '["red", "blue"]',
        "stream": "useful",
        "priority": float(NUM_PRODUCTS - row),
        "num_wanted": 1,
        "num_decided": 0,
        "is_open": True,
        "is_disputed": False,
        **changes,
    }


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(database_url: str, clock: Clock) -> Iterator[ReviewStore]:
    """Twenty products with a cell each, the first rows first."""
    database = Database.open(database_url)
    found = ReviewStore(database, clock)
    found.create(REVIEW)
    rows = range(NUM_PRODUCTS)
    found.add([product(row) for row in rows], [cell(row) for row in rows])
    yield found
    database.close()


def say(row: int, value: str = "red", *, key: str = "", head: int | None = 0) -> Answer:
    return Answer(key=key or f"{row}-{head}-{value}", row=row, head=head, kind="value", value=value)


def test_the_next_product_is_the_first_in_order_and_those_after_are_held_too(store: ReviewStore) -> None:
    assert [task.row for task in store.take(REVIEW, "anna", 3)] == [0, 1, 2]
    assert [task.row for task in store.take(REVIEW, "ben", 2)] == [3, 4]
    assert [task.row for task in store.take(REVIEW, "anna", 3)] == [0, 1, 2]


def test_a_decided_cell_leaves_the_queue(store: ReviewStore) -> None:
    store.take(REVIEW, "anna")
    assert store.answer(REVIEW, "anna", [say(0, "blue")]) == 1
    (task,) = store.take(REVIEW, "anna")
    assert task.row == 1
    (found,) = store.task(REVIEW, 0).cells
    assert (found.decided, found.is_open) == ("blue", False)
    assert store.progress(REVIEW).num_decided == 1


def test_the_same_key_press_counts_once(store: ReviewStore) -> None:
    assert store.answer(REVIEW, "anna", [say(0, key="press")]) == 1
    assert store.answer(REVIEW, "anna", [say(0, key="press")]) == 0


def test_answers_are_stored_all_or_none(store: ReviewStore) -> None:
    with pytest.raises(Problem):
        store.answer(REVIEW, "anna", [say(0), say(0, head=7)])
    assert store.progress(REVIEW).num_decided == 0


def test_ten_answers_can_be_taken_back_and_come_again(store: ReviewStore) -> None:
    for row in range(12):
        store.answer(REVIEW, "anna", [say(row)])
    undone = [store.undo(REVIEW, "anna") for _ in range(11)]
    assert undone == [11, 10, 9, 8, 7, 6, 5, 4, 3, 2, None]
    assert store.progress(REVIEW).num_decided == 2
    assert store.take(REVIEW, "anna", 1)[0].row in range(2, 12)
    assert [task.row for task in store.take(REVIEW, "ben", 1)] == [12]


def test_nobody_undoes_what_another_has_said(store: ReviewStore) -> None:
    store.answer(REVIEW, "anna", [say(0)])
    assert store.undo(REVIEW, "ben") is None


def test_what_is_held_too_long_is_free_again(store: ReviewStore, clock: Clock) -> None:
    store.take(REVIEW, "anna", 2)
    clock.now += HOLD_S + 1
    assert [task.row for task in store.take(REVIEW, "ben", 2)] == [0, 1]


def test_what_is_let_go_is_free_at_once(store: ReviewStore) -> None:
    store.take(REVIEW, "anna", 2)
    store.let_go(REVIEW, "anna")
    assert [task.row for task in store.take(REVIEW, "ben", 2)] == [0, 1]


def test_a_clock_that_was_set_back_locks_nothing(store: ReviewStore, clock: Clock) -> None:
    store.take(REVIEW, "anna", 1)
    clock.now -= 86_400
    assert [task.row for task in store.take(REVIEW, "ben", 1)] == [0]


def test_skipped_cells_come_to_others_only(store: ReviewStore) -> None:
    store.answer(REVIEW, "anna", [Answer(key="s", row=0, head=0, kind="skipped")])
    assert store.take(REVIEW, "anna")[0].row == 1
    assert store.take(REVIEW, "ben")[0].row == 0


@pytest.mark.parametrize(
    ("kind", "decided"), [("not_applicable", "not applicable"), ("not_visible", "not visible")]
)
def test_answers_that_are_no_value_decide_a_cell(store: ReviewStore, kind, decided: str) -> None:
    store.answer(REVIEW, "anna", [Answer(key="k", row=0, head=0, kind=kind)])
    assert store.task(REVIEW, 0).cells[0].decided == decided


def test_a_bad_photo_takes_its_product_out_until_it_is_undone(store: ReviewStore) -> None:
    store.answer(REVIEW, "anna", [Answer(key="b", row=0, kind="bad_photo")])
    assert store.take(REVIEW, "ben")[0].row == 1
    assert store.undo(REVIEW, "anna") == 0
    assert store.take(REVIEW, "anna")[0].row == 0


def test_overlap_needs_two_people_who_agree(store: ReviewStore) -> None:
    store.add([product(50), product(51)], [cell(row, num_wanted=2, priority=99.0) for row in (50, 51)])
    for row, by_ben in ((50, "red"), (51, "blue")):
        store.answer(REVIEW, "anna", [say(row, "red", key=f"a{row}")])
        assert store.task(REVIEW, row).cells[0].is_open
        store.answer(REVIEW, "ben", [say(row, by_ben, key=f"b{row}")])
    agreed, disputed = (store.task(REVIEW, row).cells[0] for row in (50, 51))
    assert (agreed.decided, agreed.is_disputed) == ("red", False)
    assert (disputed.decided, disputed.is_disputed, disputed.is_open) == (None, True, False)


def test_streams_are_mixed_by_their_shares(database_url: str, clock: Clock) -> None:
    database = Database.open(database_url)
    store = ReviewStore(database, clock, shares={"useful": 0.75, "audit": 0.25})
    store.create(replace(REVIEW, name="mixed"))
    rows = range(200)
    streams = ["audit" if row % 2 else "useful" for row in rows]
    store.add(
        [product(row) for row in rows],
        [cell(row, stream=stream) for row, stream in zip(rows, streams, strict=True)],
    )
    seen = []
    for _ in range(80):
        (task,) = store.take(REVIEW, "anna")
        (found,) = task.open_cells
        seen.append(found.stream)
        assert found.is_blind == (found.stream == "audit")
        store.answer(REVIEW, "anna", [say(task.row)])
    database.close()
    assert seen.count("audit") == 20


def test_five_people_at_once_never_get_the_same_product(store: ReviewStore) -> None:
    rows = range(100, 300)
    store.add([product(row) for row in rows], [cell(row, priority=50.0) for row in rows])

    def work(person: str) -> list[int]:
        done = []
        for _ in range(30):
            (task,) = store.take(REVIEW, person)
            store.answer(REVIEW, person, [say(task.row, key=f"{person}{task.row}")])
            done.append(task.row)
        return done

    with ThreadPoolExecutor(5) as pool:
        done = [row for rows_of_one in pool.map(work, "abcde") for row in rows_of_one]
    assert len(done) == len(set(done)) == 150
    assert store.progress(REVIEW).num_decided == 150
