"""`facetry search`: find the products most similar to a photo, or add products to the index."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.table import Table

    from facetry.models.folder import ModelFolder
    from facetry.predictors.search.explain import Explanation


def search(
    model: Annotated[Path, typer.Argument(help="Model folder of a similarity search.")],
    photo: Annotated[Path | None, typer.Argument(help="Photo to search for.")] = None,
    category: Annotated[
        str | None, typer.Option(help="The photo's category; without it all are searched.")
    ] = None,
    top: Annotated[int, typer.Option(min=1, help="How many products to show.")] = 15,
    html: Annotated[
        Path | None, typer.Option(help="Also write a page with the photos of the results here.")
    ] = None,
    add: Annotated[
        Path | None,
        typer.Option(help="In place of a photo: a table of products to add to the index."),
    ] = None,
    images: Annotated[
        Path | None, typer.Option(help="With --add: photo folder, if not next to the table.")
    ] = None,
) -> None:
    """Show the products most similar to a photo with their labels, or add products to the index."""
    from facetry.predictors.search.build import require_index

    if (photo is None) == (add is None):
        raise typer.BadParameter("name either a photo, or with --add products to add to the index.")
    folder = require_index(model)
    if add is not None:
        _add(folder, add, images)
    elif photo is not None:
        _show_nearest(folder, photo, category, top, html)


def _show_nearest(
    folder: "ModelFolder", photo: Path, category: str | None, top: int, html: Path | None
) -> None:
    from facetry.cli.console import make_console
    from facetry.predictors.search.explain import explain, write_page
    from facetry.predictors.search.predictor import load_search

    searcher = load_search(folder)
    explanation = explain(searcher, photo, category, num_nearest=top)
    console = make_console()
    console.print(_nearest_table(explanation))
    if explanation.answers:
        console.print(_votes_table(explanation))
    if html:
        facts = {"Model": str(folder.path), "Indexed products": f"{len(searcher.collection):,}"}
        write_page(html, explanation, facts)
        console.print(f"Page: {html}")


def _add(folder: "ModelFolder", table: Path, images: Path | None) -> None:
    from facetry.catalogue.catalogue import open_catalogue
    from facetry.cli.console import make_console, make_reporter
    from facetry.predictors.search.build import append

    opened = open_catalogue(table, images=images, taxonomy=folder.taxonomy)
    opened.require_sound()
    opened.require_photos()
    appended = append(folder, opened.products(), reporter=make_reporter())
    console = make_console()
    num_left = appended.left_out.total()
    console.print(f"{appended.num_added:,} products added to {folder.path}, {num_left:,} left out.")
    for reason, count in appended.left_out.most_common():
        console.print(f"  {count:>8,}  {reason}")
    if appended.num_added:
        console.print(
            "The model's scores and model card are still those of the index before the addition."
        )


def _nearest_table(explanation: "Explanation") -> "Table":
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in ("", "product", "category", "distance", "labels"):
        table.add_column(column, justify="right" if column in {"", "distance"} else "left")
    for rank, each in enumerate(explanation.neighbours, start=1):
        labels = ", ".join(f"{attribute}: {value}" for attribute, value in each.labels.items())
        row = (str(rank), str(each.id), each.category, f"{each.distance:.4f}", labels)
        table.add_row(*map(Text, row))
    return table


def _votes_table(explanation: "Explanation") -> "Table":
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, caption=explanation.rule)
    for column in ("attribute", "answer", "probability", "votes"):
        table.add_column(column, justify="right" if column in {"probability", "votes"} else "left")
    for each in explanation.answers:
        votes = f"{each.num_votes} of {each.num_voters}"
        table.add_row(*map(Text, (each.attribute, each.value, f"{each.probability:.3f}", votes)))
    return table
