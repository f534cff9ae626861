"""`facetry init`: describe a shop's own table in a catalogue.yaml."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    import polars as pl
    from rich.table import Table

    from facetry.catalogue.guess import Guess
    from facetry.catalogue.source import Source


def init(
    table: Annotated[
        Path, typer.Argument(help="CSV or other text, XLSX, XLS, ODS, JSON lines or Parquet file.")
    ],
    images: Annotated[
        Path | None, typer.Option(help="Photo folder; found next to the table if not given.")
    ] = None,
    sheet: Annotated[str | None, typer.Option(help="Sheet of a spreadsheet; default: first.")] = None,
    category: Annotated[
        str | None, typer.Option(help="The category of all products, if no column says it.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Take every guess and ask nothing.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace a catalogue.yaml.")] = False,
) -> None:
    """Guess what the columns of TABLE hold, show it, and write catalogue.yaml next to it."""
    from facetry.catalogue.catalogue import assemble
    from facetry.catalogue.describe import CATALOGUE, catalogue_yaml
    from facetry.catalogue.guess import guess_columns
    from facetry.catalogue.guess_photos import count_photos
    from facetry.cli.console import make_console
    from facetry.runtime.files import write_text

    console = make_console()
    out = table.parent / CATALOGUE
    _require_new(out, force=force)
    source = _opened(table, sheet)
    guess = guess_columns(source)
    console.print(_shown(guess))
    if _asks(yes=yes):
        guess = _corrected(guess)
    source = _completed(source, guess, images, _one_category(guess, category, yes=yes))
    photos = count_photos(assemble(source, None, is_closed=False))
    found = f"{photos.num_found:,} of {photos.num_products:,} products have a photo"
    console.print(f"{found} in {source.images}." if source.images else "There is no photo folder.")
    for id_, path in photos.missing:
        console.print(f"  not found: {path} (of {id_})")
    write_text(out, catalogue_yaml(source, guess, base=out.parent, photos=found))
    console.print(f"Written: {out}. Next: facetry check {out.parent}")


def _require_new(out: Path, *, force: bool) -> None:
    from facetry.errors import CatalogueError

    if out.exists() and not force:
        raise CatalogueError(
            f"{out} exists already.",
            hint="Edit it, or write it anew with --force; what was changed by hand is lost then.",
        )


def _opened(table: Path, sheet: str | None) -> "Source":
    """The source of a table file, with an attribute list that lies next to it."""
    from facetry.catalogue.source import find_source

    return find_source(table).model_copy(update={"sheet": sheet})


def _asks(*, yes: bool) -> bool:
    """Whether there is somebody to ask."""
    import sys

    return not yes and sys.stdin.isatty() and sys.stdout.isatty()


def _one_category(guess: "Guess", category: str | None, *, yes: bool) -> str | None:
    """The category of a shop that has only one; asked for if no column holds categories."""
    from facetry.catalogue.guess import CATEGORY
    from facetry.errors import CatalogueError

    if category or guess.of_role(CATEGORY):
        return category
    if not _asks(yes=yes):
        raise CatalogueError(
            "No column seems to hold the products' categories.",
            hint="If all products are of one, name it: --category T-Shirts",
        )
    return str(typer.prompt("No column holds categories. Which one are all products of?"))


def _completed(source: "Source", guess: "Guess", images: Path | None, category: str | None) -> "Source":
    """The source with the columns of the guess and with its photos."""
    from facetry.catalogue.guess_photos import with_photos
    from facetry.catalogue.pasted_photos import PATTERN
    from facetry.catalogue.scan import collect, scan
    from facetry.catalogue.source import Source
    from facetry.catalogue.table import find_layout, tidy

    changed = {"columns": guess.source_columns(category), "images": images or source.images}
    source = Source.model_validate({**source.model_dump(), **changed})
    raw = scan(source)
    names = raw.collect_schema().names()
    layout = find_layout(names, source.columns, None, values=source.values)
    frame = tidy(raw, layout, source.table).select("row", "id", "photo", "category")
    rows = collect(frame, source.table).drop_nulls("id")
    if source.columns.photo is None and (folder := _take_out(source, rows, images)):
        return source.model_copy(update={"images": folder, "photo_pattern": PATTERN})
    return with_photos(source, rows.select("id", "photo", "category").rows(), images)


def _take_out(source: "Source", rows: "pl.DataFrame", images: Path | None) -> Path | None:
    """Write the photos that were pasted into an XLSX to files; their folder, None if there are none."""
    from facetry.catalogue.pasted_photos import find_pasted, write_pasted

    if source.table.suffix.lower() not in {".xlsx", ".xlsm"}:
        return None
    found = find_pasted(source.table, source.sheet)
    ids = dict(rows.select("row", "id").iter_rows())
    if not ids.keys() & found.keys():
        return None
    folder = images or source.table.parent / "photos"
    count = write_pasted(found, ids, folder)
    typer.echo(f"Photos of {count:,} products were taken out of {source.table.name} into {folder}.")
    return folder


def _shown(guess: "Guess") -> "Table":
    """What each column is taken for, and why."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("column", "is the", "because", "examples"):
        table.add_column(name)
    for name, (role, reason) in guess.roles.items():
        style = "dim" if role == "nothing" else ""
        examples = ", ".join(guess.by_name[name].examples)
        table.add_row(Text(name, style), Text(role, style), Text(reason, style), Text(examples, style))
    return table


def _corrected(guess: "Guess") -> "Guess":
    """The guess with what a person at the terminal corrects."""
    from dataclasses import replace

    from facetry.catalogue.guess import ROLES

    roles = dict(guess.roles)
    while name := typer.prompt(
        "Column to correct (Enter: all is right)", default="", show_default=False
    ):
        if name not in roles:
            typer.echo(f"There is no column {name!r}.")
            continue
        role = typer.prompt(f"{name!r} is the ({', '.join(ROLES)})")
        if role in ROLES:
            single = {"id", "category", "photo", "title", "page"}
            if role in single:
                roles = {k: ("nothing", "") if r == role else (r, why) for k, (r, why) in roles.items()}
            roles[name] = (role, "as you said")
        else:
            typer.echo(f"{role!r} is none of {', '.join(ROLES)}.")
    return replace(guess, roles=roles)
