"""Every benchmark runs, and ends with one line of figures."""

import importlib
import json
from pathlib import Path

import pytest


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "arguments", "figures"),
    [
        ("heads", [], {"speedup", "per_product", "by_category", "loss_difference"}),
        ("train_step", ["--backbone", "nano_vit"], {"share_outside_backbone", "whole_step"}),
        ("predict", ["--backbone", "nano_vit"], {"share_outside_backbone", "photos_per_s"}),
        ("audit", [], {"products_per_s", "duplicate_pairs_recall", "conflicts_precision", "peak_MiB"}),
        ("split", [], {"evenness"}),
        ("search", [], {"indexes", "flat_most"}),
    ],
)
def test_ends_with_its_figures(
    capsys: pytest.CaptureFixture[str], name: str, arguments: list[str], figures: set[str]
) -> None:
    importlib.import_module(f"benchmarks.{name}").main(["--quick", "--threads", "2", *arguments])
    last = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert last["benchmark"] == name
    assert figures <= last.keys()


@pytest.mark.slow
def test_split_scores_every_way_to_split(capsys: pytest.CaptureFixture[str], drawn: Path) -> None:
    words = ["--quick", "--catalogue", str(drawn), "--weights", "none", "--block-size", "5"]
    importlib.import_module("benchmarks.split").main(words)
    scores = json.loads(capsys.readouterr().out.splitlines()[-1])["scores"]
    for method in ("random", "stratified", "id_blocks"):
        low, high = scores[method]["interval"]
        assert 0 <= low <= high <= 1
    assert scores["stratified"]["num_cut"] == [0]


@pytest.mark.slow
def test_clean_compares_every_setting_with_none(capsys: pytest.CaptureFixture[str], drawn: Path) -> None:
    words = ["--quick", "--catalogue", str(drawn), "--weights", "none"]
    importlib.import_module("benchmarks.clean").main(words)
    settings = json.loads(capsys.readouterr().out.splitlines()[-1])["settings"]
    assert len(settings) == 7
    assert settings["none"]["interval"] == [0, 0]
    for each in settings.values():
        low, high = each["interval"]
        assert low <= high
