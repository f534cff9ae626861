"""`facetry import`: convert a checkpoint that was trained by other code."""

from pathlib import Path
from typing import Annotated

import typer


def import_(
    file: Annotated[Path, typer.Argument(help="Checkpoint (.pth) of the paper's training code.")],
    backbone: Annotated[
        str, typer.Option(help="Backbone whose weights it holds, as `facetry models` lists them.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Model folder to write.")],
    taxonomy: Annotated[
        Path | None, typer.Option(help="Taxonomy to give the model; default: the checkpoint's own.")
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Change a key of the model's recipe, such as backbone.tag=openai; may be repeated.",
        ),
    ] = None,
) -> None:
    """Convert a checkpoint into a model folder. No code in the file is executed.

    The file holds clip_model_state_dict, model_state_dict, model_config and dataset_info. Weights of a
    backbone alone need no import: set backbone.weights in a recipe to their file.
    """
    from facetry.build.importing import import_checkpoint
    from facetry.catalogue.values import read_taxonomy
    from facetry.cli.console import make_console, show_folder
    from facetry.models.folder import open_folder

    chosen = read_taxonomy(taxonomy) if taxonomy else None
    folder = import_checkpoint(file, backbone, out, taxonomy=chosen, overrides=set_ or ())
    console = make_console()
    show_folder(console, open_folder(folder))
    console.print(f"Model folder: {folder}")
