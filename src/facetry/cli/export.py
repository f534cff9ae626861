"""`facetry export`: convert a trained model for another runtime."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from facetry.cli.options import CatalogueOption, Images, ModelArgument


def export(
    model: ModelArgument,
    runtime: Annotated[Literal["openvino", "onnx"], typer.Option("--to", help="Runtime to export for.")],
    catalogue: CatalogueOption,
    images: Images = None,
    int8: Annotated[
        bool, typer.Option("--int8", help="Quantise: smaller, faster where the CPU has VNNI or AMX.")
    ] = False,
    photos: Annotated[
        int, typer.Option(min=200, help="Held-out products to compare model and export on.")
    ] = 500,
    calibration: Annotated[
        int, typer.Option(min=1, help="Training products whose photos --int8 is calibrated with.")
    ] = 300,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", help="Write a model folder with the export but without the original weights."
        ),
    ] = None,
) -> None:
    """Export a model for OpenVINO or ONNX Runtime, if its predictions match the model's."""
    from facetry.build.load import load_plain
    from facetry.catalogue.catalogue import open_catalogue
    from facetry.cli.console import make_console, make_reporter
    from facetry.engines.export import ExportConfig, ExportJob, export_model
    from facetry.engines.parity import parity_table
    from facetry.models.folder import open_folder

    folder = open_folder(model)
    config = ExportConfig(runtime=runtime, int8=int8, num_photos=photos, num_calibration=calibration)
    opened = open_catalogue(catalogue, images=images, taxonomy=folder.taxonomy)
    console = make_console()
    job = ExportJob(folder=folder, catalogue=opened, config=config, out=out)
    export_model(
        job,
        load_plain,
        show=lambda rows: console.print(parity_table(rows, is_int8=int8)),
        reporter=make_reporter(),
    )
    for path in job.export_folders:
        size = sum(each.stat().st_size for each in path.iterdir())
        console.print(f"Export: {path} ({size / 1e6:,.1f} MB)")
    if out:
        console.print(f"Written to {out}")
