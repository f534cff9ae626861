"""Options that several commands have, said once."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from facetry.engines.engine import EngineConfig

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
Engine = Annotated[
    Literal["auto", "torch", "openvino", "onnxruntime"],
    typer.Option(help="What computes the network; auto takes what suits model and machine."),
]
Precision = Annotated[
    Literal["auto", "fp32", "bf16", "fp16", "int8"],
    typer.Option(help="The numbers to compute in; int8 needs an export of that kind."),
]
Threads = Annotated[
    int | None, typer.Option(min=1, help="Threads of the engine on the CPU; every core if left out.")
]
Compile = Annotated[
    bool, typer.Option("--compile", help="With torch: compile the network first, for long tables.")
]


def engine_config(
    engine: Engine, precision: Precision, threads: Threads = None, compile_: Compile = False
) -> "EngineConfig":
    """What the four options of engines say together."""
    from facetry.engines.engine import EngineConfig

    return EngineConfig(name=engine, precision=precision, num_threads=threads, compile=compile_)
