"""`facetry evaluate`: score a model on labelled products."""

from pathlib import Path
from typing import Annotated, Literal

import typer


def evaluate(
    model: Annotated[Path, typer.Argument(help="Model folder.")],
    catalogue: Annotated[Path, typer.Argument(help="Challenge folder, table or catalogue.yaml.")],
    images: Annotated[Path | None, typer.Option(help="Photo folder, if not beside the table.")] = None,
    part: Annotated[
        Literal["test", "validation", "train", "all"],
        typer.Option(help="Which part of the model's split to score."),
    ] = "test",
    split: Annotated[Path | None, typer.Option(help="Another split than the model's own.")] = None,
    per_head: Annotated[bool, typer.Option("--per-head", help="A row for each head.")] = False,
    report: Annotated[Path | None, typer.Option(help="Also write an HTML report here.")] = None,
    json_out: Annotated[Path | None, typer.Option("--json", help="Also write all figures here.")] = None,
) -> None:
    """Score a model by the challenge's metric on products whose labels are known."""
    import json

    from facetry.build import SPLIT, load
    from facetry.catalogue.catalogue import open_catalogue
    from facetry.catalogue.split import read_split
    from facetry.cli.console import make_console, make_reporter
    from facetry.evaluation.tables import scores_json, scores_table
    from facetry.files import write_text
    from facetry.reporting import evaluate_members, report_model

    predictor = load(model)
    opened = open_catalogue(catalogue, images=images, taxonomy=predictor.taxonomy)
    opened.require_sound()
    rows = None if part == "all" else read_split(split or model / SPLIT, opened).rows(part)
    evaluations = evaluate_members(predictor, opened.products(rows), reporter=make_reporter())
    result = list(evaluations.values())[-1]
    console = make_console()
    console.print(scores_table(result.scores, per_head=per_head))
    if json_out:
        write_text(json_out, json.dumps(scores_json(result.scores), indent=1))
    if report:
        report_model(report, model, evaluations, {"Catalogue": catalogue.name, "Part": part})
        console.print(f"Report: {report}")
