"""Every benchmark runs, and ends with one line of figures."""

import importlib
import json
from pathlib import Path

import numpy as np
import pytest

from facetry.catalogue.catalogue import open_catalogue
from facetry.catalogue.split import SplitConfig, make_split

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("name", "arguments", "figures"),
    [
        ("heads", [], {"speedup", "per_product", "by_category", "loss_difference"}),
        ("train_step", ["--backbone", "nano_vit"], {"share_outside_backbone", "whole_step"}),
        ("predict", ["--backbone", "nano_vit"], {"share_outside_backbone", "photos_per_s"}),
        ("engines", ["--backbone", "nano_vit"], {"heads_share", "whole_against_backbone", "tasks"}),
        ("decode", ["--px", "160", "200"], {"paths", "photos_per_s_by_threads"}),
        ("memory", ["--repeat"], {"rows", "most_to_least"}),
        ("audit", [], {"products_per_s", "duplicate_pairs_recall", "conflicts_precision", "peak_MiB"}),
        ("robustness", [], {"ways", "num_labels"}),
        ("search", [], {"indexes", "flat_most"}),
        ("novelty", [], {"cases", "num_known", "known_flagged"}),
        ("startup", [], {"backbones"}),
        ("service", [], {"share_of_offline", "p99_of_bound", "rounds"}),
        ("confidence", [], {"accuracy", "promises"}),
        ("drift", [], {"false_alarms", "shifts", "num_products"}),
        ("fill_audit", [], {"ways", "limit"}),
        ("review", [], {"orders", "times", "people", "paint"}),
        ("gpu", ["--no-compile", "--training"],
         {"photos_per_s", "ms_per_photo", "share_of_rate", "speedup", "training"}),
    ],
)  # fmt: skip
def test_ends_with_its_figures(
    capsys: pytest.CaptureFixture[str], name: str, arguments: list[str], figures: set[str]
) -> None:
    importlib.import_module(f"benchmarks.{name}").main(["--quick", "--threads", "1", *arguments])
    last = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert last["benchmark"] == name
    assert figures <= last.keys()


def test_folds_answer_every_product_but_the_test_part_once(
    capsys: pytest.CaptureFixture[str], drawn: Path
) -> None:
    module = importlib.import_module("benchmarks.folds")
    catalogue = open_catalogue(drawn)
    config = SplitConfig(method="id_blocks", block_size=5)
    held_out = make_split(catalogue, config, seed=0).rows("test")
    folds = list(module.make_folds(catalogue, 3, 5))
    tested = np.concatenate([fold.rows("test") for fold in folds])
    assert sorted([*tested, *held_out]) == list(range(len(catalogue)))
    for fold in folds:
        ids = catalogue.table["id"].to_numpy() // 5
        assert not np.isin(ids[fold.rows("train")], ids[fold.rows("test")]).any()
        assert not np.isin(fold.rows("train"), held_out).any()
    words = ["--quick", "--catalogue", str(drawn), "--weights", "none", "--block-size", "5"]
    also = ["--also", "wide", "heads.hidden_dim=300"]
    module.main([*words, "--only", "shared heads", "several depths", *also])
    settings = json.loads(capsys.readouterr().out.splitlines()[-1])["settings"]
    assert list(settings) == ["plain", "shared heads", "several depths", "wide"]
    assert len({each["mean"] for each in settings.values()}) == 4


def test_split_scores_every_way_to_split(capsys: pytest.CaptureFixture[str], drawn: Path) -> None:
    words = ["--quick", "--catalogue", str(drawn), "--weights", "none", "--block-size", "5"]
    importlib.import_module("benchmarks.split").main(words)
    last = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert last["evenness"]
    scores = last["scores"]
    for method in ("random", "stratified", "id_blocks"):
        low, high = scores[method]["interval"]
        assert 0 <= low <= high <= 1
    assert scores["stratified"]["num_cut"] == [0]


def test_clean_compares_every_setting_with_none(capsys: pytest.CaptureFixture[str], drawn: Path) -> None:
    words = ["--quick", "--catalogue", str(drawn), "--weights", "none"]
    clean = importlib.import_module("benchmarks.clean")
    clean.main(words)
    settings = json.loads(capsys.readouterr().out.splitlines()[-1])["settings"]
    assert settings.keys() == {*clean.SETTINGS, "no background"}
    assert settings["none"]["interval"] == [0, 0]
    for each in settings.values():
        low, high = each["interval"]
        assert low <= high


def test_training_says_what_it_is_compared_with(capsys: pytest.CaptureFixture[str]) -> None:
    importlib.import_module("benchmarks.training").main(["--quick", "--backbone", "nano_vit"])
    (each,) = json.loads(capsys.readouterr().out.splitlines()[-1])["backbones"].values()
    speeds = each["photos_per_s"]
    assert set(speeds) == {"kept", "decoded", "baseline", "first", "in all"}
    assert speeds["first"] < speeds["in all"] < speeds["kept"]
    assert each["speedup"]["kept"] == pytest.approx(speeds["kept"] / speeds["baseline"], rel=0.01)
    assert set(each["waiting_share"]) == {"kept", "decoded", "baseline"}
    assert 0 < each["share_of_rate"] < 1
    assert each["hours"] > 0


def test_options_resumes_and_lists_unavailable_settings(
    capsys: pytest.CaptureFixture[str], drawn: Path, tmp_path: Path
) -> None:
    module = importlib.import_module("benchmarks.options")
    words = ["--quick", "--catalogue", str(drawn), "--out", str(tmp_path), "--only", "cosine"]
    extra = ["--also", "no heads", "backbone.prune={heads: 0.5}"]
    module.main([*words, *extra])
    first = json.loads(capsys.readouterr().out.splitlines()[-1])
    names = {"plain", "cosine", "no heads"}
    expected = {f"nano_vit, {name}" for name in names} | {
        "nano_convnext, plain",
        "nano_convnext, cosine",
    }
    assert set(first["settings"]) == expected
    assert "no heads" in first["impossible"]["nano_convnext, no heads"]
    kept = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.npz")}
    assert len(kept) == len(expected)
    assert not any((tmp_path / "models").iterdir())
    module.main([*words, *extra])
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["settings"] == first["settings"]
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.npz")} == kept
    module.main([*words, "--no-train", "--also", "another", "training.epochs=1", "training.gamma=0.5"])
    shown = capsys.readouterr().out
    assert "not trained yet" in shown
    assert "nano_vit, another" not in json.loads(shown.splitlines()[-1])["settings"]
