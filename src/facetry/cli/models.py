"""`facetry models`: list the known backbones, or describe a model folder."""

from pathlib import Path
from typing import Annotated

import typer


def models(
    folder: Annotated[Path | None, typer.Argument(help="Model folder to describe.")] = None,
) -> None:
    """List the backbones with the licence of their weights, or describe a model folder."""
    from facetry.cli.console import cards_table, make_console, show_folder
    from facetry.models.folder import open_folder

    console = make_console()
    if folder is None:
        console.print(cards_table())
        console.print("Any other: open_clip:NAME or timm:NAME.")
    else:
        model = open_folder(folder)
        model.check_weights()
        show_folder(console, model)
