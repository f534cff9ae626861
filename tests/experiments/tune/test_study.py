"""The study: every point once, the same draws after an interruption, nothing lost."""

from pathlib import Path

import pytest

from facetry.errors import FolderDamaged
from facetry.experiments.tune.config import SamplerName
from facetry.experiments.tune.space import Space, parse_space
from facetry.experiments.tune.study import Plan, StudyStore, open_study


def plan(sampler: SamplerName = "grid", num_trials: int = 6, seed: int = 3) -> Plan:
    return Plan(sampler=sampler, seed=seed, num_trials=num_trials)


def score(settings: dict[str, object]) -> float:
    return float(settings["training.heads_lr"]) * float(settings["heads.hidden_dim"])  # type: ignore[arg-type]


def go_on(store: StudyStore, *, at_most: int = 10_000) -> None:
    for _ in range(at_most):
        trial = store.begin()
        if trial is None:
            return
        store.finish(trial, score(trial.params))


@pytest.fixture
def ranges(space: Space) -> Space:
    content = {
        "training.heads_lr": {"low": 1e-4, "high": 1e-2, "log": True},
        "heads.hidden_dim": {"low": 8, "high": 64, "step": 8},
        "heads.dropout": {"low": 0.0, "high": 0.5},
    }
    return parse_space(content, space.base)


def test_a_grid_s_points_are_all_tried_once(space: Space, tmp_path: Path) -> None:
    with open_study(tmp_path / "study.db", space, plan()) as store:
        assert store.num_left == 6
        go_on(store)
        trials = store.trials()
    assert len({str(each.settings) for each in trials}) == len(trials) == 6
    assert [each.state for each in trials] == ["done"] * 6
    assert {each.score for each in trials} == {
        lr * width for lr in (1e-3, 1e-2, 1e-4) for width in (8, 32)
    }


@pytest.mark.parametrize("sampler", ["grid", "random", "tpe"])
def test_an_interruption_changes_nothing(
    sampler: SamplerName, space: Space, ranges: Space, tmp_path: Path
) -> None:
    chosen = space if sampler == "grid" else ranges
    # TPE draws at random in its first ten trials, then by their results.
    wanted = plan(sampler, {"grid": 6, "random": 6, "tpe": 12}[sampler])
    found = []
    for name, stops in (("unbroken", []), ("broken", [2, 4])):
        for stop in (*stops, 10_000):
            with open_study(tmp_path / name, chosen, wanted) as store:
                go_on(store, at_most=stop)
                if stop < 10_000:
                    store.begin()  # under way when the process dies
        with open_study(tmp_path / name, chosen, wanted) as store:
            assert store.begin() is None
            found.append([(str(each.settings), each.score) for each in store.trials()])
    unbroken, broken = found
    assert sorted(unbroken) == sorted(broken)
    assert len(set(unbroken)) == wanted.num_trials


def test_another_seed_draws_other_settings(ranges: Space, tmp_path: Path) -> None:
    drawn = []
    for seed in (0, 1):
        with open_study(tmp_path / str(seed), ranges, plan("random", 3, seed)) as store:
            go_on(store)
            drawn.append([each.settings for each in store.trials()])
    assert drawn[0] != drawn[1]


def test_a_crashed_trial_is_repeated_a_limited_number_of_times(space: Space, tmp_path: Path) -> None:
    with open_study(tmp_path / "study.db", space, plan()) as store:
        first = store.begin()
        assert first
        wanted, trial, tries = dict(first.params), first, 0
        while store.num_left == 5:
            store.restart(trial, "It died.")
            tries += 1
            if store.num_left == 6:
                again = store.begin()
                assert again
                assert again.params == wanted
                trial = again
            else:
                break
        assert tries == 3
        go_on(store)
        trials = store.trials()
    assert [each.state for each in trials].count("failed") == 1
    assert {each.error for each in trials} == {"", "It died."}
    assert {each.first for each in trials} >= {0}
    assert len({str(each.settings) for each in trials}) == len(trials) == 6


def test_a_trial_without_a_score_has_failed(space: Space, tmp_path: Path) -> None:
    with open_study(tmp_path / "study.db", space, plan(num_trials=1)) as store:
        trial = store.begin()
        assert trial
        store.finish(trial, float("nan"))
        (only,) = store.trials()
    assert (only.state, only.error) == ("failed", "It has no score.")


def test_trials_below_the_median_are_pruned(space: Space, tmp_path: Path) -> None:
    with open_study(tmp_path / "study.db", space, plan("random", 20)) as store:
        for level in (0.5, 0.6, 0.7, 0.8, 0.9, 0.1):
            trial = store.begin()
            assert trial
            lags = [store.should_prune(trial, epoch, level) for epoch in range(1, 6)]
            assert lags == [False] * 3 + [level == 0.1] * 2
            if lags[-1]:
                store.prune(trial)
            else:
                store.finish(trial, level)
        *_, last = store.trials()
    assert (last.state, last.score) == ("pruned", 0.1)


def test_importances_find_what_matters(ranges: Space, tmp_path: Path) -> None:
    with open_study(tmp_path / "study.db", ranges, plan("random", 20)) as store:
        go_on(store, at_most=9)
        assert store.importances() == {}
        while trial := store.begin():
            store.finish(trial, trial.params["heads.hidden_dim"])
        found = store.importances()
    assert sum(found.values()) == pytest.approx(1)
    assert max(found, key=lambda key: found[key]) == next(iter(found)) == "heads.hidden_dim"


def test_a_file_that_is_no_study(space: Space, tmp_path: Path) -> None:
    (tmp_path / "study.db").write_bytes(b"no database at all" * 100)
    with (
        pytest.raises(FolderDamaged, match=r"study\.db cannot be read"),
        open_study(tmp_path / "study.db", space, plan()),
    ):
        pass


def test_a_folder_may_be_called_anything(space: Space, tmp_path: Path) -> None:
    folder = tmp_path / "100% {of} it? #1"
    folder.mkdir()
    with open_study(folder / "study.db", space, plan(num_trials=1)) as store:
        go_on(store)
    assert [each.name for each in folder.iterdir()] == ["study.db"]
    assert not Path("study.db").exists()
