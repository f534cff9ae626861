"""Every benchmark runs, and ends with one line of figures."""

import importlib
import json

import pytest


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "arguments", "figures"),
    [
        ("heads", [], {"speedup", "per_product", "by_category", "loss_difference"}),
        ("train_step", ["--backbone", "nano_vit"], {"share_outside_backbone", "whole_step"}),
        ("predict", ["--backbone", "nano_vit"], {"share_outside_backbone", "photos_per_s"}),
    ],
)
def test_ends_with_its_figures(
    capsys: pytest.CaptureFixture[str], name: str, arguments: list[str], figures: set[str]
) -> None:
    importlib.import_module(f"benchmarks.{name}").main(["--quick", "--threads", "2", *arguments])
    last = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert last["benchmark"] == name
    assert figures <= last.keys()
