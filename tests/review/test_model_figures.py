"""The figures on what people did, against values worked out by hand."""

from collections.abc import Iterator

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score

from facetry.review.answers import Answer
from facetry.review.model import corrections, people
from facetry.review.store import figures
from facetry.review.store.decisions import By
from facetry.service.database import Database
from tests.review.stored import REVIEW, SetClock, Stored, say

DAY_S = 86_400.0


def answer(row: int, person: str, value: str, **changes: object) -> dict[str, object]:
    return {
        "row": row,
        "head": 0,
        "answer": value,
        "person": person,
        "at": DAY_S,
        "seconds": 2.0,
        "predicted": "red",
        "was_shown": True,
        "is_ruling": False,
        **changes,
    }


def frame(*rows: dict[str, object]) -> pl.DataFrame:
    return pl.DataFrame(list(rows), schema=figures.EVENT_COLUMNS)


def test_work_is_counted_by_person_and_day() -> None:
    found = people.work(
        frame(
            answer(0, "a", "red", seconds=1.0),
            answer(1, "a", "red", seconds=9.0, at=2 * DAY_S),
            answer(2, "a", "red", seconds=3.0, at=2 * DAY_S + 5),
            answer(3, "b", "red", seconds=None),
        )
    )
    assert found == [
        {
            "person": "a",
            "count": 3,
            "seconds": 3.0,
            "days": [{"day": "1970-01-03", "count": 2}, {"day": "1970-01-02", "count": 1}],
        },
        {
            "person": "b",
            "count": 1,
            "seconds": None,
            "days": [{"day": "1970-01-02", "count": 1}],
        },
    ]


def test_agreement_is_that_of_last_answers_without_rulings() -> None:
    """Four cells, agreed on three: half would be by chance, so that kappa is one half."""
    pairs = people.pairs_of(
        frame(
            answer(0, "a", "red"),
            answer(0, "b", "red"),
            answer(1, "a", "red"),
            answer(1, "b", "red"),
            answer(2, "a", "red"),
            answer(2, "a", "blue"),
            answer(2, "b", "blue"),
            answer(3, "a", "blue"),
            answer(3, "b", "red"),
            answer(3, "c", "blue", is_ruling=True),
            answer(4, "a", "red"),
        )
    )
    expected = {"count": 4, "share": 0.75, "kappa": pytest.approx(0.5)}
    assert people.by_head(pairs) == [{"head": 0, **expected}]
    assert people.by_pair(pairs) == [{"person": "a", "other": "b", **expected}]


def test_kappa_is_not_defined_where_all_say_the_same() -> None:
    pairs = people.pairs_of(frame(answer(0, "a", "red"), answer(0, "b", "red")))
    assert people.by_pair(pairs)[0]["kappa"] is None


@given(st.lists(st.tuples(st.sampled_from("xyz"), st.sampled_from("xyz")), min_size=1, max_size=30))
def test_agreement_is_that_of_scikit_learn(said: list[tuple[str, str]]) -> None:
    rows = [
        answer(row, person, value)
        for row, both in enumerate(said)
        for person, value in zip("ab", both, strict=True)
    ]
    (found,) = people.by_pair(people.pairs_of(frame(*rows)))
    left, right = zip(*said, strict=True)
    assert found["share"] == sum(map(str.__eq__, left, right)) / len(said)
    if len({*left, *right}) > 1:
        assert found["kappa"] == pytest.approx(cohen_kappa_score(left, right))


def test_only_rulings_on_disagreements_count() -> None:
    rows = frame(
        answer(0, "a", "red"),
        answer(0, "b", "blue"),
        answer(0, "c", "red", is_ruling=True),
        answer(1, "c", "red", is_ruling=True),
        answer(2, "a", "red"),
        answer(2, "b", "blue"),
    )
    assert people.num_ruled(rows) == 1


def test_corrections_are_counted_apart_where_the_prediction_was_hidden() -> None:
    cells = corrections.judged(
        frame(
            answer(0, "a", "red"),
            answer(1, "a", "blue"),
            answer(2, "a", "blue"),
            answer(3, "a", "red", was_shown=False, at=3 * DAY_S),
            answer(4, "a", "not visible", was_shown=False, at=3 * DAY_S),
            answer(5, "a", "red", predicted=None),
            answer(6, "a", "blue", is_ruling=True),
        )
    )
    counts = {"num_shown": 3, "shown_same": 1, "num_blind": 2, "blind_same": 1}
    assert corrections.by_head(cells) == [{"head": 0, **counts}]
    found = corrections.over_time(cells)
    assert [(each["begins"], each["num_shown"], each["blind_same"]) for each in found] == [
        ("1970-01-02", 3, 0),
        ("1970-01-04", 0, 1),
    ]
    assert corrections.confusions(cells) == [
        {"head": 0, "predicted": "red", "answer": "blue", "count": 2},
        {"head": 0, "predicted": "red", "answer": "not visible", "count": 1},
    ]


def test_months_are_counted_by_week() -> None:
    rows = [answer(row, "a", "red", at=row * DAY_S) for row in range(4, 46)]
    found = corrections.over_time(corrections.judged(frame(*rows)))
    assert [each["num_shown"] for each in found] == [7] * 6


def test_nothing_was_said_yet() -> None:
    nothing = frame()
    pairs, cells = people.pairs_of(nothing), corrections.judged(nothing)
    assert people.work(nothing) == people.by_head(pairs) == people.by_pair(pairs) == []
    assert corrections.over_time(cells) == corrections.by_head(cells) == []
    assert corrections.confusions(cells) == []


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    opened = Database.open(database_url)
    yield opened
    opened.close()


def test_what_was_taken_back_or_done_in_bulk_does_not_count(database: Database) -> None:
    own = Stored.of(database, SetClock())
    own.add(range(4))
    with database.transaction() as connection:
        before = figures.state(connection, REVIEW)
    own.answer("a", say(0))
    own.answer("a", say(1))
    own.undo("a")
    own.decisions.answer(REVIEW, By(person="a", bulk="b", is_ruling=True), [say(2)])
    own.answer("a", Answer(key="skip", row=3, head=0, kind="skipped"))
    with database.transaction() as connection:
        assert figures.answers(connection, REVIEW)["row"].to_list() == [0]
        assert figures.state(connection, REVIEW) != before


def test_cells_are_counted_by_source_and_run(database: Database) -> None:
    own = Stored.of(database, SetClock())
    own.add(range(2), source="model", value="red", action="fill")
    own.add(range(2, 3))
    with database.transaction() as connection:
        counts = figures.cell_counts(connection, REVIEW).sort("source").rows()
        assert counts == [(0, "model", 1, 2), (0, "none", 1, 1)]
        assert figures.fillable(connection, REVIEW)[0].tolist() == [0.6] * 3
        assert len(figures.predicted(connection, REVIEW, 1, 2)) == 2
        assert figures.num_novel(connection, REVIEW) == figures.num_disputed(connection, REVIEW) == 0
