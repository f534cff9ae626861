"""The demo: draw a catalogue, train an ensemble on it, score it, and predict the test products."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from facetry.batch.local import BatchConfig, predict_table
from facetry.build.load import load
from facetry.build.results import WHOLE, evaluate_members, report_model
from facetry.build.train import train
from facetry.catalogue.catalogue import open_catalogue
from facetry.catalogue.split import read_split
from facetry.demo.garments import SampleConfig, draw_catalogue, require_drawn
from facetry.evaluation.held_out import SPLIT
from facetry.evaluation.tables import scores_table
from facetry.models.folder import ModelFolder, open_folder
from facetry.predictions import Predictor
from facetry.recipe import load_recipe
from facetry.runtime.progress import Reporter

if TYPE_CHECKING:
    from rich.console import Console

RECIPE = Path(__file__).parents[1] / "recipes" / "demo.yaml"
PHOTO_SIZE_PX = 128


@dataclass(frozen=True, kw_only=True)
class DemoConfig:
    """How many products to draw (three in ten for the test table), and the seed of everything."""

    num_products: int = 4000
    seed: int = 0


def run_demo(out: Path, config: DemoConfig, console: "Console", reporter: Reporter) -> None:
    """Run the demo in the folder `out`; after an interruption the same call resumes it.

    Raises:
        FolderMismatch: `out` holds another drawn catalogue, or a model trained with other settings.
    """
    drawn = out / "catalogue"
    sample = SampleConfig(num_products=config.num_products, seed=config.seed, size_px=PHOTO_SIZE_PX)
    if drawn.exists():
        require_drawn(drawn, sample)
    else:
        with reporter.bar("Drawing photos", config.num_products) as advance:
            draw_catalogue(drawn, sample, on_progress=advance)
    recipe = load_recipe(RECIPE).with_seed(config.seed)
    model = open_folder(train(recipe, open_catalogue(drawn), out / "model", reporter=reporter))
    predictor = load(model)
    _score(predictor, model, out, console, reporter)
    unlabelled = open_catalogue(drawn / "test.csv", taxonomy=predictor.taxonomy)
    batch = BatchConfig(model=model.fingerprint)
    summary = predict_table(predictor, unlabelled, out, batch, reporter=reporter)
    console.print(
        f"\n{summary.num_predicted:,} products filled in; {summary.problems.total():,} have no "
        f"readable photo and are listed in {out / 'problems.csv'}."
    )
    console.print(_next_steps(out))


def _score(
    predictor: Predictor, model: ModelFolder, out: Path, console: "Console", reporter: Reporter
) -> None:
    """Score ensemble and members on the held-out products, print the scores and write the report."""
    catalogue = open_catalogue(out / "catalogue", taxonomy=predictor.taxonomy)
    rows = read_split(model.path / SPLIT, catalogue).rows("test")
    evaluations = evaluate_members(predictor, catalogue.products(rows), reporter=reporter)
    facts = {
        "Catalogue": f"drawn, {len(catalogue):,} labelled products",
        "Scored on": f"{len(rows):,} of them, held out",
        "Command": "facetry demo",
    }
    report_model(out / "report.html", model, evaluations, facts)
    console.print(scores_table(evaluations[WHOLE].scores))
    for name, each in evaluations.items():
        low, high = each.scores.interval
        console.print(
            f"{name:>14}: score {each.scores.total:.4f} (95% interval {low:.4f} to {high:.4f})"
        )
    console.print(
        f"{'baseline':>14}: score {evaluations[WHOLE].scores.baseline:.4f} "
        "(each head's most frequent value)"
    )


def _next_steps(out: Path) -> str:
    return f"""
In {out}: report.html, submission.csv, predictions.parquet, model.

Next, try:
  facetry check {out / "catalogue"}
  facetry evaluate {out / "model"} {out / "catalogue"} --per-head
  facetry predict {out / "model"} {out / "catalogue/test.csv"} --out filled"""
