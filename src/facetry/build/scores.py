"""Scores a predictor together with its members, and writes the report on them."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from facetry.evaluation.metrics import Evaluation, answers_to, predict, score
from facetry.evaluation.report import ModelSummary, ReportContent, write_report
from facetry.models.folder import ModelFolder
from facetry.predictions import Predictor
from facetry.predictors.ensemble import Ensemble
from facetry.product import Product
from facetry.runtime.progress import SILENT, Reporter

WHOLE = "ensemble"
FIXED = "with fixed weights"
"""What an ensemble and its twin without learned weights are called beside the members."""


def evaluate_members(
    predictor: Predictor, products: Sequence[Product], *, reporter: Reporter = SILENT
) -> dict[str, Evaluation]:
    """Score each member and, last, the whole; every photo is decoded once and predicted once.

    An ensemble that learned its weights is also scored with its fixed ones.
    """
    if isinstance(predictor, Ensemble):
        predicted = predictor.predict_members(products, reporter=reporter, description="Evaluating")
        if predictor.is_learned:
            predicted[FIXED] = predictor.combine(predicted, predictor.fixed)
        predicted[WHOLE] = predictor.combine(predicted)
    else:
        predicted = {"model": predict(predictor, products, reporter=reporter, description="Evaluating")}
    labels = predictor.taxonomy.encode_labels(products)
    return {
        name: Evaluation(scores=score(answers_to(each, labels)), predictions=each, products=products)
        for name, each in predicted.items()
    }


def report_model(
    path: Path, folder: ModelFolder, evaluations: Mapping[str, Evaluation], facts: Mapping[str, str]
) -> None:
    """Write the report on the last of `evaluations`, with the training logs of all from `folder`."""
    models = [
        ModelSummary(name=name, scores=each.scores, history=_history(folder, name))
        for name, each in evaluations.items()
    ]
    whole = list(evaluations.values())[-1]
    content = ReportContent(
        title=f"Facetry: {folder.path.name}",
        scores=whole.scores,
        predictions=whole.predictions,
        products=whole.products,
        models=models,
        facts=facts,
    )
    write_report(path, content)


def _history(folder: ModelFolder, name: str) -> list[dict[str, float]]:
    """The training log of a member, or of the model itself; empty for one that was not trained."""
    log = folder.members.get(name, folder).path / "training" / "log.jsonl"
    if not log.is_file():
        return []
    return [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
