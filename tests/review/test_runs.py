"""A later run over a table brings what is new and keeps what people have decided."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import pytest

from facetry.errors import SettingError
from facetry.review.store.records import Run
from facetry.review.store.runs import RunStore
from facetry.service.database import Database
from tests.review.stored import REVIEW, SetClock, Stored, say

RUN = Run(
    number=1,
    table="t1",
    heads="h",
    model="model",
    model_path="model",
    model_version="1",
    fingerprint="f1",
    precision=None,
    begun_at=0.0,
)


@dataclass(frozen=True)
class Chosen:
    product: Mapping[str, Any]
    cells: list[Mapping[str, Any]]


def chosen(product_id: str, *heads: int, category: str = "Sarees", **changes: object) -> Chosen:
    product = {
        "product_id": product_id,
        "category": category,
        "title": None,
        "photos": "[]",
        "problem": "",
    }
    cell = {
        "known": None,
        "predicted": "red",
        "confidence": 0.6,
        "action": "review",
        "alternatives": "[]",
        "stream": "useful",
        "priority": 0.5,
        "num_wanted": 1,
        "value": None,
        "source": "none",
        **changes,
    }
    return Chosen(product, [{**cell, "head": head} for head in heads or (0,)])


@pytest.fixture
def stored(database_url: str) -> Iterator[Stored]:
    database = Database.open(database_url)
    yield Stored.of(database, SetClock())
    database.close()


@pytest.fixture
def runs(stored: Stored) -> RunStore:
    return RunStore(stored.reviews.database, stored.reviews.clock)


def do(runs: RunStore, run: Run, *products: Chosen) -> Run:
    begun = runs.begin(REVIEW, run)
    runs.merge(REVIEW, begun, products)
    runs.end(REVIEW, begun)
    return begun


def test_a_run_of_the_same_model_and_table_is_the_last_one(runs: RunStore) -> None:
    first = do(runs, RUN)
    assert runs.begin(REVIEW, RUN).number == first.number == 1
    assert runs.begin(REVIEW, replace(RUN, table="t2")).number == 2
    assert runs.begin(REVIEW, RUN).number == 3


def test_merging_again_changes_nothing(runs: RunStore, stored: Stored) -> None:
    run = runs.begin(REVIEW, RUN)
    for _ in range(2):
        runs.merge(REVIEW, run, [chosen("A"), chosen("B", 0, 1)])
    runs.end(REVIEW, run)
    assert [stored.task(row).product_id for row in (0, 1)] == ["A", "B"]
    assert stored.reviews.progress(REVIEW).num_open == {"useful": 3}
    assert stored.reviews.get(REVIEW.name).is_ready


def test_new_products_come_and_decisions_stay(runs: RunStore, stored: Stored) -> None:
    do(runs, RUN, chosen("A"), chosen("B"))
    stored.answer("anna", say(0, "blue"))
    later = do(
        runs, replace(RUN, table="t2", model_version="2"), chosen("C"), chosen("A", predicted="green")
    )
    task = stored.task(0)
    assert (task.product_id, task.cells[0].decided, task.cells[0].predicted) == ("A", "blue", "green")
    assert (task.cells[0].value, task.cells[0].source) == ("blue", "person")
    assert stored.task(2).product_id == "C"
    assert stored.reviews.get(REVIEW.name).model_version == later.model_version == "2"


def test_what_is_gone_from_the_table_is_not_asked_and_comes_back_as_decided(
    runs: RunStore, stored: Stored
) -> None:
    do(runs, RUN, chosen("A"), chosen("B"))
    stored.answer("anna", say(1, "blue"))
    do(runs, replace(RUN, table="t2"), chosen("A"))
    assert stored.task(1).cells == ()
    assert [each.product_id for each in stored.reviews.decisions(REVIEW)] == []
    do(runs, replace(RUN, table="t3"), chosen("A"), chosen("B"))
    assert stored.task(1).cells[0].decided == "blue"


def test_another_category_has_other_cells(runs: RunStore, stored: Stored) -> None:
    do(runs, RUN, chosen("A", 0, 1))
    do(runs, replace(RUN, table="t2"), chosen("A", 5, category="Kurtis"))
    task = stored.task(0)
    assert (task.category, [cell.head for cell in task.cells]) == ("Kurtis", [5])


def test_a_table_that_got_another_value_meanwhile_is_a_dispute_and_nothing_is_overwritten(
    runs: RunStore, stored: Stored
) -> None:
    do(runs, RUN, chosen("A"), chosen("B"), chosen("C"))
    for row in (0, 1):
        stored.answer("anna", say(row, "blue"))
    from_table = {"stream": "", "source": "table"}
    do(
        runs,
        replace(RUN, table="t2"),
        chosen("A", known="green", value="green", **from_table),
        chosen("B", known="blue", value="blue", **from_table),
        chosen("C", known="green", value="green", **from_table),
    )
    outdated, same, new = (stored.task(row).cells[0] for row in range(3))
    assert (outdated.is_disputed, outdated.value, outdated.source) == (True, "green", "table")
    assert (same.is_disputed, same.value, same.source) == (False, "blue", "person")
    assert (new.is_open, new.value) == (False, "green")
    stored.answer("admin", say(0, "blue", key="ruled"), may_rule=True)
    ruled = stored.task(0).cells[0]
    assert (ruled.is_disputed, ruled.value) == (False, "blue")


def test_a_model_of_other_attributes_is_refused(runs: RunStore) -> None:
    do(runs, RUN, chosen("A"))
    with pytest.raises(SettingError, match="about other attributes"):
        runs.begin(REVIEW, replace(RUN, heads="other"))
