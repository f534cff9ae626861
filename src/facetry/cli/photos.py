"""`facetry photos`: download the photos that a table names by addresses."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from facetry.catalogue.download import DownloadSummary


def photos(
    table: Annotated[Path, typer.Argument(help="Table, catalogue.yaml, or a folder with one.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the photos, or to resume.")],
    column: Annotated[
        list[str] | None,
        typer.Option(
            metavar="COLUMN", help="Column with addresses; may be repeated; found if not given."
        ),
    ] = None,
    id_column: Annotated[
        str | None,
        typer.Option(
            "--id", metavar="COLUMN", help="Column with the products' ids, by which files are named."
        ),
    ] = None,
    at_once: Annotated[int, typer.Option(min=1, help="Downloads at one time.")] = 16,
    per_host: Annotated[int, typer.Option(min=1, help="Downloads from one host at one time.")] = 4,
    max_mib: Annotated[int, typer.Option(min=1, help="Largest photo, in MiB.")] = 64,
    timeout: Annotated[int, typer.Option(min=1, help="Seconds for one try at one photo.")] = 120,
    tries: Annotated[int, typer.Option(min=1, help="Tries for each photo.")] = 4,
) -> None:
    """Download the photos whose addresses are in a table; run again, it fetches what is missing.

    What cannot be downloaded is listed with the reason in failed.csv; the exit code is then 1.
    """
    from facetry.catalogue.addresses import find_addresses
    from facetry.catalogue.describe import relative_path
    from facetry.catalogue.download import Limits, download
    from facetry.catalogue.source import find_source
    from facetry.cli.console import make_console, make_reporter

    found = find_addresses(find_source(table), columns=column or (), id_column=id_column)
    limits = Limits(
        num_at_once=at_once,
        num_per_host=per_host,
        max_bytes=max_mib * 2**20,
        timeout_s=timeout,
        num_tries=tries,
    )
    summary = download(
        found.photos(), out, total=found.num_photos, limits=limits, reporter=make_reporter()
    )
    console = make_console()
    _show(console, summary, out)
    console.print("To have them read, put into catalogue.yaml:")
    console.print(f"images: {relative_path(out, table if table.is_dir() else table.parent)}")
    console.print(f'photo_pattern: "{found.pattern}"')
    if summary.failures:
        raise typer.Exit(1)


def _show(console: "Console", summary: "DownloadSummary", out: Path) -> None:
    """How many photos were downloaded, and why others were not."""
    from collections import Counter

    from facetry.catalogue.download import FAILED

    num_failed = len(summary.failures)
    console.print(
        f"{summary.num_fetched:,} photos downloaded, {summary.num_there:,} there already, "
        f"{num_failed:,} failed."
    )
    for reason, count in Counter(each.reason for each in summary.failures).most_common():
        console.print(f"  {count:>8,}  {reason}")
    if num_failed:
        console.print(f"Listed in {out / FAILED}; the same command tries them again.")
