"""`facetry audit`: what is likely wrong with a catalogue's labels and photos."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from facetry.cli.options import CatalogueArgument, Changes, Images, Repairs, Safe

if TYPE_CHECKING:
    from rich.table import Table


def audit(
    catalogue: CatalogueArgument,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to write; it must not exist yet.")],
    images: Images = None,
    repairs: Repairs = None,
    features: Annotated[
        Path | None,
        typer.Option(help="Model folder or recipe whose backbone also looks for wrong labels."),
    ] = None,
    set_: Changes = None,
    min_examples: Annotated[
        int, typer.Option(min=1, help="A value with fewer products is called rare.")
    ] = 10,
    seed: Annotated[
        int, typer.Option(min=0, max=2**32 - 1, help="The same seed writes the same files.")
    ] = 0,
    safe: Safe = False,
) -> None:
    """Write a report, all figures and all findings. If it was stopped, the same command resumes."""
    import json

    from facetry.audit.config import AuditConfig
    from facetry.audit.run import FIGURES, FINDINGS, REPORT, audit_catalogue
    from facetry.catalogue.catalogue import open_catalogue
    from facetry.cli.console import make_console, make_reporter

    console = make_console()
    config = AuditConfig(
        features=features, changes=tuple(set_ or ()), min_examples=min_examples, seed=seed, safe=safe
    )
    folder = audit_catalogue(
        open_catalogue(catalogue, images=images, repairs=repairs),
        out,
        config,
        reporter=make_reporter(),
    )
    figures = json.loads((folder / FIGURES).read_text(encoding="utf-8"))
    console.print(_table(figures["findings"]))
    console.print(
        f"Products: {figures['num_products']:,}, labels: {figures['num_labels']:,} "
        f"({figures['missing_share']:.1%} missing)"
    )
    if figures["photos"] is None:
        console.print("There is no photo folder: only labels were audited. Name it with --images.")
    console.print(f"Every finding: {folder / FINDINGS}.csv")
    console.print(f"Report: {folder / REPORT}")


def _table(findings: dict[str, dict[str, int]]) -> "Table":
    """The number of findings of each kind, the most severe first."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from facetry.audit.findings import KINDS

    styles = {"error": "bold red", "warning": "yellow", "note": "dim"}
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("")
    table.add_column("what", no_wrap=True)
    table.add_column("findings", justify="right")
    table.add_column("products", justify="right")
    for kind in KINDS:
        if counts := findings.get(kind.name):
            table.add_row(
                Text(kind.severity, styles[kind.severity]),
                kind.name,
                f"{counts['num_findings']:,}",
                f"{counts['num_products']:,}" if counts["num_products"] else "",
            )
    return table
