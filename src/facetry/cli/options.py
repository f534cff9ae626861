"""Options that several commands have, said once."""

from pathlib import Path
from typing import Annotated

import typer

CatalogueOption = Annotated[
    Path, typer.Option("--catalogue", "-c", help="Challenge folder, table or catalogue.yaml.")
]
CatalogueArgument = Annotated[Path, typer.Argument(help="Challenge folder, table or catalogue.yaml.")]
Images = Annotated[Path | None, typer.Option(help="Photo folder, if not beside the table.")]
Repairs = Annotated[Path | None, typer.Option(help="Repair file: corrections of labels to apply.")]
SplitFile = Annotated[
    Path | None, typer.Option(help="A saved split or folds to use, as `facetry split` writes.")
]
Fold = Annotated[int | None, typer.Option(min=0, help="Of saved folds, the one to test on.")]
Changes = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change a key of the recipe; may be repeated."),
]
OutFolder = Annotated[Path, typer.Option("--out", "-o", help="Folder to write, or to go on in.")]
