"""Processes that train trials: what they answer, how they die, and that none is left behind."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from facetry.recipe import ClassifierRecipe
from facetry.tune.crew import Crew, Died, Epoch, Failed, News, Scored, Stopped, Task
from tests.tune.benches import Scripted


@pytest.fixture
def crew() -> Iterator[Crew]:
    with Crew(Scripted(), num_workers=2, num_threads=1) as crew:
        yield crew


def task(recipe: ClassifierRecipe, width: int, place: Path, *, is_pruning: bool = False) -> Task:
    recipe = recipe.model_copy(update={"heads": recipe.heads.model_copy(update={"hidden_dim": width})})
    return Task(name=width, recipe=recipe, place=place, is_pruning=is_pruning)


def news_of(crew: Crew, count: int) -> dict[int, News]:
    found: dict[int, News] = {}
    while len(found) < count:
        found |= {task.name: news for task, news in crew.listen()}
    return found


def test_scores_failures_and_deaths(crew: Crew, frozen_recipe: ClassifierRecipe, tmp_path: Path) -> None:
    found: dict[int, News] = {}
    for pair in ((10, 1), (2, 3), (20, 30)):
        for width in pair:
            assert not crew.is_full
            crew.start(task(frozen_recipe, width, tmp_path))
        assert crew.is_full
        found |= news_of(crew, 2)
    assert found[10] == Scored(score=0.01)
    assert found[1] == Failed(reason="Nothing to train on.")
    assert isinstance(bug := found[2], Failed)
    assert bug.reason == "ZeroDivisionError: by nothing"
    assert "benches.py" in bug.trace
    assert found[3] == Died(reason="Its process ended with code -9.")
    assert (found[20], found[30]) == (Scored(score=0.02), Scored(score=0.03))


def test_a_trial_asks_after_each_epoch(
    crew: Crew, frozen_recipe: ClassifierRecipe, tmp_path: Path
) -> None:
    wanted = task(frozen_recipe, 10, tmp_path, is_pruning=True)
    crew.start(wanted)
    for epoch in (1, 2):
        assert news_of(crew, 1) == {10: Epoch(epoch=epoch, score=0.01)}
        crew.answer(wanted, is_to_stop=epoch == 2)
    assert news_of(crew, 1) == {10: Stopped()}
    crew.start(task(frozen_recipe, 20, tmp_path))
    assert news_of(crew, 1) == {20: Scored(score=0.02)}
    assert len(crew.workers) == 1


def test_nobody_is_left_behind(frozen_recipe: ClassifierRecipe, tmp_path: Path) -> None:
    with Crew(Scripted(), num_workers=2, num_threads=1) as crew:
        crew.start(task(frozen_recipe, 6, tmp_path))  # would take minutes
        crew.start(task(frozen_recipe, 10, tmp_path))
        news_of(crew, 1)
        processes = [each.process for each in crew.workers]
        started = time.perf_counter()
    assert time.perf_counter() - started < 10
    assert not any(each.is_alive() for each in processes)


def test_who_keeps_the_study_may_die(frozen_recipe: ClassifierRecipe, tmp_path: Path) -> None:
    with Crew(Scripted(), num_workers=1, num_threads=1) as crew:
        crew.start(task(frozen_recipe, 6, tmp_path))
        (worker,) = crew.workers
        worker.lifeline.close()  # as the system does when a process dies
        worker.process.join(10)
        assert not worker.process.is_alive()


def test_a_process_that_died_while_it_waited_is_replaced(
    crew: Crew, frozen_recipe: ClassifierRecipe, tmp_path: Path
) -> None:
    crew.start(task(frozen_recipe, 10, tmp_path))
    news_of(crew, 1)
    (worker,) = crew.workers
    assert worker.process.pid
    os.kill(worker.process.pid, 9)
    worker.process.join()
    crew.start(task(frozen_recipe, 20, tmp_path))
    assert isinstance(news_of(crew, 1)[20], Died)
    crew.start(task(frozen_recipe, 20, tmp_path))
    assert news_of(crew, 1) == {20: Scored(score=0.02)}
