"""`facetry evaluate`: score a model on labelled products."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from facetry.catalogue.catalogue import Catalogue
    from facetry.catalogue.split import Split
    from facetry.product import Product

Part = Literal["test", "validation", "train", "all"]


def evaluate(
    model: Annotated[Path, typer.Argument(help="Model folder.")],
    catalogue: Annotated[Path, typer.Argument(help="Challenge folder, table or catalogue.yaml.")],
    images: Annotated[Path | None, typer.Option(help="Photo folder, if not beside the table.")] = None,
    repairs: Annotated[
        Path | None, typer.Option(help="Repair file: corrections of labels to apply.")
    ] = None,
    part: Annotated[Part, typer.Option(help="Which part of the model's split to score.")] = "test",
    split: Annotated[
        Path | None, typer.Option(help="Another split, or folds, than the model's own.")
    ] = None,
    fold: Annotated[
        int | None, typer.Option(min=0, help="Of saved folds, the one that is the test part.")
    ] = None,
    per_head: Annotated[bool, typer.Option("--per-head", help="A row for each head.")] = False,
    report: Annotated[Path | None, typer.Option(help="Also write an HTML report here.")] = None,
    json_out: Annotated[Path | None, typer.Option("--json", help="Also write all figures here.")] = None,
) -> None:
    """Score a model by the challenge's metric on products whose labels are known."""
    import json

    from facetry.build import load
    from facetry.catalogue.catalogue import open_catalogue
    from facetry.cli.console import make_console, make_reporter
    from facetry.cli.split import given_split
    from facetry.evaluation.tables import scores_json, scores_table, unscored_line
    from facetry.files import write_text
    from facetry.reporting import evaluate_members, report_model

    predictor = load(model)
    opened = open_catalogue(catalogue, images=images, taxonomy=predictor.taxonomy, repairs=repairs)
    opened.require_sound()
    opened.require_photos()
    products = _choose(opened, model, part, given_split(split, fold, opened))
    evaluations = evaluate_members(predictor, products, reporter=make_reporter())
    result = list(evaluations.values())[-1]
    console = make_console()
    if line := opened.repairs.describe():
        console.print(line)
    console.print(scores_table(result.scores, per_head=per_head))
    if line := unscored_line(result.predictions, result.products):
        console.print(line)
    if json_out:
        write_text(json_out, json.dumps(scores_json(result.scores), indent=1))
    if report:
        report_model(report, model, evaluations, {"Catalogue": catalogue.name, "Part": part})
        console.print(f"Report: {report}")


def _choose(opened: "Catalogue", model: Path, part: Part, split: "Split | None") -> "list[Product]":
    """The products of one part.

    Raises:
        CatalogueError: there are none, none has a label, or the split is of another table or has no say.
    """
    from facetry.build import SPLIT
    from facetry.catalogue.split import read_split
    from facetry.errors import CatalogueError

    if part == "all" and split:
        raise CatalogueError(
            "--part all takes every product, so --split has no say.", hint="Leave one of them out."
        )
    if part == "all":
        products = opened.products()
    else:
        if split is None:
            _require_own(opened, model)
            split = read_split(model / SPLIT, opened)
        products = opened.products(split.rows(part))
    if not products:
        raise CatalogueError(
            f"The split has no {part} product.", hint="Use --part validation or --part all."
        )
    if not any(product.labels for product in products):
        raise CatalogueError(
            f"{opened.source.table.name} has no label to score against.",
            hint="`facetry predict` fills in a table without labels.",
        )
    return products


def _require_own(opened: "Catalogue", model: Path) -> None:
    """Refuse a table that the model was not trained on: its split means nothing there."""
    import json

    from facetry.build import JOB
    from facetry.errors import CatalogueError

    if not (model / JOB).is_file():
        raise CatalogueError(
            f"{str(model)!r} was not trained here, so it has no split of {opened.source.table.name}.",
            hint="Score every product with --part all, or name a split of this table with --split.",
        )
    job = json.loads((model / JOB).read_text(encoding="utf-8"))
    if job["catalogue"] != opened.fingerprint:
        raise CatalogueError(
            f"{opened.source.table.name} is not the table that {str(model)!r} was trained on, so the "
            "model's split does not apply.",
            hint="If labels were repaired for training, name the file with --repairs. Otherwise score "
            "every product with --part all, or name a split of this table with --split.",
        )
