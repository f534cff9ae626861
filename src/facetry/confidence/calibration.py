"""A model's calibration: the file in its folder, and the predictor that it makes of the plain one."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from facetry.confidence.cells import Evidence
from facetry.confidence.decide import decide
from facetry.confidence.fill_audit import LABELS, withdraw
from facetry.confidence.mapping import CalibrationMap, Floats
from facetry.confidence.novelty import NOVEL, Novelty, NoveltyPredictor, read_novelty, with_novelty
from facetry.confidence.promises import Promises, make_promises
from facetry.confidence.rare_values import submit
from facetry.errors import CalibrationError
from facetry.models.folder import CALIBRATION, NOVELTY, ModelFolder
from facetry.predictions import Embedder, Predictions, Predictor
from facetry.product import Preprocess, Product
from facetry.runtime.documents import parse_json
from facetry.runtime.files import explaining_refusal, write_text
from facetry.taxonomy import Taxonomy

FORMAT: Final = 1

_AGAIN: Final = "Calibrate the model again: facetry calibrate MODEL CATALOGUE."


@dataclass(frozen=True, kw_only=True, eq=False)
class Calibration:
    """How a model's probabilities are calibrated, and the evidence for what it promises.

    `facts` say in words where the evidence comes from: the table, the part and how many products.
    `labels` is a digest of the labels behind it.
    `submission_biases` (H, V), if any, are added to the calibrated log-probabilities for the
    challenge's submission alone. `novelty`, if known, tells products that nothing is promised of.
    """

    map: CalibrationMap
    evidence: Evidence
    facts: Mapping[str, str]
    labels: str = ""
    submission_biases: Floats | None = None
    novelty: Novelty | None = None

    @classmethod
    def identity(cls, taxonomy: Taxonomy) -> Self:
        """A calibration that changes nothing, without evidence."""
        return cls(map=CalibrationMap.identity(taxonomy), evidence=Evidence.empty(), facts={})

    def save(self, folder: ModelFolder) -> None:
        """Write it into the folder of its model.

        Raises:
            WriteFailed: the folder cannot be written to.
        """
        content = {
            "format": FORMAT,
            "model": folder.plain_fingerprint,
            LABELS: self.labels,
            "facts": dict(self.facts),
            "log_temperatures": self.map.log_temperatures.tolist(),
            "biases": self.map.biases.tolist(),
            "evidence": {
                "heads": self.evidence.heads.tolist(),
                "confidence": self.evidence.confidence.tolist(),
                "of_label": self.evidence.of_label.tolist(),
                "is_right": self.evidence.is_right.astype(int).tolist(),
                "groups": self.evidence.groups.tolist(),
            },
        }
        if self.submission_biases is not None:
            content["submission_biases"] = self.submission_biases.round(6).tolist()
        text = json.dumps(content)
        digest = hashlib.sha256(text.encode()).hexdigest()
        with explaining_refusal(folder.path):
            if self.novelty is not None:
                self.novelty.save(folder)  # first: it does nothing without a calibration
            write_text(folder.path / CALIBRATION, f"{text}\n{digest}\n")
            if self.novelty is None:
                (folder.path / NOVELTY).unlink(missing_ok=True)


def read_calibration(folder: ModelFolder) -> Calibration | None:
    """The calibration of a model; None if it has none.

    Raises:
        CalibrationError: a damaged file, one of a newer version, or one of another model.
    """
    text = folder.calibration
    if text is None:
        return None
    path = folder.path / CALIBRATION
    content = _parsed(path, text)
    if content.get("format") != FORMAT:
        raise CalibrationError(
            f"{path} is of format {content.get('format')}; this version reads {FORMAT}.", hint=_AGAIN
        )
    if content.get("model") != folder.plain_fingerprint:
        raise CalibrationError(f"{path} is the calibration of another model.", hint=_AGAIN)
    try:
        found = _from_json(content, folder.taxonomy)
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise CalibrationError(f"{path} is damaged.", hint=_AGAIN) from error
    return replace(found, novelty=read_novelty(folder))


def stored_calibration(folder: ModelFolder) -> Calibration:
    """The calibration of a model that has one.

    Raises:
        CalibrationError: it has none; or as in `read_calibration`.
    """
    calibration = read_calibration(folder)
    if calibration is None:
        raise CalibrationError(
            f"The model in {folder.path} is not calibrated, so that it can promise nothing.", hint=_AGAIN
        )
    return calibration


def _parsed(path: Path, text: str) -> dict[str, Any]:
    body, _, digest = text.rstrip("\n").rpartition("\n")
    if hashlib.sha256(body.encode()).hexdigest() != digest:
        raise CalibrationError(f"{path} is damaged: its checksum does not match.", hint=_AGAIN)
    try:
        content = parse_json(body)
    except ValueError as error:
        raise CalibrationError(f"{path} is damaged.", hint=_AGAIN) from error
    if not isinstance(content, dict):
        raise CalibrationError(f"{path} is damaged.", hint=_AGAIN)
    return content


def _from_json(content: Mapping[str, Any], taxonomy: Taxonomy) -> Calibration:
    columns = content["evidence"]
    evidence = Evidence(
        heads=np.asarray(columns["heads"], dtype=np.int64),
        confidence=np.asarray(columns["confidence"], dtype=np.float64),
        of_label=np.asarray(columns["of_label"], dtype=np.float64),
        is_right=np.asarray(columns["is_right"], dtype=bool),
        groups=np.asarray(columns["groups"], dtype=np.int64),
    )
    found = CalibrationMap(
        log_temperatures=np.asarray(content["log_temperatures"], dtype=np.float64),
        biases=np.asarray(content["biases"], dtype=np.float64),
    )
    submission_biases = None
    if "submission_biases" in content:
        submission_biases = np.asarray(content["submission_biases"], dtype=np.float64)
    num_heads = taxonomy.num_heads
    for biases in (found.biases, submission_biases):
        if biases is not None and biases.shape != (num_heads, taxonomy.num_values):
            raise ValueError("another taxonomy")
    if found.log_temperatures.shape != (num_heads,) or not evidence.is_of(num_heads):
        raise ValueError("another taxonomy")
    if not np.isfinite(found.log_temperatures).all() or not np.isfinite(found.biases).all():
        raise ValueError("no numbers")
    return Calibration(
        map=found,
        evidence=evidence,
        facts=dict(content["facts"]),
        labels=str(content[LABELS]),
        submission_biases=submission_biases,
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class CalibratedPredictor:
    """A predictor with calibrated probabilities; the most probable value changes where biases say so.

    With `promises` it also decides what to do with each prediction.
    """

    plain: Predictor
    calibration: Calibration
    promises: Promises | None = None

    @property
    def taxonomy(self) -> Taxonomy:
        """That of the plain predictor."""
        return self.plain.taxonomy

    @property
    def preprocesses(self) -> tuple[Preprocess, ...]:
        """Those of the plain predictor."""
        return self.plain.preprocesses

    def predict(self, products: Sequence[Product]) -> Predictions:
        """Predict every product, in order."""
        return self._finished(self.plain.predict(products))

    def _finished(self, predictions: Predictions) -> Predictions:
        """Predictions of the plain predictor, calibrated and decided on."""
        predictions = calibrate(predictions, self.calibration.map)
        biases = self.calibration.submission_biases
        if biases is not None:
            predictions = submit(predictions, biases)
        if self.promises is None:
            return predictions
        reasons = [NOVEL if is_novel else "" for is_novel in predictions.is_novel]
        return decide(predictions, self.promises.rules, reasons)


@dataclass(frozen=True, kw_only=True, eq=False)
class CalibratedEmbedder(CalibratedPredictor):
    """A calibrated predictor that also gives features, those of the plain one."""

    def embed(self, products: Sequence[Product]) -> NDArray[Any]:
        """Features (B, D) of loaded products; see `predictions.Embedder`."""
        assert isinstance(self.plain, Embedder)
        return self.plain.embed(products)

    def predict_and_embed(self, products: Sequence[Product]) -> tuple[Predictions, NDArray[Any]]:
        """Calibrated predictions, and features (B, D); see `predictions.Embedder`."""
        assert isinstance(self.plain, Embedder)
        predictions, features = self.plain.predict_and_embed(products)
        return self._finished(predictions), features


def with_calibration(predictor: Predictor, calibration: Calibration | None) -> Predictor:
    """The calibrated predictor, which gives features if the plain one does."""
    if calibration is None:
        return predictor
    predictor = with_novelty(predictor, calibration.novelty)
    kind = CalibratedEmbedder if isinstance(predictor, Embedder) else CalibratedPredictor
    return kind(plain=predictor, calibration=calibration)


def uncalibrated(predictor: Predictor) -> Predictor:
    """The predictor itself, without calibration and novelty."""
    plain = predictor.plain if isinstance(predictor, CalibratedPredictor) else predictor
    return plain.plain if isinstance(plain, NoveltyPredictor) else plain


def promises_of(
    folder: ModelFolder,
    precision: float,
    *,
    is_simultaneous: bool = False,
    may_be_withdrawn: bool = False,
) -> Promises:
    """What a model promises at a precision between 0 and 1; all at once, if `is_simultaneous`.

    What its fill audit has found wrong too often is withdrawn. If it all is, that is an error, unless it
    `may_be_withdrawn`: nothing is filled then.

    Raises:
        CalibrationError: the model is not calibrated, or can promise nothing at that precision.
        SettingError: `precision` is none.
    """
    promises = make_promises(
        stored_calibration(folder).evidence,
        folder.taxonomy,
        precision,
        is_simultaneous=is_simultaneous,
    )
    promises = withdraw(promises, folder)
    if not (may_be_withdrawn and promises.withdrawn):
        promises.require_any()
    return promises


def with_promises(predictor: Predictor, promises: Promises) -> Predictor:
    """A calibrated predictor that also decides what to do with each prediction.

    Raises:
        CalibrationError: the promises are those of another calibration: the model was calibrated since
            it was loaded, or while it was.
    """
    assert isinstance(predictor, CalibratedPredictor)
    if not predictor.calibration.evidence.equals(promises.evidence):
        raise CalibrationError(
            "The model was calibrated anew while it was used: its promises are not about what it says.",
            hint="Load it again, or run the same command again.",
        )
    return replace(predictor, promises=promises)


def calibrate(predictions: Predictions, mapping: CalibrationMap) -> Predictions:
    """The same predictions with calibrated probabilities."""
    probabilities = predictions.probabilities.copy()
    rows, slots = np.nonzero(predictions.head_mask)
    heads = predictions.taxonomy.head_slots[predictions.category_codes[rows], slots]
    mask = predictions.value_mask[rows, slots]
    with np.errstate(divide="ignore"):
        logs = np.where(mask, np.log(probabilities[rows, slots].astype(np.float64)), -np.inf)
    probabilities[rows, slots] = np.exp(mapping.apply(heads, logs))
    return predictions.with_probabilities(probabilities)
