"""`facetry check`: everything that is wrong with a catalogue, at once."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from facetry.cli.options import CatalogueArgument, Images, Repairs, Safe

if TYPE_CHECKING:
    from rich.table import Table

    from facetry.catalogue.check import CheckReport, Problem

_MAX_MENDINGS = 5
"""How often `--fix` looks again at what it has mended."""


def check(
    catalogue: CatalogueArgument,
    images: Images = None,
    repairs: Repairs = None,
    taxonomy: Annotated[
        Path | None, typer.Option(help="Taxonomy file to check the table's values against.")
    ] = None,
    photos: Annotated[
        Literal["none", "exist", "open"],
        typer.Option(help="Check photos: not at all, that their files exist, or that each opens."),
    ] = "open",
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="CSV file to write all findings to.")
    ] = None,
    fix: Annotated[
        bool, typer.Option("--fix", help="Add the lines that mend spellings to catalogue.yaml.")
    ] = False,
    safe: Safe = False,
) -> None:
    """Report everything that is wrong with a catalogue. Exit code 2 if there are errors."""
    from facetry.catalogue.check import check_catalogue
    from facetry.catalogue.places import without_formulas
    from facetry.catalogue.values import read_taxonomy
    from facetry.cli.console import make_console, make_reporter
    from facetry.runtime.files import writing

    checked = partial(
        check_catalogue,
        catalogue,
        images=images,
        repairs=repairs,
        taxonomy=read_taxonomy(taxonomy) if taxonomy else None,
    )
    report = checked(photos=photos, reporter=make_reporter())
    console = make_console()
    if report.problems:
        console.print(_table(report.problems))
    console.print(_summary(report))
    if out:
        with writing(out) as draft:
            (without_formulas(report.findings) if safe else report.findings).write_csv(draft)
        console.print(f"{report.findings.height:,} findings written to {out}")
    latest = report
    for _ in range(_MAX_MENDINGS):
        if not _mend(catalogue, latest, fix=fix):
            break
        latest = checked(photos="none")
    if report.count("error"):
        raise typer.Exit(2)


def _mend(catalogue: Path, report: "CheckReport", *, fix: bool) -> bool:
    """Show the lines of catalogue.yaml that mend what was found, and with `fix` add them.

    Returns whether they were added: then the values are others, and more may look alike.
    """
    from facetry.catalogue.describe import CATALOGUE, changed_values, value_lines, with_values
    from facetry.cli.console import make_console
    from facetry.runtime.files import write_text

    if report.source is None or report.mended is None:
        return False
    changed = changed_values(report.source.values, report.mended)
    if not changed:
        return False
    file = catalogue / CATALOGUE if catalogue.is_dir() else catalogue
    console = make_console()
    console.print(f"Lines for {file if file.suffix == '.yaml' else CATALOGUE} that mend spellings:")
    console.print("\n".join(value_lines(changed)), markup=False, highlight=False, soft_wrap=True)
    if not fix:
        console.print("`facetry check --fix` adds them.")
    elif file.suffix not in {".yaml", ".yml"} or not file.exists():
        console.print(f"There is no {CATALOGUE} to add them to: facetry init {catalogue}")
    else:
        text = with_values(file.read_text(encoding="utf-8"), report.mended)
        write_text(file, text)
        console.print(f"Added to {file}.")
        return True
    return False


def _table(problems: "tuple[Problem, ...]") -> "Table":
    """The kinds of problems; below each one its first rows and what to do, for which lines are long."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    styles = {"error": "bold red", "warning": "yellow", "note": "dim"}
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("")
    table.add_column("how many", justify="right")
    table.add_column("what, and what to do")
    for problem in problems:
        todo = f"\n{_rows(problem)}{problem.advice}".rstrip()
        table.add_row(
            Text(problem.severity, styles[problem.severity]),
            f"{problem.count:,}",
            Text.assemble(problem.what, (todo, "dim")),
        )
    return table


def _rows(problem: "Problem") -> str:
    """The first rows that have a problem, if it is one of rows."""
    if not problem.rows:
        return ""
    end = ", ..." if len(problem.rows) < problem.count else "."
    return f"Row{'s' if problem.count > 1 else ''} {', '.join(map(str, problem.rows))}{end} "


def _summary(report: "CheckReport") -> str:
    """The catalogue's size, if it could be read, and the number of findings by severity."""
    counts = [f"{each}s: {report.count(each)}" for each in ("error", "warning", "note")]
    if report.summary is None:
        return ", ".join(counts).capitalize()
    summary = report.summary
    return (
        f"Products: {summary.num_products:,}, categories: {summary.num_categories}, "
        f"heads: {summary.num_heads}, labels: {summary.num_labels:,} of {summary.num_possible:,} "
        f"({summary.missing_share:.1%} missing)\n{', '.join(counts).capitalize()}"
    )
