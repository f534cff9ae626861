"""`facetry tune`: search for the settings of a recipe that score best."""

from pathlib import Path
from typing import Annotated

import typer

from facetry.cli.options import (
    CatalogueOption,
    Changes,
    Fold,
    Images,
    OutFolder,
    RecipeArgument,
    Repairs,
    SplitFile,
    Weights,
)


def tune(
    recipe: RecipeArgument,
    space: Annotated[Path, typer.Argument(help="Search space (YAML): the values to try for its keys.")],
    catalogue: CatalogueOption,
    out: OutFolder,
    sampler: Annotated[str, typer.Option(help="How settings are drawn: grid, random or tpe.")] = "grid",
    trials: Annotated[
        int | None, typer.Option(min=1, help="How many to train; default: the whole grid, or 100.")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, max=256, help="How many to train at once.")
    ] = None,
    prune: Annotated[
        bool | None,
        typer.Option("--prune/--no-prune", help="Stop trials that score low; off for grids by default."),
    ] = None,
    images: Images = None,
    repairs: Repairs = None,
    split: SplitFile = None,
    fold: Fold = None,
    set_: Changes = None,
    weights: Weights = None,
) -> None:
    """Train a recipe with many settings, ranked on the validation part: best recipe and report.

    If it was stopped, the same command resumes; with more --trials it adds to the study.
    """
    from facetry.catalogue.catalogue import open_catalogue
    from facetry.cli.console import make_console, make_reporter
    from facetry.cli.split import given_split
    from facetry.experiments.tune.config import TuneConfig, sampler_name
    from facetry.experiments.tune.folder import REPORT, TRIALS, trial_name
    from facetry.experiments.tune.run import BEST
    from facetry.experiments.tune.run import tune as run
    from facetry.experiments.tune.space import read_space
    from facetry.experiments.tune.trials import counts_text, trials_table
    from facetry.recipe import load_recipe

    console = make_console()
    config = TuneConfig(
        sampler=sampler_name(sampler), num_trials=trials, num_workers=workers, is_pruning=prune
    )
    searched = read_space(space, load_recipe(recipe, set_ or (), weights=weights))
    opened = open_catalogue(catalogue, images=images, repairs=repairs)
    findings = run(
        searched,
        opened,
        out,
        config,
        split=given_split(split, fold, opened),
        reporter=make_reporter(),
    )
    console.print(trials_table(findings.trials))
    console.print(counts_text(findings.trials))
    console.print(f"Best recipe: {out / BEST}")
    assert findings.best
    model = out / TRIALS / trial_name(findings.best.first)
    if model.is_dir():
        console.print(f"Its model folder: {model}")
    console.print(f"Report: {out / REPORT}")
