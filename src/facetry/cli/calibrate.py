"""`facetry calibrate`: how sure a model may be, and what it can promise."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from facetry.cli.options import Images, ModelArgument, Repairs, Simultaneous

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.table import Table

    from facetry.build.calibrate import Calibrated
    from facetry.models.folder import ModelFolder


def calibrate(
    model: ModelArgument,
    catalogue: Annotated[
        Path | None,
        typer.Argument(
            help="Catalogue that the model was trained with, or another one with labels; "
            "without it, what the model promises is shown."
        ),
    ] = None,
    images: Images = None,
    repairs: Repairs = None,
    precision: Annotated[
        float, typer.Option(metavar="SHARE", help="The precision to promise, such as 0.9.")
    ] = 0.95,
    simultaneous: Simultaneous = False,
    cross_fit: Annotated[
        bool,
        typer.Option(
            "--cross-fit",
            help="Use all products that it was trained on, by heads trained without each; "
            "for frozen backbones.",
        ),
    ] = False,
    audit: Annotated[
        Path | None,
        typer.Option(
            exists=True, metavar="FOLDER", help="An audit of wrong labels: no precision is above theirs."
        ),
    ] = None,
    report: Annotated[Path | None, typer.Option(help="Also write an HTML report here.")] = None,
) -> None:
    """Calibrate a model on labels that it has not learned from, and show what it can promise.

    On the catalogue that it was trained with, these are the labels of the calibration part of its split;
    of another catalogue all labels are used, which may hold no product that it was trained on.
    """
    from dataclasses import replace

    from facetry.audit.folder import label_noise
    from facetry.build.calibrate import calibrate_model
    from facetry.catalogue.catalogue import open_catalogue
    from facetry.cli.console import make_console, make_reporter
    from facetry.cli.promises import promises_table
    from facetry.confidence.calibration import stored_calibration
    from facetry.confidence.fill_audit import FillAudit, withdraw
    from facetry.confidence.page import write_calibration_page
    from facetry.confidence.promises import make_promises, require_precision
    from facetry.errors import SettingError
    from facetry.models.folder import open_folder
    from facetry.runtime.extras import require

    if report:
        require("A report", "matplotlib")
    require_precision(precision)
    console, folder = make_console(), open_folder(model)
    noise = label_noise(audit, folder.taxonomy) if audit else {}
    found = None
    if catalogue is not None:
        opened = open_catalogue(catalogue, images=images, repairs=repairs, taxonomy=folder.taxonomy)
        found = calibrate_model(folder, opened, is_cross_fit=cross_fit, reporter=make_reporter())
    elif cross_fit or report or images or repairs:
        raise SettingError(
            "--cross-fit, --report, --images and --repairs are about a catalogue.",
            hint="Name it after the model.",
        )
    calibration = found.calibration if found else stored_calibration(folder)
    promises = make_promises(
        calibration.evidence, folder.taxonomy, precision, is_simultaneous=simultaneous
    )
    promises = replace(withdraw(promises, folder), label_noise=noise)
    for name, fact in calibration.facts.items():
        console.print(f"{name.capitalize()}: {fact}")
    if found:
        console.print(_scores_table(found))
    console.print(promises_table(promises))
    if found and report:
        facts = {"model": folder.path.resolve().name, **calibration.facts}
        write_calibration_page(report, promises, (found.before, found.after), found.blanks, facts)
        console.print(f"Report: {report}")
    for line in (promises.counts(), *promises.sentences(), *_warnings(found, folder)):
        console.print(line)
    if found and (num_earlier := FillAudit.of(folder).num_earlier):
        console.print(
            f"{num_earlier:,} earlier answers of the fill audit do not count any more: it begins anew."
        )


def _scores_table(found: "Calibrated") -> "Table":
    """What calibration changes: likelihood, Brier score, calibration error, and mean confidence."""
    from rich import box
    from rich.table import Table

    from facetry.confidence.mapping import summarise

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("probabilities", "NLL", "Brier", "calibration error", "confidence", "right"):
        table.add_column(name, justify="left" if name == "probabilities" else "right")
    for name, cells in (("before", found.before), ("after", found.after)):
        scores = summarise(cells)
        table.add_row(name, *(f"{figure:.3f}" for figure in scores))
    return table


def _warnings(found: "Calibrated | None", folder: "ModelFolder") -> "Iterator[str]":
    """Heads whose blank products are unlike the labelled ones that promises are based on."""
    from facetry.confidence.selection import MAX_AUC

    for each in found.blanks if found else ():
        if each.is_warning:
            name = folder.taxonomy.heads[each.head].name
            yield (
                f"{name}: blank products are unlike labelled ones (told apart with an AUC of "
                f"{each.auc:.2f}, above {MAX_AUC}), so that its promise may not hold for them."
            )
