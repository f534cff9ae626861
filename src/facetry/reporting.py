"""Scores a predictor together with its members, and writes the report on them."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from facetry.ensemble import Ensemble
from facetry.evaluation.evaluate import Evaluation
from facetry.evaluation.metrics import score_predictions
from facetry.evaluation.report import ModelSummary, ReportContent, write_report
from facetry.images import load_batches
from facetry.predictions import Predictions, Predictor
from facetry.product import Product
from facetry.progress import SILENT, Reporter

WHOLE = "ensemble"
"""What an ensemble itself is called beside its members."""


def evaluate_members(
    predictor: Predictor, products: Sequence[Product], *, reporter: Reporter = SILENT
) -> dict[str, Evaluation]:
    """Score each member and, last, the whole; every photo is decoded once and predicted once."""
    members = predictor.members if isinstance(predictor, Ensemble) else {"model": predictor}
    names = [*members, WHOLE] if isinstance(predictor, Ensemble) else list(members)
    parts: dict[str, list[Predictions]] = {name: [predictor.predict([])] for name in names}
    with reporter.bar("Evaluating", len(products)) as advance:
        for batch in load_batches(products, predictor.preprocesses, reporter=reporter):
            predicted = {name: member.predict(batch) for name, member in members.items()}
            if isinstance(predictor, Ensemble):
                predicted[WHOLE] = predictor.combine(predicted, batch)
            for name, each in predicted.items():
                parts[name].append(each)
            advance(len(batch))
    joined = {name: Predictions.concatenate(each) for name, each in parts.items()}
    return {
        name: Evaluation(scores=score_predictions(each, products), predictions=each, products=products)
        for name, each in joined.items()
    }


def report_model(
    path: Path, folder: Path, evaluations: Mapping[str, Evaluation], facts: Mapping[str, str]
) -> None:
    """Write the report on the last of `evaluations`, with the training logs of all from `folder`."""
    models = [
        ModelSummary(name=name, scores=each.scores, history=_history(folder, name))
        for name, each in evaluations.items()
    ]
    whole = list(evaluations.values())[-1]
    content = ReportContent(
        title=f"Facetry: {folder.name}",
        scores=whole.scores,
        predictions=whole.predictions,
        products=whole.products,
        models=models,
        facts=facts,
    )
    write_report(path, content)


def _history(folder: Path, name: str) -> list[dict[str, float]]:
    """The training log of a member, or of the model itself; empty for one that was not trained."""
    member = folder / "members" / name
    log = (member if member.is_dir() else folder) / "training" / "log.jsonl"
    if not log.is_file():
        return []
    return [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
