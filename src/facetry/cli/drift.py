"""`facetry drift`: compare a new batch of products with those that a model was made for."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from facetry.cli.options import Engine, Images, ModelArgument, Threads, engine_config

if TYPE_CHECKING:
    from rich.console import Console

    from facetry.confidence.drift.result import Drift
    from facetry.confidence.drift.sample import Sample
    from facetry.models.folder import ModelFolder
    from facetry.predictions import Predictor
    from facetry.runtime.progress import Reporter


def drift(
    model: ModelArgument,
    catalogue: Annotated[
        Path,
        typer.Argument(metavar="TABLE", help="The batch: a table, or a catalogue's folder or file."),
    ],
    images: Images = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="FILE", help="Write an HTML report here.")
    ] = None,
    reference: Annotated[
        Path | None,
        typer.Option(
            help="Compare with this catalogue, whose photos are then shown; products that the model was "
            "trained on are left out. Default: what the model's folder keeps of its own catalogue."
        ),
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Exit with code 1 if there is drift, for nightly runs.")
    ] = False,
    engine: Engine = "auto",
    threads: Threads = None,
) -> None:
    """Say what has moved in a batch: predicted values, confidence, features, photo quality.

    A random sample of up to 2,000 products is compared with products that the model was not trained
    on, within each category. What moved is ranked by effect size; only what is surely above a threshold
    is called drift, however large the batch is.
    """
    from facetry.build.load import load
    from facetry.catalogue.catalogue import open_catalogue
    from facetry.cli.console import make_console, make_reporter
    from facetry.confidence.drift.compare import compare
    from facetry.confidence.drift.reference import read_reference
    from facetry.confidence.drift.sample import draw_products, measure
    from facetry.models.folder import open_folder
    from facetry.runtime.extras import require

    require("Comparing batches", "sklearn")
    console, reporter = make_console(), make_reporter()
    folder = open_folder(model)
    opened = open_catalogue(catalogue, images=images, taxonomy=folder.taxonomy)
    opened.require_sound()
    opened.require_photos()
    old = None if reference else read_reference(folder)
    predictor = load(folder, engine_config(engine, "auto", threads), reporter=reporter)
    if old is None:
        assert reference is not None
        old = _measure_reference(folder, predictor, reference, reporter)
    products = draw_products(opened)
    facts = {"Model": model.name, "Batch": _described(len(products), opened.num_rows(), catalogue)}
    new = measure(predictor, products, reporter=reporter, description="Batch")
    found = compare(old, new)
    _show(console, found, facts)
    if out:
        from facetry.confidence.drift.report import write_page

        write_page(out, f"{catalogue.resolve().name} against {model.resolve().name}", found, facts)
        console.print(f"Report: {out}")
    if check and found.drifted:
        raise typer.Exit(1)


def _measure_reference(
    folder: "ModelFolder", predictor: "Predictor", path: Path, reporter: "Reporter"
) -> "Sample":
    """Measure a catalogue to compare with; a model without one that can be read keeps it from now on."""
    from facetry.catalogue.catalogue import open_catalogue
    from facetry.confidence.drift.reference import measure_reference, read_reference, save_reference
    from facetry.errors import DriftReferenceError
    from facetry.models.folder import DRIFT

    catalogue = open_catalogue(path, taxonomy=folder.taxonomy)
    catalogue.require_sound()
    catalogue.require_photos()
    sample = measure_reference(predictor, folder, catalogue, reporter)
    try:
        read_reference(folder)
    except DriftReferenceError:  # none, or one that is damaged or of another calibration
        save_reference(folder, sample)
        reporter.say(f"Kept in {folder.path / DRIFT}: --reference is needed for its photos only.")
    return sample


def _described(num_drawn: int, num_rows: int, table: Path) -> str:
    """Which products of the table are compared."""
    if num_drawn == num_rows:
        return f"{table.name}, {num_rows:,} products"
    return f"{table.name}, {num_drawn:,} products at random of {num_rows:,}"


def _show(console: "Console", found: "Drift", facts: dict[str, str]) -> None:
    """Print what moved, and what was left out."""
    from facetry.confidence.drift.report import drift_table, remarks, summary

    kept = ", ".join(found.old.facts.values())
    console.print(f"Batch: {facts['Batch']}. Reference: {kept or f'{len(found.old):,} products'}.")
    console.print(drift_table(found))
    for line in remarks(found):
        console.print(line)
    console.print(summary(found))
