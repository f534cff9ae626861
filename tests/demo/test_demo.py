"""The demo leaves what it promises, twice the same."""

from pathlib import Path

import polars as pl
import pytest
from rich.console import Console

from facetry.demo import run as demo
from facetry.errors import FolderMismatch
from facetry.runtime.files import sha256
from facetry.runtime.progress import SILENT


@pytest.mark.slow
def test_it_leaves_everything_and_repeats_itself(
    tmp_path: Path, quick_demo_recipe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo, "RECIPE", quick_demo_recipe)
    config = demo.DemoConfig(num_products=80, seed=3)
    console = Console(width=100, record=True)
    for name in ("one", "two"):
        demo.run_demo(tmp_path / name, config, console, SILENT)
    one = tmp_path / "one"
    for name in ("model", "submission.csv", "predictions.parquet", "problems.csv", "report.html"):
        assert (one / name).exists()
    for name in ("submission.csv", "predictions.parquet"):
        assert sha256(one / name) == sha256(tmp_path / "two" / name)
    wanted = pl.read_csv(one / "catalogue" / "test.csv")
    assert (
        pl.read_csv(one / "submission.csv")
        .select("id", "Category")
        .equals(wanted.select("id", "Category"))
    )
    text = console.export_text()
    assert "ensemble: score" in text
    assert text.count("facetry predict") == 2


def test_it_refuses_another_drawn_catalogue(drawn: Path, tmp_path: Path) -> None:
    (tmp_path / "catalogue").symlink_to(drawn)
    with pytest.raises(FolderMismatch, match="holds another drawn catalogue: num_products 90, not 80"):
        demo.run_demo(tmp_path, demo.DemoConfig(num_products=80, seed=1), Console(quiet=True), SILENT)
