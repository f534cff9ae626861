"""Options that several commands share."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from facetry.engines.engine import EngineConfig

CatalogueOption = Annotated[
    Path, typer.Option("--catalogue", "-c", help="Challenge folder, table or catalogue.yaml.")
]
CatalogueArgument = Annotated[Path, typer.Argument(help="Challenge folder, table or catalogue.yaml.")]
Images = Annotated[Path | None, typer.Option(help="Photo folder, if not next to the table.")]
Repairs = Annotated[Path | None, typer.Option(help="Repair file: corrections of labels to apply.")]
SplitFile = Annotated[
    Path | None, typer.Option(help="A saved split or folds to use, as written by `facetry split`.")
]
Fold = Annotated[int | None, typer.Option(min=0, help="With saved folds: the one to test on.")]
Changes = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change a key of the recipe; may be repeated."),
]
OutFolder = Annotated[Path, typer.Option("--out", "-o", help="Folder to write, or to resume.")]
Engine = Annotated[
    Literal["auto", "torch", "openvino", "onnxruntime"],
    typer.Option(help="Runtime that computes the network; auto picks one for model and machine."),
]
Precision = Annotated[
    Literal["auto", "fp32", "bf16", "fp16", "int8"],
    typer.Option(help="Number format to compute in; int8 needs an int8 export."),
]
Threads = Annotated[
    int | None, typer.Option(min=1, help="CPU threads of the engine; default: one for each core.")
]
Compile = Annotated[
    bool,
    typer.Option("--compile", help="With torch: compile the network first; pays off on long tables."),
]


def engine_config(
    engine: Engine, precision: Precision, threads: Threads = None, compile_: Compile = False
) -> "EngineConfig":
    """The configuration made of the four options for engines."""
    from facetry.engines.engine import EngineConfig

    return EngineConfig(name=engine, precision=precision, num_threads=threads, compile=compile_)
