"""A predictor's results: the metrics and model card that training writes, and the report on a model."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from facetry.build.calibrate import calibrate_new
from facetry.build.model_card import model_card
from facetry.confidence.calibration import (
    CalibratedPredictor,
    Calibration,
    calibrate,
    uncalibrated,
    with_calibration,
)
from facetry.evaluation.held_out import HeldOut
from facetry.evaluation.metrics import (
    Evaluation,
    Scores,
    answers_to,
    evaluate,
    predict,
    score,
    score_predictions,
    submission_total,
)
from facetry.evaluation.report import ModelSummary, ReportContent, write_report
from facetry.evaluation.tables import scores_json
from facetry.models.folder import METRICS, ModelFolder
from facetry.predictions import Predictor
from facetry.predictors.ensemble import Ensemble, Gain, measure_gain
from facetry.product import Product
from facetry.recipe import Recipe
from facetry.runtime.files import write_text
from facetry.runtime.progress import SILENT, Reporter

WHOLE = "ensemble"
"""The name of an ensemble in a table that lists its members, too."""

FIXED = "with fixed weights"
"""The name in that table of the same ensemble without its learned weights."""


def write_results(
    plain: Predictor, recipe: Recipe, held_out: HeldOut, folder: Path, reporter: Reporter
) -> Calibration | None:
    """Score a new predictor on the held-out parts; write metrics and model card into its `folder`.

    Returns its calibration, with which it is scored; none without a validation part.
    """
    from facetry.training.targets.cleaning import read_cleaning
    from facetry.training.tracking.files import read_notes

    catalogue, split = held_out.catalogue, held_out.split
    scores: dict[str, Scores] = {}
    calibration = gain = submitted = None
    if len(rows := split.rows("validation")):
        products = catalogue.products(rows)
        predictions = predict(plain, products, reporter=reporter, description="Evaluating")
        calibration = calibrate_new(plain, catalogue, split, predictions, reporter=reporter)
        scores["validation"] = score_predictions(calibrate(predictions, calibration.map), products)
    if len(rows := split.rows("test")):
        products = catalogue.products(rows)
        if isinstance(plain, Ensemble) and plain.is_learned:
            gain = measure_gain(plain, products, reporter=reporter)
        evaluation = evaluate(with_calibration(plain, calibration), products, reporter=reporter)
        scores["test"] = evaluation.scores
        submitted = submission_total(evaluation)
    metrics = {part: scores_json(each) for part, each in scores.items()}
    if submitted is not None:
        metrics["test"]["submission"] = submitted
        reporter.say(
            f"With rare values more often, a submission scores {submitted:.4f} on the test part."
        )
    if gain:
        metrics["test"]["fixed_weights"] = _gain_json(gain)
        reporter.say(f"On the test part the learned weights are {gain.sentence()}.")
    write_text(folder / METRICS, json.dumps(metrics, indent=1))
    cleaning = [("cleaning", each) for each in read_cleaning(folder / "training")]
    notes = [*cleaning, *read_notes(folder / "training").items()]
    write_text(folder / "README.md", model_card(recipe, catalogue, split, scores, notes, gain))
    return calibration


def _gain_json(gain: Gain) -> dict[str, Any]:
    """The fixed weights' score on the test part, and how much higher the learned ones score."""
    return {
        "total": gain.fixed.total,
        "interval": gain.fixed.interval,
        "gain": gain.difference.mean,
        "gain_interval": gain.difference.interval,
    }


def evaluate_members(
    predictor: Predictor, products: Sequence[Product], *, reporter: Reporter = SILENT
) -> dict[str, Evaluation]:
    """Score each member and, last, the whole predictor; every photo is decoded and predicted once.

    An ensemble with learned weights is also scored with fixed ones.
    """
    plain = uncalibrated(predictor)
    if isinstance(plain, Ensemble):
        predicted = plain.predict_members(products, reporter=reporter, description="Evaluating")
        if plain.is_learned:
            predicted[FIXED] = plain.combine(predicted, plain.fixed)
        whole = plain.combine(predicted)
        if isinstance(predictor, CalibratedPredictor):
            whole = calibrate(whole, predictor.calibration.map)
        predicted[WHOLE] = whole
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
    """Write the report on the last of `evaluations`, with the training logs of all, from `folder`."""
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
