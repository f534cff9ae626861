"""Every page that a command writes: readable by all, on a phone and in the dark, loading nothing."""

from collections.abc import Callable
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from facetry.cli.main import app
from facetry.confidence.drift.compare import compare
from facetry.confidence.drift.report import write_page
from facetry.confidence.page import write_calibration_page
from facetry.confidence.promises import make_promises
from facetry.confidence.selection import BlankTest
from tests.confidence.cells import draw_cells
from tests.confidence.drift.samples import draw_sample, with_photos, with_quality
from tests.conftest import NANO_RECIPE

pytestmark = [pytest.mark.browser, pytest.mark.slow]

QUICK = ["--set", "training.epochs=1"]
PAGES = (
    *("evaluation", "damage", "audit", "comparison", "tuning"),
    *("neighbours", "batch", "drift", "calibration"),
)


def run(*arguments: str | Path) -> None:
    result = CliRunner(env={"COLUMNS": "100"}).invoke(app, list(map(str, arguments)))
    assert result.exit_code == 0, (arguments, result.output, result.exception)


def write_pages(folder: Path, catalogue: Path, model: Path) -> None:
    """Write a page of each kind, `NAME.html`."""
    import yaml

    folder.mkdir()
    nano, similar, space = (folder / f"{each}.yaml" for each in ("nano", "similar", "space"))
    nano.write_text(yaml.safe_dump(NANO_RECIPE))
    split = {"validation": 0.2, "test": 0.2, "method": "random"}
    similar.write_text(yaml.safe_dump({"kind": "search", "hashes": ["phash"], "split": split}))
    space.write_text("training.heads_lr: [1e-3, 1e-2]\n")
    photo = min((catalogue / "train_images").glob("*.jpg"))
    run("evaluate", model, catalogue, "--report", folder / "evaluation.html")
    run("evaluate", model, catalogue, "--corruption", "jpeg", "-o", folder / "jpeg")
    run("audit", catalogue, "-o", folder / "audited")
    run("compare", nano, similar, "-c", catalogue, "-o", folder / "compared")
    run("tune", nano, space, "-c", catalogue, "-o", folder / "tuned", "--workers", "1", *QUICK)
    run("train", similar, "-c", catalogue, "-o", folder / "search")
    run("search", folder / "search", photo, "--html", folder / "neighbours.html")
    run("train", nano, "-c", catalogue, "--show-batch", folder / "batch.html")
    write_drift_page(folder / "drift.html", photo)
    write_calibration(folder / "calibration.html")
    for inner, name in {
        "jpeg": "damage", "audited": "audit", "compared": "comparison", "tuned": "tuning"
    }.items():  # fmt: skip
        (page,) = (folder / inner).glob("*.html")
        page.rename(folder / f"{name}.html")


def write_drift_page(path: Path, photo: Path) -> None:
    """A page of drawn measures: a real batch takes more products than the tiny model's catalogue has."""
    old, new = (with_photos(draw_sample(num, num), photo) for num in (400, 300))
    write_page(path, "batch", compare(old, with_quality(new, "brightness", -3)), {"Model": "model"})


def write_calibration(path: Path) -> None:
    """A page on drawn cells, with promises on each level, a ceiling and a warning."""
    before, after = draw_cells(2000, sharpened=2.0), draw_cells(2000)
    promises = make_promises(after.evidence(), after.taxonomy, 0.9)
    promises = replace(promises, label_noise={0: 0.03})
    blanks = [BlankTest(head=0, auc=0.72, error=0.02, num_labelled=200, num_blank=90)]
    facts = {"model": "model", "table": "train.csv"}
    write_calibration_page(path, promises, (before, after), blanks, facts)


@pytest.fixture(scope="module")
def pages(make_once: Callable[..., Path], drawn: Path, tiny_model: Path) -> Path:
    return make_once("pages", lambda folder: write_pages(folder, drawn, tiny_model))


@pytest.fixture(scope="module")
def axe() -> str:
    """axe-core, which finds what keeps people from using a page."""
    pytest.importorskip("axe_playwright_python", reason="axe-playwright-python is not installed")
    return (files("axe_playwright_python") / "axe.min.js").read_text(encoding="utf-8")


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", PAGES)
def test_a_page_keeps_nobody_out(
    browser: Any, axe: str, pages: Path, name: str, scheme: str, width: int
) -> None:
    context = browser.new_context(
        viewport={"width": width, "height": 844}, color_scheme=scheme, bypass_csp=True
    )
    page = context.new_page()
    faults: list[str] = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("request", lambda request: faults.append(request.url[:80]))
    page.goto((pages / f"{name}.html").as_uri())
    for each in page.locator("summary").all():
        each.evaluate("summary => { summary.parentElement.open = true; }")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.evaluate(axe)
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")["violations"]
    context.close()
    grave = [each for each in found if each["impact"] in {"serious", "critical"}]
    assert [(each["id"], each["nodes"][0]["html"][:200]) for each in grave] == []
    assert [each for each in faults if not each.startswith(("data:", "file:"))] == []
