"""Searches from start to end: every trial on its own, ranked, resumed, reported."""

import json
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from facetry.build.load import load
from facetry.build.train import train
from facetry.catalogue.catalogue import Catalogue, open_catalogue
from facetry.catalogue.split import Split, SplitConfig, make_split, read_split
from facetry.errors import (
    FolderInUse,
    FolderMismatch,
    FolderOccupied,
    NotEnoughData,
    NoTrialScored,
    SettingError,
)
from facetry.experiments.tune import run as run_module
from facetry.experiments.tune.config import TuneConfig, sampler_name
from facetry.experiments.tune.folder import open_or_resume_study
from facetry.experiments.tune.run import tune
from facetry.experiments.tune.runners import (
    FeatureTrialRunner,
    Pruned,
    TrainingTrialRunner,
    TrialRunner,
    choose_runner,
)
from facetry.experiments.tune.space import Space, parse_space
from facetry.experiments.tune.trials import Findings
from facetry.recipe import ClassifierRecipe, Recipe, load_recipe, parse_recipe
from facetry.runtime.files import try_lock
from facetry.runtime.progress import SILENT
from tests.experiments.tune.scripted import Scripted
from tests.reports.page import Page

MakeRecipe = Callable[..., ClassifierRecipe]

TWO = TuneConfig(num_workers=2)


class Lines:
    """A reporter that stores its messages, and can interrupt."""

    def __init__(self, stop_after: int = 10_000) -> None:
        self.said: list[str] = []
        self.num_left = stop_after

    def say(self, text: str) -> None:
        self.said.append(text)

    def bar(self, description: str, total: int | None) -> "Lines":
        self.said.append(f"{description} {total}")
        return self

    def __enter__(self) -> Callable[[int], None]:
        return self.advance

    def __exit__(self, *_: object) -> None:
        pass

    def advance(self, count: int) -> None:
        self.num_left -= count
        if self.num_left == 0:
            raise KeyboardInterrupt


@pytest.fixture(scope="module")
def done(space: Space, drawn: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Findings]:
    """A grid of six points, gone through once."""
    out = tmp_path_factory.mktemp("tune") / "out"
    return out, tune(space, open_catalogue(drawn), out, TWO)


def without_times(out: Path) -> pl.DataFrame:
    frame = pl.read_parquet(out / "trials.parquet").drop("seconds", "number")
    return frame.sort(frame.columns[2:])


def test_all_points_are_ranked(done: tuple[Path, Findings]) -> None:
    out, findings = done
    assert [each.state for each in findings.trials] == ["done"] * 6
    scores = [each.score for each in findings.ranking]
    assert scores == sorted(scores, reverse=True)
    assert len(set(scores)) > 3
    frame = pl.read_csv(out / "trials.csv")
    assert frame.columns[:5] == ["number", "state", "score", "seconds", "error"]
    assert set(frame.columns[5:]) == set(findings.space.dimensions)
    assert frame.height == 6
    assert not (out / "trials").exists()
    assert not list(out.glob("*-wal"))


def test_the_best_recipe_trains_to_the_very_score(
    done: tuple[Path, Findings], drawn: Path, tmp_path: Path
) -> None:
    out, findings = done
    assert findings.best
    text = (out / "best.yaml").read_text()
    assert f"{findings.best.score:.4f} on the validation part" in text
    assert f"--split {out / 'split.parquet'}" in text
    recipe = load_recipe(out / "best.yaml")
    assert recipe == findings.best_recipe
    model = train(recipe, open_catalogue(drawn), tmp_path / "model", split=out / "split.parquet")
    log = pl.read_csv(model / "training" / "log.csv")
    assert log["score"].max() == pytest.approx(findings.best.score, abs=1e-9)
    load(model)


def test_the_report_shows_it_all_and_loads_nothing(done: tuple[Path, Findings]) -> None:
    out, findings = done
    page = Page((out / "report.html").read_text(encoding="utf-8"))
    for text in ("6 trials", "going through the grid", "heads_lr", "hidden_dim", "1e-04"):
        assert text.replace("1e-04", "0.0001") in page.text.replace("\u200b", ""), text
    assert len(page.all("svg")) == 2  # too few trials for importances
    anchors = {str(each["href"])[1:] for each in page.all("a")}
    assert anchors <= {each.get("id") for each in page.all("section")}
    assert not page.all("img")
    assert not page.all("link")
    assert findings.importances == {}


def test_the_same_settings_score_the_same_whatever_ran_between(
    done: tuple[Path, Findings], frozen_recipe: ClassifierRecipe, drawn: Path, tmp_path: Path
) -> None:
    """One process, another order, other neighbours in it, and one trial that breaks down."""
    content = {"heads.hidden_dim": [32, 8], "training.heads_lr": [1e-2, 1e30, 1e-4]}
    other = parse_space(content, frozen_recipe)
    findings = tune(other, open_catalogue(drawn), tmp_path / "out", TuneConfig(num_workers=1))
    wanted = {str(sorted(each.settings.items())): each.score for each in done[1].trials}
    found = {str(sorted(each.settings.items())): each.score for each in findings.ranking}
    both = wanted.keys() & found.keys()
    assert len(both) == 4
    assert {key: wanted[key] for key in both} == {key: found[key] for key in both}
    failed = [each for each in findings.trials if each.state == "failed"]
    assert {each.settings["training.heads_lr"] for each in failed} == {1e30}
    assert all("at epoch" in each.error for each in failed)


def test_a_finished_search_is_not_done_again(
    done: tuple[Path, Findings], space: Space, drawn: Path, tmp_path: Path
) -> None:
    shutil.copytree(done[0], tmp_path / "out")
    lines = Lines()
    again = tune(space, open_catalogue(drawn), tmp_path / "out", TWO, reporter=lines)
    assert lines.said == ["Trials 0"]
    assert again.trials == done[1].trials


def test_a_trial_on_features_is_stopped_between_epochs(
    done: tuple[Path, Findings], space: Space, catalogue: Catalogue, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    reported: list[tuple[int, float]] = []
    shutil.copytree(done[0], out)

    def on_epoch(epoch: int, score: float) -> None:
        reported.append((epoch, score))
        if epoch == 2:
            raise Pruned

    with open_or_resume_study(out, space, "grid", catalogue, None, SILENT) as inputs:
        runner = choose_runner(space, inputs, out)
        assert isinstance(space.base, ClassifierRecipe)
        with pytest.raises(Pruned):
            runner.score(space.base, tmp_path / "trial", on_epoch)
    assert [epoch for epoch, _ in reported] == [1, 2]
    assert all(0 <= score <= 1 for _, score in reported)


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trials that train nothing; see `Scripted`."""

    def choose(*_: object) -> TrialRunner:
        return Scripted()

    monkeypatch.setattr(run_module, "choose_runner", choose)


@pytest.fixture
def six_widths(frozen_recipe: ClassifierRecipe) -> Space:
    return parse_space({"heads.hidden_dim": [10, 11, 12, 13, 14, 15]}, frozen_recipe)


@pytest.mark.usefixtures("scripted")
def test_an_interrupted_search_resumes(six_widths: Space, drawn: Path, tmp_path: Path) -> None:
    lines, out = Lines(stop_after=3), tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        tune(six_widths, open_catalogue(drawn), out, TWO, reporter=lines)
    assert not (out / "trials.csv").exists()
    again = Lines()
    tune(six_widths, open_catalogue(drawn), out, TWO, reporter=again)
    assert "Trials 3" in again.said
    unbroken = tmp_path / "unbroken"
    tune(six_widths, open_catalogue(drawn), unbroken, TWO)
    assert without_times(out).equals(without_times(unbroken))
    for name in ("best.yaml", "report.html"):
        assert (out / name).is_file()


@pytest.mark.usefixtures("scripted")
def test_more_trials_are_added(six_widths: Space, drawn: Path, tmp_path: Path) -> None:
    lines, out = Lines(), tmp_path / "out"
    catalogue = open_catalogue(drawn)
    few = tune(six_widths, catalogue, out, TuneConfig(num_trials=2, num_workers=1), reporter=lines)
    assert lines.said[0] == "2 of the grid's 6 points, chosen at random."
    more = tune(six_widths, catalogue, out, TuneConfig(num_trials=5, num_workers=1))
    assert [each.settings for each in more.trials[:2]] == [each.settings for each in few.trials]
    assert len(more.trials) == 5


@pytest.mark.usefixtures("scripted")
def test_trials_that_fail_or_die_do_not_stop_the_others(
    frozen_recipe: ClassifierRecipe, drawn: Path, tmp_path: Path
) -> None:
    space = parse_space({"heads.hidden_dim": [1, 2, 3, 4, 5, 10]}, frozen_recipe)
    out = tmp_path / "out"
    findings = tune(space, open_catalogue(drawn), out, TWO)
    by_width = {each.settings["heads.hidden_dim"]: each for each in findings.trials}
    assert {width: each.state for width, each in by_width.items()} == {
        1: "failed", 2: "failed", 3: "failed", 4: "failed", 5: "done", 10: "done"
    }  # fmt: skip
    assert by_width[1].error == "Nothing to train on."
    assert by_width[3].error == "Killed by the system; most often it has run out of memory."
    assert "by nothing" in next((out / "errors").iterdir()).read_text()
    assert pl.read_csv(out / "trials.csv")["score"].to_list().count(None) == 4
    page = Page((out / "report.html").read_text(encoding="utf-8"))
    assert "Failed trials" in page.text
    assert "It has no score." in page.text


@pytest.mark.usefixtures("scripted")
def test_a_search_killed_while_embedding_resumes(
    frozen_recipe: ClassifierRecipe, drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    space, out = parse_space({"heads.hidden_dim": [10]}, frozen_recipe), tmp_path / "out"

    def stop(*_: object) -> None:
        (out / "generator.safetensors").write_text("kept before the features are made")
        (out / ".features.safetensors.1.1.draft").write_text("half")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Scripted, "prepare", stop)
        with pytest.raises(KeyboardInterrupt):
            tune(space, open_catalogue(drawn), out, TWO)
    assert [each.score for each in tune(space, open_catalogue(drawn), out, TWO).trials] == [0.01]
    assert not list(out.glob(".*.draft"))


@pytest.mark.usefixtures("scripted")
def test_a_finished_search_of_version_0_1_0_is_added_to(
    frozen_recipe: ClassifierRecipe, drawn: Path, tmp_path: Path
) -> None:
    space, out = parse_space({"heads.hidden_dim": [10, 11]}, frozen_recipe), tmp_path / "out"
    catalogue = open_catalogue(drawn)
    split = make_split(catalogue, SplitConfig(method="random"), seed=5)
    tune(space, catalogue, out, TuneConfig(num_trials=1, num_workers=1), split=split)
    job = json.loads((out / "job.json").read_text())
    for key in ("command", "format", "facetry", "split"):
        del job[key]
    (out / "job.json").write_text(json.dumps({**job, "is_split_given": True}))
    assert len(tune(space, catalogue, out, TWO, split=split).trials) == 2
    with pytest.raises(FolderMismatch, match="was made with another split"):
        tune(space, catalogue, out, TWO)


@pytest.mark.usefixtures("scripted")
def test_a_search_without_any_score(
    frozen_recipe: ClassifierRecipe, drawn: Path, tmp_path: Path
) -> None:
    space = parse_space({"heads.hidden_dim": [1]}, frozen_recipe)
    with pytest.raises(NoTrialScored, match=r"None of 1 trials has a score: Nothing to train on\."):
        tune(space, open_catalogue(drawn), tmp_path / "out", TWO)
    assert (tmp_path / "out" / "trials.csv").is_file()
    assert not (tmp_path / "out" / "best.yaml").exists()


@pytest.mark.usefixtures("scripted")
def test_trials_that_lag_behind_are_stopped(
    frozen_recipe: ClassifierRecipe, drawn: Path, tmp_path: Path
) -> None:
    space = parse_space({"heads.hidden_dim": {"low": 10, "high": 1000}}, frozen_recipe)
    states = {}
    for is_pruning in (None, False):
        config = TuneConfig(sampler="random", num_trials=10, num_workers=1, is_pruning=is_pruning)
        found = tune(space, open_catalogue(drawn), tmp_path / str(is_pruning), config)
        states[is_pruning] = {each.state for each in found.trials}
    assert states == {None: {"done", "pruned"}, False: {"done"}}
    page = (tmp_path / "False" / "report.html").read_text(encoding="utf-8")
    assert "What the score depends on" in page


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("recipe", "was made with another recipe"),
        ("space", "was made with another space"),
        ("sampler", "was made with another sampler"),
        ("split", "was made with another split"),
    ],
)
def test_a_folder_of_another_search(
    change: str, message: str, done: tuple[Path, Findings], space: Space, drawn: Path
) -> None:
    catalogue = open_catalogue(drawn)
    base = space.base
    changed = {
        "recipe": Space(base.with_seed(9), space.dimensions),
        "space": parse_space({"heads.hidden_dim": [8]}, base),
    }
    split = make_split(catalogue, SplitConfig(method="random"), seed=5) if change == "split" else None
    config = TuneConfig(sampler="random" if change == "sampler" else "grid", num_trials=1)
    with pytest.raises(FolderMismatch, match=message):
        tune(changed.get(change, space), catalogue, done[0], config, split=split)


def test_a_folder_with_something_else(space: Space, drawn: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    with pytest.raises(FolderOccupied, match="was not made by `facetry tune`: it holds notes"):
        tune(space, open_catalogue(drawn), tmp_path, TWO)
    with try_lock(tmp_path), pytest.raises(FolderInUse, match="is being written by another process"):
        tune(space, open_catalogue(drawn), tmp_path, TWO)


def test_trials_need_a_validation_part(space: Space, drawn: Path, tmp_path: Path) -> None:
    base = parse_recipe({**space.base.model_dump(mode="json"), "split": {"validation": 0, "test": 0.2}})
    with pytest.raises(NotEnoughData, match="no validation part"):
        tune(Space(base, space.dimensions), open_catalogue(drawn), tmp_path / "out", TWO)
    catalogue = open_catalogue(drawn)
    kept = make_split(catalogue, SplitConfig(method="random"), seed=0)
    split = Split(kept.codes.clip(max=1) * 2)  # train and test alone
    with pytest.raises(NotEnoughData, match="no validation part"):
        tune(space, catalogue, tmp_path / "other", TWO, split=split)


def test_a_grid_of_endless_ranges(frozen_recipe: ClassifierRecipe, drawn: Path, tmp_path: Path) -> None:
    space = parse_space({"heads.dropout": {"low": 0, "high": 0.5}}, frozen_recipe)
    with pytest.raises(SettingError, match=r"'heads\.dropout' is a range"):
        tune(space, open_catalogue(drawn), tmp_path / "out", TWO)
    assert not (tmp_path / "out").exists()


def test_unknown_samplers() -> None:
    assert sampler_name("tpe") == "tpe"
    with pytest.raises(SettingError, match="Unknown sampler 'gird'") as caught:
        sampler_name("gird")
    assert caught.value.hint == "Did you mean 'grid'?"


@pytest.mark.parametrize(
    ("base", "content", "kind"),
    [
        ({}, {"heads.dropout": [0.1]}, FeatureTrialRunner),
        ({}, {"training.heads_lr": [0.1], "clean.upsample": [0.1]}, FeatureTrialRunner),
        ({}, {"image.size_px": [32]}, TrainingTrialRunner),
        ({}, {"backbone.name": ["nano_vit"]}, TrainingTrialRunner),
        ({"frozen": False}, {"heads.dropout": [0.1]}, TrainingTrialRunner),
    ],
)
def test_stored_features_are_used_if_the_backbone_does_not_change(
    base: dict[str, object], content: dict[str, list[object]], kind: type, frozen_recipe: Recipe,
    catalogue: Catalogue, tmp_path: Path,
) -> None:  # fmt: skip
    recipe = frozen_recipe.model_dump(mode="json")
    recipe["backbone"] |= base
    space = parse_space(content, parse_recipe(recipe))
    with open_or_resume_study(tmp_path, space, "grid", catalogue, None, SILENT) as inputs:
        assert isinstance(choose_runner(space, inputs, tmp_path), kind)


@pytest.mark.slow
def test_whole_trainings_leave_the_best_model(
    make_recipe: MakeRecipe, drawn: Path, tmp_path: Path
) -> None:
    base = make_recipe(
        training={"epochs": 1, "batch_size": 16, "backbone_lr": 1e-3, "heads_lr": 1e-3},
        split={"validation": 0.2, "test": 0.2, "method": "random"},
    )
    space = parse_space({"backbone.name": ["nano_convnext", "nano_vit", "nano_nothing"]}, base)
    out = tmp_path / "out"
    findings = tune(space, open_catalogue(drawn), out, TuneConfig())
    assert sorted(each.state for each in findings.trials) == ["done", "done", "failed"]
    assert findings.best
    (model,) = (out / "trials").iterdir()
    assert model.name == f"{findings.best.first:05d}"
    metrics = json.loads((model / "metrics.json").read_text())
    assert metrics["validation"]["total"] == findings.best.score
    kept = read_split(out / "split.parquet", open_catalogue(drawn))
    assert (read_split(model / "split.parquet", open_catalogue(drawn)).codes == kept.codes).all()
    assert load(model)


@pytest.mark.slow
def test_a_whole_training_is_stopped_between_epochs(
    make_recipe: MakeRecipe, catalogue: Catalogue, tmp_path: Path
) -> None:
    base = make_recipe(
        training={"epochs": 6, "batch_size": 16, "milestones": []},
        split={"validation": 0.2, "test": 0.2, "method": "random"},
    )
    space = parse_space({"training.clip_norm": [1.0]}, base)
    with open_or_resume_study(tmp_path, space, "grid", catalogue, None, SILENT) as inputs:
        bench = TrainingTrialRunner(inputs=inputs)
    reported: list[tuple[int, float]] = []

    def on_epoch(epoch: int, score: float) -> None:
        reported.append((epoch, score))
        if epoch == 2:
            raise Pruned

    with pytest.raises(Pruned):
        bench.score(base, tmp_path / "trial", on_epoch)
    assert [epoch for epoch, _ in reported] == [1, 2]
    assert all(0 < score < 1 for _, score in reported)
    assert not (tmp_path / "trial").exists()


def test_the_study_is_one_file_that_others_can_read(done: tuple[Path, Findings]) -> None:
    with sqlite3.connect(done[0] / "study.db") as connection:
        (num_trials,) = connection.execute("SELECT count(*) FROM trials").fetchone()
    assert num_trials == 6
