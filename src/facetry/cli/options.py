"""Options that several commands share."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from facetry.engines.engine import EngineConfig

_CATALOGUE = "Catalogue: its folder, its catalogue.yaml, or a table."
CatalogueOption = Annotated[Path, typer.Option("--catalogue", "-c", help=_CATALOGUE)]
CatalogueArgument = Annotated[Path, typer.Argument(help=_CATALOGUE)]
ModelArgument = Annotated[Path, typer.Argument(help="Model folder.")]
RecipeArgument = Annotated[
    Path, typer.Argument(help="Recipe: a YAML file, or a shipped one by its name: mobilenetv2_frozen.")
]
Weights = Annotated[
    Path | None,
    typer.Option(
        exists=True,
        metavar="FILE",
        help="The backbone's pretrained weights, where there is no hub: a file or a model folder.",
    ),
]
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
Safe = Annotated[
    bool,
    typer.Option("--safe", help="Put an apostrophe before texts in CSV files that look like formulas."),
]
OutFolder = Annotated[Path, typer.Option("--out", "-o", help="Folder to write, or to resume.")]
Engine = Annotated[
    Literal["auto", "torch", "openvino", "onnxruntime"],
    typer.Option(help="Runtime that computes the network; auto picks one for model and machine."),
]
Dtype = Annotated[
    Literal["auto", "fp32", "bf16", "fp16", "int8"],
    typer.Option(help="Number format to compute in; int8 needs an int8 export."),
]
Promised = Annotated[
    float | None,
    typer.Option(
        "--precision",
        metavar="SHARE",
        help="Fill only cells that are right at this precision, such as 0.95; say what to do with each.",
    ),
]
Simultaneous = Annotated[
    bool,
    typer.Option("--simultaneous", help="With --precision: all promises hold at once, not each."),
]
Threads = Annotated[
    int | None, typer.Option(min=1, help="CPU threads of the engine; default: one for each core.")
]
Compile = Annotated[
    bool,
    typer.Option("--compile", help="With torch: compile the network first; pays off on long tables."),
]

On = Annotated[
    str | None,
    typer.Option(
        "--on",
        metavar="CLUSTER",
        help="Work on Ray: `ray` for this machine, or the HOST:PORT of a cluster that it belongs to.",
    ),
]
Workers = Annotated[
    int | None,
    typer.Option("--workers", min=1, help="With --on: worker processes; default: as many as fit."),
]
GpusPerWorker = Annotated[
    float,
    typer.Option("--gpus-per-worker", min=0, help="With --on: GPUs of a worker; 0.5 for half a one."),
]


def refuse_swapped(command: str, options: Mapping[str, object]) -> None:
    """Refuse a catalogue in the place of the model, and the model in the catalogue's.

    Raises:
        SettingError: two arguments are in each other's place; says the right command.
    """
    from facetry.errors import SettingError

    model, catalogue = options.get("model"), options.get("catalogue")
    if not isinstance(model, Path) or not isinstance(catalogue, Path):
        return
    if _is_model_folder(catalogue) and model.exists() and not _is_model_folder(model):
        raise SettingError(
            f"{catalogue} is a model folder and {model} is not: the arguments are swapped.",
            hint=f"Name the model first: facetry {command} {catalogue} {model}",
        )


def _is_model_folder(path: Path) -> bool:
    return (path / "checksums.json").is_file()


def engine_config(
    engine: Engine, dtype: Dtype, threads: Threads = None, compile_: Compile = False
) -> "EngineConfig":
    """The configuration made of the four options for engines."""
    from facetry.engines.engine import EngineConfig

    return EngineConfig(name=engine, precision=dtype, num_threads=threads, compile=compile_)
