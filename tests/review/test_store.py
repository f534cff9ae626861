"""Each product is one person's at a time; each answer counts once, and can be taken back."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from facetry.review.answers import BLIND, Answer, Stream
from facetry.review.store.decisions import By
from facetry.review.store.queue import HOLD_S, Asked
from facetry.review.store.reviews import SHARES
from facetry.service.database import Database
from facetry.service.problems import Problem
from tests.review.stored import REVIEW, SetClock, Stored, say

NUM_PRODUCTS = 20


@pytest.fixture
def clock() -> SetClock:
    return SetClock()


@pytest.fixture
def store(database_url: str, clock: SetClock) -> Iterator[Stored]:
    """Twenty products with a cell each, the first rows first."""
    database = Database.open(database_url)
    found = Stored.of(database, clock)
    found.add(range(NUM_PRODUCTS))
    yield found
    database.close()


def test_the_next_product_is_the_first_in_order_and_those_after_are_held_too(store: Stored) -> None:
    assert [task.row for task in store.take("anna", 3)] == [0, 1, 2]
    assert [task.row for task in store.take("ben", 2)] == [3, 4]
    assert [task.row for task in store.take("anna", 3)] == [0, 1, 2]


def test_a_decided_cell_leaves_the_queue(store: Stored) -> None:
    store.take("anna")
    assert store.answer("anna", say(0, "blue")) == 1
    (task,) = store.take("anna")
    assert task.row == 1
    (found,) = store.task(0).cells
    assert (found.decided, found.is_open) == ("blue", False)
    assert store.num_decided == 1


def test_the_same_key_press_counts_once(store: Stored) -> None:
    assert store.answer("anna", say(0, key="press")) == 1
    assert store.answer("anna", say(0, key="press")) == 0


def test_answers_are_stored_all_or_none(store: Stored) -> None:
    with pytest.raises(Problem):
        store.answer("anna", say(0), say(0, head=7))
    assert store.num_decided == 0


def test_ten_answers_can_be_taken_back_and_come_again(store: Stored) -> None:
    for row in range(12):
        store.answer("anna", say(row))
    undone = [store.undo("anna") for _ in range(11)]
    assert undone == [11, 10, 9, 8, 7, 6, 5, 4, 3, 2, None]
    assert store.num_decided == 2
    assert store.take("anna", 1)[0].row in range(2, 12)
    assert [task.row for task in store.take("ben", 1)] == [12]


def test_nobody_undoes_what_another_has_said(store: Stored) -> None:
    store.answer("anna", say(0))
    assert store.undo("ben") is None


def test_what_was_said_of_a_cell_that_is_gone_stands_in_nobodys_way(store: Stored) -> None:
    store.answer("anna", say(0))
    store.answer("anna", say(1))
    store.remove(1)
    assert store.undo("anna") == 0
    assert store.undo("anna") is None


def test_what_is_held_too_long_is_free_again(store: Stored, clock: SetClock) -> None:
    store.take("anna", 2)
    clock.now += HOLD_S + 1
    assert [task.row for task in store.take("ben", 2)] == [0, 1]


def test_what_is_let_go_is_free_at_once(store: Stored) -> None:
    store.take("anna", 2)
    store.queue.let_go(REVIEW, "anna")
    assert [task.row for task in store.take("ben", 2)] == [0, 1]


def test_a_clock_that_was_set_back_locks_nothing(store: Stored, clock: SetClock) -> None:
    store.take("anna", 1)
    clock.now -= 86_400
    assert [task.row for task in store.take("ben", 1)] == [0]


def test_skipped_cells_come_to_others_only(store: Stored) -> None:
    store.answer("anna", Answer(key="s", row=0, head=0, kind="skipped"))
    assert store.take("anna")[0].row == 1
    assert store.take("ben")[0].row == 0


@pytest.mark.parametrize(
    ("kind", "decided"), [("not_applicable", "not applicable"), ("not_visible", "not visible")]
)
def test_answers_that_are_no_value_decide_a_cell(store: Stored, kind, decided: str) -> None:
    store.answer("anna", Answer(key="k", row=0, head=0, kind=kind))
    assert store.task(0).cells[0].decided == decided


def test_a_bad_photo_takes_its_product_out_until_it_is_undone(store: Stored) -> None:
    store.answer("anna", Answer(key="b", row=0, kind="bad_photo"))
    assert store.take("ben")[0].row == 1
    assert store.undo("anna") == 0
    assert store.take("anna")[0].row == 0


def test_overlap_needs_two_people_who_agree(store: Stored) -> None:
    store.add([50, 51], num_wanted=2)
    for row, by_ben in ((50, "red"), (51, "blue")):
        store.answer("anna", say(row, "red", key=f"a{row}"))
        assert store.task(row).cells[0].is_open
        store.answer("ben", say(row, by_ben, key=f"b{row}"))
    agreed, disputed = (store.task(row).cells[0] for row in (50, 51))
    assert (agreed.decided, agreed.is_disputed) == ("red", False)
    assert (disputed.decided, disputed.is_disputed, disputed.is_open) == (None, True, False)


def test_streams_are_mixed_by_their_shares(store: Stored) -> None:
    for stream in ("audit", "useful"):
        rows = [row for row in range(100, 300) if (row % 2 == 0) == (stream == "audit")]
        store.add(rows, stream=stream)
    shares: dict[Stream, float] = {"useful": 0.75, "audit": 0.25}
    seen = []
    for _ in range(80):
        (task,) = store.take("anna", shares=shares)
        (found,) = task.open_cells
        seen.append(found.stream)
        assert found.is_blind == (found.stream == "audit")
        store.answer("anna", say(task.row))
    assert seen.count("audit") == 20


def test_shares_are_kept_and_sum_to_one(store: Stored) -> None:
    assert store.reviews.shares(REVIEW) == SHARES
    store.reviews.set_shares(REVIEW, {"useful": 3.0, "label": 1.0})
    found = store.reviews.shares(REVIEW)
    assert (found["useful"], found["label"], found["audit"]) == (0.75, 0.25, 0.0)


@pytest.mark.parametrize("shares", [{"useful": 0.0}, {"useful": 1.0, "audit": -0.1}])
def test_shares_that_ask_nothing_or_less_are_refused(store: Stored, shares) -> None:
    with pytest.raises(Problem, match="at least 0"):
        store.reviews.set_shares(REVIEW, shares)


def test_a_dispute_is_ruled_by_who_may(store: Stored) -> None:
    store.add([50], num_wanted=2)
    store.answer("anna", say(50, "red", key="a"))
    store.answer("ben", say(50, "blue", key="b"))
    assert store.take("carla")[0].row != 50
    (task,) = store.take("admin", may_rule=True)
    assert task.row == 50
    assert {each.person: each.answer for each in task.said[0]} == {"anna": "red", "ben": "blue"}
    store.answer("admin", say(50, "blue", key="c"), may_rule=True)
    (found,) = store.task(50).cells
    assert (found.decided, found.value, found.source, found.is_disputed) == (
        "blue",
        "blue",
        "person",
        False,
    )
    assert store.undo("admin") == 50
    assert store.task(50).cells[0].is_disputed


def test_who_may_not_rule_changes_no_dispute(store: Stored) -> None:
    store.add([50], num_wanted=2)
    store.answer("anna", say(50, "red", key="a"))
    store.answer("ben", say(50, "blue", key="b"))
    with pytest.raises(Problem, match="an admin"):
        store.decisions.answer(REVIEW, By(person="carla", is_ruling=True), [say(50, "red", key="c")])


def test_a_change_in_the_catalogue_settles_a_cell_alone(store: Stored) -> None:
    store.answer("anna", say(0, "red"))
    store.decisions.answer(REVIEW, By(person="ben", is_ruling=True), [say(0, "blue", key="fix")])
    (found,) = store.task(0).cells
    assert (found.decided, found.decided_by, found.is_disputed) == ("blue", "ben", False)


def test_a_proposed_value_waits_for_an_admin(store: Stored) -> None:
    store.answer("anna", Answer(key="p", row=0, head=0, kind="proposed", value="teal"))
    (found,) = store.task(0).cells
    assert (found.proposed, found.decided, found.value, found.is_open) == ("teal", None, None, False)


def test_who_is_still_there_keeps_what_they_hold(store: Stored, clock: SetClock) -> None:
    store.take("anna", 2)
    for _ in range(3):
        clock.now += HOLD_S - 1
        store.queue.renew(REVIEW, Asked(person="anna"))
    assert [task.row for task in store.take("ben")] == [2]
    assert [task.row for task in store.take("anna", 2)] == [0, 1]


def test_five_people_at_once_never_get_the_same_product(store: Stored) -> None:
    rows = range(100, 300)
    store.add(rows, priority=50.0)

    def work(person: str) -> list[int]:
        done = []
        for _ in range(30):
            (task,) = store.take(person)
            store.answer(person, say(task.row, key=f"{person}{task.row}"))
            done.append(task.row)
        return done

    with ThreadPoolExecutor(5) as pool:
        done = [row for rows_of_one in pool.map(work, "abcde") for row in rows_of_one]
    assert len(done) == len(set(done)) == 150
    assert store.num_decided == 150


def test_what_was_only_changed_by_somebody_who_saw_it_was_not_decided_blindly(store: Stored) -> None:
    store.add([90, 91], stream="audit")
    seen = By(person="anna", is_ruling=True)
    store.decisions.answer(REVIEW, seen, [say(90, "blue")])
    store.answer("ben", say(91, "red"))
    store.decisions.answer(REVIEW, seen, [say(91, "blue", key="corrected")])
    blind = store.reviews.decisions(REVIEW, streams=BLIND)
    assert [(each.row, each.decided, each.stream) for each in blind] == [(91, "blue", "audit")]
    assert [each.stream for each in store.reviews.decisions(REVIEW)] == ["", "audit"]
