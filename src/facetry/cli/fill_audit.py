"""`facetry fill-audit`: what people say about a sample of what was filled, and whether promises hold."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from facetry.cli.options import Images, ModelArgument

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import Console
    from rich.table import Table

    from facetry.confidence.fill_audit import FillAudit, Watched
    from facetry.confidence.stream import Watch
    from facetry.models.folder import ModelFolder


def fill_audit(
    model: ModelArgument,
    filled: Annotated[
        Path | None,
        typer.Argument(help="File that `facetry fill --precision` has written, to draw a sample of."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="SAMPLE", help="Sample for people to write: CSV or XLSX."),
    ] = None,
    catalogue: Annotated[
        Path | None,
        typer.Option(
            "--catalogue",
            "-c",
            help="Catalogue that was filled: it says where photos are, and aliases.",
        ),
    ] = None,
    images: Images = None,
    cells: Annotated[int, typer.Option(min=1, metavar="N", help="The most cells in the sample.")] = 1000,
    answers: Annotated[
        Path | None, typer.Option(metavar="SAMPLE", help="Read what people answered in a sample.")
    ] = None,
    who: Annotated[str, typer.Option(metavar="NAME", help="With --answers: who gave them.")] = "",
    repairs: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="With --answers: also append them to this repair file."),
    ] = None,
) -> None:
    """Ask people about some of the cells that were filled or left open, and withdraw false promises.

    With FILLED and --out a sample is drawn at random: a table with an empty column `answer`, which does
    not show what the model has said. With --answers it is read back. Without either, what is known of
    each promise is shown. A promise that too many answers contradict is withdrawn: the next
    `facetry fill --precision` leaves those cells to people, until the model is calibrated again.
    """
    from facetry.cli.console import make_console
    from facetry.errors import SettingError
    from facetry.models.folder import open_folder

    if (filled is None) != (out is None) or (filled and answers):
        raise SettingError(
            "A sample is drawn of a file and written to another; answers are read by themselves.",
            hint="facetry fill-audit MODEL FILLED --out SAMPLE.csv, "
            "then facetry fill-audit MODEL --answers SAMPLE.csv",
        )
    if answers is None and (who or repairs):
        raise SettingError("--who and --repairs are about answers.", hint="Name them with --answers.")
    console, folder = make_console(), open_folder(model)
    if filled and out:
        _draw(console, folder, filled, out, catalogue=catalogue or filled, images=images, most=cells)
        return
    if answers:
        _read(console, folder, answers, who=who, repairs=repairs, catalogue=catalogue)
    _show(console, folder)


def _draw(
    console: "Console",
    folder: "ModelFolder",
    filled: Path,
    out: Path,
    *,
    catalogue: Path,
    images: Path | None,
    most: int,
) -> None:
    """Draw a sample, write it, and remember what was drawn."""
    from facetry.batch.fill.sample import draw_cells, require_new_sample, to_sample, writing_sample
    from facetry.catalogue.catalogue import open_catalogue
    from facetry.confidence.fill_audit import FillAudit

    require_new_sample(out)
    opened = open_catalogue(catalogue, images=images, taxonomy=folder.taxonomy)
    opened.require_sound()
    opened.require_photos()
    drawn = draw_cells(folder, filled, most, opened)
    if drawn.num_gone:
        console.print(f"{drawn.num_gone:,} cells are of products that {catalogue} does not have.")
    if drawn.cells.is_empty():
        console.print(f"No cell of {filled} is left to ask about: all that are due were drawn before.")
        return
    with writing_sample(out, to_sample(drawn.cells, opened)):
        FillAudit.of(folder).add_drawn(drawn.cells)
    more = f"; {drawn.num_left:,} more are due" if drawn.num_left else ""
    console.print(f"{drawn.cells.height:,} cells to ask people about are in {out}{more}.")
    console.print(
        "They write into the column answer: a value, not applicable or not visible. Then: "
        f"facetry fill-audit {folder.path} --answers {out}"
    )


def _read(
    console: "Console",
    folder: "ModelFolder",
    file: Path,
    *,
    who: str,
    repairs: Path | None,
    catalogue: Path | None,
) -> None:
    """Read answers, store those that are new, and write them as repairs."""
    from facetry.catalogue.catalogue import open_catalogue
    from facetry.confidence.answers import read_answers, write_labels
    from facetry.confidence.fill_audit import FillAudit

    audit = FillAudit.of(folder)
    opened = open_catalogue(catalogue, taxonomy=folder.taxonomy) if catalogue else None
    found = read_answers(file, audit, who, opened)
    num_new = audit.add_answers(found.answers)
    console.print(
        f"{found.answers.height:,} answers in {file}, {num_new:,} of them new; "
        f"{found.num_blank:,} cells have none."
    )
    if repairs:
        num_labels = write_labels(repairs, FillAudit.of(folder), found.answers["cell"].to_list())
        console.print(f"{num_labels:,} labels that people gave were appended to {repairs}.")


def _show(console: "Console", folder: "ModelFolder") -> None:
    """What the answers say of each promise that people were asked about."""
    from facetry.confidence.calibration import stored_calibration
    from facetry.confidence.fill_audit import FillAudit, watch_promises
    from facetry.confidence.promises import make_promises

    audit, evidence = FillAudit.of(folder), stored_calibration(folder).evidence
    asked = audit.counted().select("precision", "is_simultaneous").unique()
    for precision, is_simultaneous in sorted(asked.iter_rows()):
        promises = make_promises(evidence, folder.taxonomy, precision, is_simultaneous=is_simultaneous)
        watched = watch_promises(promises, folder)
        console.print(f"Promises of {precision:g}{', all at once' if is_simultaneous else ''}:")
        console.print(_table(watched))
        for line in _withdrawn(watched):
            console.print(line)
    for line in _notes(audit):
        console.print(line)


def _table(watched: "Watched") -> "Table":
    """A row for each head that people were asked about, and for each pool of several heads."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("promise of", overflow="fold")
    for name in ("filled, right", "precision", "asked about", "left open, right", "promise"):
        table.add_column(name, justify="right")
    heads, withdrawn = watched.promises.taxonomy.heads, watched.withdrawn
    promised = {head for each in watched.promises.kept for head in each.pool.heads}
    for head, each in enumerate(watched.heads):
        num_open = watched.num_open[head]
        if each.num_answers or num_open:
            is_open = f"{watched.num_open_right[head]:,} of {num_open:,}" if num_open else ""
            state = "withdrawn" if head in withdrawn else "kept" if head in promised else "none"
            table.add_row(Text(heads[head].name), *_cells(each), is_open, state)
    for promise, each in zip(watched.promises.promises, watched.pools, strict=True):
        if len(promise.pool.heads) > 1 and each.num_answers:
            name = f"{promise.pool.name}, {len(promise.pool.heads)} heads together"
            table.add_row(Text(name), *_cells(each), "", "withdrawn" if each.alarm else "kept")
    return table


def _cells(watch: "Watch") -> tuple[str, ...]:
    """How many answers about filled cells are right, the bounds, and the share that is asked about."""
    share = f"{watch.share:.1%}"
    if not watch.num_answers:
        return "", "", share
    bounds = f"{watch.bounds.lower:.3f} to {watch.bounds.upper:.3f}"
    return f"{watch.num_right:,} of {watch.num_answers:,}", bounds, share


def _withdrawn(watched: "Watched") -> "Iterator[str]":
    """A sentence on each promise that the answers have shown to be false."""
    target, heads = watched.promises.target, watched.promises.taxonomy.heads
    names = [each.name for each in heads] + [each.pool.name for each in watched.promises.promises]
    by_name = dict(zip(names, (*watched.heads, *watched.pools), strict=True))
    for name, each in by_name.items():
        if each.alarm:
            yield (
                f"{name}: the promise of {target:g} was withdrawn after {each.alarm:,} answers; "
                f"{each.num_right:,} of {each.num_answers:,} filled values are right."
            )
    if watched.withdrawn:
        yield (
            f"facetry fill --precision {target:g} leaves these to people until the model is calibrated "
            "again, on newer labels: facetry calibrate MODEL TABLE."
        )


def _notes(audit: "FillAudit") -> "Iterator[str]":
    """What the tables do not show."""
    num_counted, num_earlier = audit.counted().height, audit.num_earlier
    num_waiting = audit.drawn["cell"].n_unique() - num_counted - num_earlier
    if not num_counted:
        yield "There are no answers yet about the model as it is calibrated now."
    if num_earlier:
        yield (
            f"{num_earlier:,} answers from before it was calibrated again are kept, but do not count: "
            "each promise is watched anew."
        )
    if num_waiting:
        yield f"{num_waiting:,} cells that were drawn have no answer."
