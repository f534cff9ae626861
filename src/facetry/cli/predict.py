"""`facetry predict`: fill in a table."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from facetry.cli.options import Images


def predict(
    model: Annotated[Path, typer.Argument(help="Model folder.")],
    table: Annotated[Path, typer.Argument(help="Table with ids and categories, or catalogue.yaml.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to write.")],
    images: Images = None,
    table_format: Annotated[
        Literal["parquet", "csv"], typer.Option("--format", help="Form of the long table.")
    ] = "parquet",
    fill: Annotated[
        str, typer.Option(help="What the submission holds where a category has no such attribute.")
    ] = "dummy_value",
) -> None:
    """Predict every product of a table: predictions, submission.csv and problems.csv."""
    from facetry.batch.local import predict_table
    from facetry.build import load
    from facetry.catalogue.catalogue import open_catalogue
    from facetry.cli.console import make_console, make_reporter
    from facetry.errors import CatalogueError

    if table.is_dir():
        raise CatalogueError(
            f"{str(table)!r} is a folder.", hint=f"Name the table, e.g. {table / 'test.csv'}."
        )
    predictor = load(model)
    opened = open_catalogue(table, images=images, taxonomy=predictor.taxonomy)
    opened.require_photos()
    summary = predict_table(
        predictor, opened, out, table_format=table_format, fill=fill, reporter=make_reporter()
    )
    console = make_console()
    num_problems = summary.problems.total()
    console.print(f"{summary.num_products - num_problems:,} products predicted, {num_problems:,} not.")
    for problem, count in summary.problems.most_common():
        console.print(f"  {count:>8,}  {problem}")
    console.print(f"Written to {out}: predictions.{table_format}, submission.csv, problems.csv")
