"""`facetry train`: build a predictor from a recipe."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from facetry.cli.options import (
    CatalogueOption,
    Changes,
    Fold,
    Images,
    RecipeArgument,
    Repairs,
    SplitFile,
    Weights,
)

if TYPE_CHECKING:
    from facetry.catalogue.catalogue import Catalogue
    from facetry.recipe import Recipe


def train(
    recipe: RecipeArgument,
    catalogue: CatalogueOption,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Model folder to write.")] = None,
    images: Images = None,
    repairs: Repairs = None,
    split: SplitFile = None,
    fold: Fold = None,
    set_: Changes = None,
    weights: Weights = None,
    track: Annotated[
        list[str] | None,
        typer.Option(metavar="SERVICE", help="Log to wandb or trackio; may be repeated."),
    ] = None,
    shard: Annotated[
        bool,
        typer.Option(
            "--shard",
            help="Spread the backbone's weights over the processes (FSDP2), for a tower whose training "
            "does not fit one device.",
        ),
    ] = False,
    show_batch: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Instead of training: write a page (.html or .png) of training photos as augmented.",
        ),
    ] = None,
) -> None:
    """Train a predictor. If it was stopped, the same command resumes where it stopped.

    On SIGTERM it saves after the current step and ends with exit code 0. On several devices:
    torchrun --nproc-per-node N -m facetry train ...
    """
    from facetry.build.train import BuildOptions
    from facetry.build.train import train as build
    from facetry.catalogue.catalogue import open_catalogue
    from facetry.cli.console import make_console, make_reporter, show_metrics
    from facetry.cli.split import given_split
    from facetry.recipe import load_recipe
    from facetry.training.distributed.processes import process_group
    from facetry.training.tracking import require_service

    if (out is None) == (show_batch is None):
        raise typer.BadParameter("name either a model folder with --out, or a file with --show-batch.")
    loaded = load_recipe(recipe, set_ or (), weights=weights)
    services = tuple(require_service(name) for name in track or ())
    console = make_console()
    opened = open_catalogue(catalogue, images=images, repairs=repairs)
    opened.require_photos()
    if line := opened.repairs.describe():
        console.print(line)
    if show_batch:
        _show_batch(loaded, opened, show_batch)
        console.print(f"Preview: {show_batch}")
        return
    assert out is not None
    with process_group(is_sharded=shard) as processes:
        if not processes.is_main:
            from facetry.training.train import assist

            assist(opened)
            return
        folder = build(
            loaded,
            opened,
            out,
            split=given_split(split, fold, opened),
            options=BuildOptions(services=services),
            reporter=make_reporter(),
        )
    show_metrics(console, folder)
    console.print(f"Model folder: {folder}")


def _show_batch(recipe: "Recipe", catalogue: "Catalogue", file: Path) -> None:
    from facetry.errors import RecipeError
    from facetry.recipe import ClassifierRecipe
    from facetry.training.preview.batch import make_preview
    from facetry.training.preview.files import check_ending, save_preview

    check_ending(file)
    if not isinstance(recipe, ClassifierRecipe):
        raise RecipeError(
            f"A recipe of the kind {recipe.kind!r} augments no photos itself.",
            hint="Name the recipe of a classifier.",
        )
    catalogue.require_sound()
    save_preview(make_preview(recipe, catalogue), file)
