"""`facetry compare`: score recipes and models on the same held-out products."""

from pathlib import Path
from typing import Annotated

import typer

from facetry.cli.options import CatalogueOption, Fold, Images, OutFolder, Repairs, SplitFile


def compare(
    recipes: Annotated[
        list[Path],
        typer.Argument(help="Recipes (YAML files or names of shipped ones), or model folders."),
    ],
    catalogue: CatalogueOption,
    out: OutFolder,
    images: Images = None,
    repairs: Repairs = None,
    split: SplitFile = None,
    fold: Fold = None,
    nano: Annotated[
        bool, typer.Option("--nano", help="Rehearse: a tiny backbone of the same family in each row.")
    ] = False,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="[ROW:]KEY=VALUE", help="Change a key of all recipes, or of one row's."
        ),
    ] = None,
) -> None:
    """Build and score recipes on one split: a leaderboard as HTML, Markdown and JSON.

    If it was stopped, the same command resumes: rows that are done are not built again. A row that
    fails does not stop the others; the exit code is then 1.
    """
    from facetry.catalogue.catalogue import open_catalogue
    from facetry.cli.console import make_console, make_reporter
    from facetry.cli.split import given_split
    from facetry.experiments.compare.entries import read_entries
    from facetry.experiments.compare.formats import counts_text, leaderboard_table
    from facetry.experiments.compare.run import LEADERBOARD
    from facetry.experiments.compare.run import compare as run
    from facetry.recipe import find_recipe

    console = make_console()
    sources = [each if each.is_dir() else find_recipe(each) for each in recipes]
    entries = read_entries(sources, changes=set_ or (), is_nano=nano)
    opened = open_catalogue(catalogue, images=images, repairs=repairs)
    board = run(
        entries,
        opened,
        out,
        split=given_split(split, fold, opened),
        is_nano=nano,
        reporter=make_reporter(),
    )
    console.print(leaderboard_table(board))
    console.print(counts_text(board))
    for row in board.failed:
        console.print(f"{row.name} failed: {row.error}", style="red")
    console.print(f"Leaderboard: {out / LEADERBOARD}.html, .md, .json")
    if board.failed:
        raise typer.Exit(1)
