"""Trials as tables and charts: odd settings, failures, few and many of them."""

import io
import re
from pathlib import Path

import polars as pl
import pytest
from rich.console import Console

from facetry.experiments.tune.report import history, importance_bars, parallel_lines
from facetry.experiments.tune.run import write_outputs
from facetry.experiments.tune.space import Space, parse_space
from facetry.experiments.tune.trials import Findings, Trial, ranked, trials_table, write_trials
from facetry.recipe import Recipe, parse_recipe
from tests.reports.page import Page

BASE: Recipe = parse_recipe({"backbone": {"name": "nano_vit", "weights": "none"}})

SPACE: Space = parse_space(
    {
        "training.heads_lr": {"low": 1e-5, "high": 1e-2, "log": True},
        "training.milestones": [[4], [4, 6]],
        "clean.neighbours": ["none", "weigh"],
        "training.lora": [None, {"rank": 4}],
        "heads.hidden_dim": [512, 64],
    },
    BASE,
)


def trial(number: int, score: float, *, width: int = 64) -> Trial:
    settings = {
        "training.heads_lr": 10 ** (-5 + 3 * (number % 7) / 6),
        "training.milestones": SPACE.dimensions["training.milestones"].points[number % 2],  # type: ignore[index]
        "clean.neighbours": "weigh",
        "training.lora": None,
        "heads.hidden_dim": width,
    }
    return Trial(number=number, first=number, state="done", score=score, seconds=1.0, settings=settings)


FAILED = Trial(
    number=99, first=99, state="failed", settings=trial(1, 0.0).settings, error="No <b>disk</b>."
)


def test_ties_go_to_the_earlier_trial() -> None:
    trials = [trial(2, 0.5), trial(0, 0.4), trial(1, 0.5), FAILED]
    assert [each.number for each in ranked(trials)] == [1, 2, 0]


def test_tables_keep_numbers_as_numbers(tmp_path: Path) -> None:
    write_trials(tmp_path, [trial(0, 0.5), FAILED])
    frame = pl.read_parquet(tmp_path / "trials.parquet")
    assert frame["training.heads_lr"].dtype == pl.Float64
    assert frame["heads.hidden_dim"].dtype == pl.Int64
    assert frame["training.milestones"].to_list() == ["[4]", "[4, 6]"]
    assert frame["score"].to_list() == [0.5, None]
    assert pl.read_csv(tmp_path / "trials.csv").height == 2


def test_the_terminal_table_fits() -> None:
    file = io.StringIO()
    table = trials_table([trial(number, number / 50) for number in range(40)])
    Console(file=file, width=100).print(table)
    lines = file.getvalue().splitlines()
    assert "0.7800" in file.getvalue()
    assert "0.1000" not in file.getvalue()
    assert max(map(len, lines)) <= 100


@pytest.mark.parametrize("num_trials", [0, 1, 2, 400])
def test_pages_of_few_and_many(num_trials: int, tmp_path: Path) -> None:
    done = [trial(number, 0.3 + number / 1000) for number in range(num_trials)]
    importances = {"training.heads_lr": 0.75, "heads.hidden_dim": 0.25} if num_trials > 9 else {}
    findings = Findings(SPACE, "tpe", [*done, FAILED], importances)
    write_outputs(tmp_path, findings)
    source = (tmp_path / "report.html").read_text(encoding="utf-8")
    page = Page(source)
    assert "No <b>disk</b>." in page.text
    assert len(page.all("svg")) == {0: 0, 1: 1, 2: 2, 400: 3}[num_trials]
    assert ("No trial has a score." in page.text) == (num_trials == 0)
    assert (tmp_path / "best.yaml").exists() == (num_trials > 0)
    assert len(source) < 700_000
    first = (tmp_path / "report.html").read_bytes()
    write_outputs(tmp_path, findings)
    assert (tmp_path / "report.html").read_bytes() == first


def test_what_the_charts_say() -> None:
    trials = [
        trial(number, 0.3 + number / 1000, width=64 * (1 + 7 * (number % 2))) for number in range(30)
    ]
    way = history(trials)
    lines = parallel_lines(SPACE.dimensions, trials)
    assert way
    assert lines
    assert "30 trials; the best score rises from 0.3000 to 0.3290" in way.svg
    assert "training.lora none" in lines.svg
    texts = re.findall(r"<text[^>]*>([^<]*)</text>", lines.svg)
    assert [each for each in texts if each in {"64", "512"}] == ["64", "512"]  # by size
    assert {"heads_lr", "score", "1e-05", "0.01", "0.329"} <= set(texts)
    assert importance_bars({}) is None
    assert parallel_lines(SPACE.dimensions, trials[:1]) is None


def test_files_of_the_best_recipe_are_found_from_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    base = parse_recipe({"backbone": {"name": "nano_vit", "weights": "weights/a.safetensors"}})
    findings = Findings(Space(base, SPACE.dimensions), "grid", [trial(0, 0.5)], {})
    write_outputs(tmp_path / "out", findings)
    text = (tmp_path / "out" / "best.yaml").read_text()
    assert f"weights: {tmp_path / 'weights' / 'a.safetensors'}" in text
