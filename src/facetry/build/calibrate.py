"""Calibrates a predictor: probabilities on its validation part, promises on labels that nothing used."""

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from facetry.batch.fill.cells import not_applicable, require_own_labels
from facetry.build.cross_fit import predict_out_of_fold
from facetry.build.load import load_plain
from facetry.build.novelty import learn_novelty
from facetry.catalogue.catalogue import Catalogue
from facetry.catalogue.split import Split, find_groups
from facetry.confidence.calibration import Calibration, calibrate, read_calibration
from facetry.confidence.cells import LabelledCells
from facetry.confidence.fit import fit_map
from facetry.confidence.novelty import NOVEL, with_novelty
from facetry.confidence.rare_values import fit_biases
from facetry.confidence.selection import BlankTest, compare_blanks
from facetry.errors import CalibrationError, HeldOutLearned, NotEnoughData, SettingError
from facetry.evaluation.held_out import SPLIT, own_split, trained_ids
from facetry.evaluation.metrics import embed, predict
from facetry.models.folder import ModelFolder, open_folder
from facetry.predictions import Embedder, Predictions, Predictor
from facetry.product import Product
from facetry.runtime.progress import SILENT, Reporter
from facetry.taxonomy import OFF_LIST


@dataclass(frozen=True, kw_only=True, eq=False)
class Calibrated:
    """A calibration, and what it was made of.

    `before` and `after` are the labelled cells behind its promises, with plain and with calibrated
    probabilities; no map was fitted on them. `blanks` says of heads how well features tell labelled
    products from blank ones; it is empty for a predictor without features.
    """

    calibration: Calibration
    before: LabelledCells
    after: LabelledCells
    blanks: Sequence[BlankTest] = ()


def calibrate_model(
    folder: str | Path | ModelFolder,
    catalogue: Catalogue,
    *,
    is_cross_fit: bool = False,
    reporter: Reporter = SILENT,
) -> Calibrated:
    """Calibrate the model in a folder anew, and store that there.

    On the catalogue that it was trained with, its promises are based on the calibration part of its
    split; on any other table, on all labelled products. `is_cross_fit` bases them on all products that
    it was trained on, each predicted by heads that were trained without it, which only a model with a
    frozen backbone allows. The map of its probabilities stays that of its validation part, if any.

    Raises:
        CatalogueError: there are values in the table that a model has filled in.
        HeldOutLearned: the model was trained on products of the table.
        NotEnoughData: there is no labelled product to calibrate on, or none that can be predicted.
        SettingError: `is_cross_fit` with a model or a table that does not allow it.
    """
    model = open_folder(folder)
    catalogue.require_sound()
    catalogue.require_photos()
    require_own_labels(catalogue)
    split = _own_split(model, catalogue)
    if is_cross_fit and split is None:
        raise SettingError(
            f"{catalogue.source.table.name} is not the table that the model in {model.path} was trained "
            "on.",
            hint="Leave out --cross-fit: all of its labelled products can be used as they are.",
        )
    labels = _labels(catalogue)
    rows = _rows_of(model, catalogue, split, reporter, is_cross_fit=is_cross_fit)
    rows = _labelled(rows, labels)
    if not len(rows):
        raise _nothing_labelled(catalogue, split)
    predictor = load_plain(model)
    work = _Work(predictor=predictor, catalogue=catalogue, labels=labels, split=split, reporter=reporter)
    fitted = work.completed(_earlier(model, split, reporter))
    if is_cross_fit:
        assert split is not None
        sample = work.sample(rows, "cross-fitted on what it was trained on")
        predictions = predict_out_of_fold(model, predictor, catalogue, split, rows, reporter)
    else:
        sample = work.sample(rows)
        predictions = work.predict(fitted, rows)
    found = work.gather(fitted, predictions, sample)
    _require_cells(found, predictions)
    found.calibration.save(model)
    return replace(found, blanks=work.compare_blanks(sample))


def calibrate_new(
    predictor: Predictor,
    catalogue: Catalogue,
    split: Split,
    validation: Predictions,
    *,
    reporter: Reporter,
) -> Calibration:
    """The calibration of a predictor that was just made, from its predictions of the validation part.

    Without a calibration part there is no evidence for promises.
    """
    labels = _labels(catalogue)
    work = _Work(
        predictor=predictor,
        catalogue=catalogue,
        labels=labels,
        split=split,
        reporter=reporter,
        validation=validation,
    )
    fitted = work.completed(None)
    rows = _labelled(split.rows("calibration"), labels)
    return work.gather(fitted, work.predict(fitted, rows), work.sample(rows)).calibration


def _earlier(model: ModelFolder, split: Split | None, reporter: Reporter) -> Calibration | None:
    """The model's calibration, whose map is kept; None if it has none that can be read."""
    try:
        return read_calibration(model)
    except CalibrationError as error:
        lost = "" if split else _LOST
        reporter.say(f"{error.message} It is made anew.{lost}")
        return None


_LOST = (
    " What it knew by the model's validation part is lost: until it is calibrated on the table that it "
    "was trained with, probabilities are the model's own, and no photo counts as novel."
)


def _own_split(model: ModelFolder, catalogue: Catalogue) -> Split | None:
    """The model's split, if it is one of the whole catalogue; a part of it is a table of its own."""
    split = own_split(model.path, catalogue)
    if split is None:
        return None
    num_divided = pl.read_parquet(model.path / SPLIT, columns=["id"]).height
    return split if len(catalogue) == num_divided else None


def _rows_of(
    model: ModelFolder,
    catalogue: Catalogue,
    split: Split | None,
    reporter: Reporter,
    *,
    is_cross_fit: bool,
) -> NDArray[np.int64]:
    """The rows to calibrate on, labelled or not."""
    if split is None:
        return _unlearned(model, catalogue, reporter)
    if is_cross_fit:
        return np.concatenate([split.rows(part) for part in ("train", "calibration")])
    return split.rows("calibration")


def _nothing_labelled(catalogue: Catalogue, split: Split | None) -> NotEnoughData:
    is_undivided = split is not None and not len(split.rows("calibration"))
    missing = "labelled product of the model's categories"
    what = "is divided without a calibration part" if is_undivided else f"has no {missing}"
    return NotEnoughData(
        f"{catalogue.source.table.name} {what}.",
        hint="Name a table of labelled products that the model was not trained on; a frozen model "
        "can also be calibrated with --cross-fit.",
    )


def _require_cells(found: Calibrated, predictions: Predictions) -> None:
    """Refuse to replace the evidence for promises by none.

    Raises:
        NotEnoughData: no labelled product was predicted, or all are novel; says how many and why.
    """
    if len(found.before):
        return
    problems = Counter(filter(None, predictions.problems))
    if num_novel := int(predictions.is_novel.sum()):
        problems[NOVEL] = num_novel
    reasons = "; ".join(f"{reason}: {count:,}" for reason, count in problems.most_common(3))
    raise NotEnoughData(
        f"None of {len(predictions):,} labelled products can be calibrated on: {reasons}.",
        hint="Nothing was stored. Name the folder of their photos: --images FOLDER.",
    )


def _labels(catalogue: Catalogue) -> NDArray[np.int64]:
    """The labels (N, A) that count: those of cells which were drawn at random; -1 for none.

    Where a cell says "not applicable", as where its value is unknown, every prediction is wrong.
    """
    labels = catalogue.known_labels(np.arange(len(catalogue)))
    labels = np.where(not_applicable(catalogue), OFF_LIST, labels)
    return np.where(catalogue.is_random, labels, -1)


def _labelled(rows: NDArray[np.int64], labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """Those of some rows that have a label which counts, "not applicable" being one."""
    labelled: NDArray[np.int64] = rows[(labels[rows] != -1).any(axis=1)]
    return labelled


def _unlearned(model: ModelFolder, catalogue: Catalogue, reporter: Reporter) -> NDArray[np.int64]:
    """The rows of another table than that of the model which it has not learned from.

    Raises:
        HeldOutLearned: there is none.
    """
    learned = trained_ids(model.path, "calibration")
    ids = map(str, catalogue.table["id"].to_list())
    is_new = np.array([id_ not in learned for id_ in ids], dtype=bool)
    num_learned = int((~is_new).sum())
    what = f"{num_learned:,} of {len(catalogue):,} products in {catalogue.source.table.name}"
    if num_learned and not is_new.any():
        raise HeldOutLearned(
            f"The model in {model.path} learned from all products in {catalogue.source.table.name}, by "
            "their ids, so that no promise can be based on them.",
            hint="Name a table of other products.",
        )
    if num_learned:
        reporter.say(f"{what} are left out: by their ids, the model learned from them.")
    return np.flatnonzero(is_new)


def labelled_cells(
    predictions: Predictions, products: Sequence[Product], groups: NDArray[np.int64] | None = None
) -> LabelledCells:
    """The labelled cells of predicted products; `groups` (B) are equal for like photos."""
    labels = predictions.taxonomy.encode_labels(products)
    own = np.arange(len(products)) if groups is None else groups
    return LabelledCells.of(predictions, labels, own)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Sample:
    """Rows of a catalogue (B) to calibrate on, and what they are called.

    `groups` (B) are equal for products with like photos, `labels` (B, A) -1 where none counts.
    """

    rows: NDArray[np.int64]
    part: str
    groups: NDArray[np.int64]
    labels: NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, eq=False)
class _Work:
    """A predictor to calibrate on a catalogue; `split` is that of its training, if it is of this one.

    `labels` (N, A) are those of the catalogue that count, `validation` are the predictor's predictions
    of the validation part, if they were made already.
    """

    predictor: Predictor
    catalogue: Catalogue
    labels: NDArray[np.int64]
    split: Split | None
    reporter: Reporter
    validation: Predictions | None = None

    def sample(self, rows: NDArray[np.int64], part: str = "") -> _Sample:
        """Some rows with all that calibrating needs to know of them."""
        own = "all labelled products" if self.split is None else "the calibration part"
        groups, labels = self._groups(rows), self.labels[rows]
        return _Sample(rows=rows, part=part or own, groups=groups, labels=labels)

    def completed(self, earlier: Calibration | None) -> Calibration:
        """An earlier calibration, or one fitted on the validation part; with novelty, if possible."""
        fitted = earlier or self._fit()
        if fitted.novelty is None and self.split is not None:
            novelty = learn_novelty(self.predictor, self.catalogue, self.split, self.reporter)
            fitted = replace(fitted, novelty=novelty)
        return fitted

    def _fit(self) -> Calibration:
        """Probabilities and submission fitted on the validation part; without it nothing changes."""
        rows = self.split.rows("validation") if self.split else np.empty(0, dtype=np.int64)
        if not len(rows):
            return Calibration.identity(self.predictor.taxonomy)
        products = self.catalogue.products(rows)
        predictions = self.validation or predict(
            self.predictor, products, reporter=self.reporter, description="Calibrating"
        )
        groups = self.split.groups[rows] if self.split and self.split.groups is not None else None
        cells = labelled_cells(predictions, products, groups)
        fitted = replace(Calibration.identity(self.predictor.taxonomy), map=fit_map(cells))
        return replace(fitted, submission_biases=fit_biases(fitted.map.calibrated(cells)))

    def predict(self, fitted: Calibration, rows: NDArray[np.int64]) -> Predictions:
        """Plain predictions of some rows, which say what is novel."""
        predictor = with_novelty(self.predictor, fitted.novelty)
        products = self.catalogue.products(rows)
        return predict(predictor, products, reporter=self.reporter, description="Calibrating")

    def gather(self, fitted: Calibration, predictions: Predictions, sample: _Sample) -> Calibrated:
        """The calibration with the evidence of plain predictions of a sample.

        One product of those with like photos counts; none that is novel does, as these are not filled.
        """
        labels, groups = sample.labels, sample.groups
        before = LabelledCells.of(predictions, labels, groups)
        after = LabelledCells.of(calibrate(predictions, fitted.map), labels, groups)
        num_products, num_unlike = len(sample.rows), len(np.unique(groups))
        facts = {
            "table": self.catalogue.source.table.name,
            "products": f"{sample.part}: {num_products:,}, of which {num_unlike:,} unlike each other",
        }
        calibration = replace(
            fitted, evidence=after.evidence(), facts=facts, labels=self._digest(sample)
        )
        return Calibrated(calibration=calibration, before=before, after=after)

    def _digest(self, sample: _Sample) -> str:
        """A digest of the labels of a sample and of whose they are."""
        ids = self.catalogue.table["id"][sample.rows].cast(pl.String)
        digest = hashlib.sha256("\0".join(ids).encode())
        digest.update(sample.labels.astype("<i8").tobytes())
        return digest.hexdigest()

    def compare_blanks(self, sample: _Sample) -> list[BlankTest]:
        """How unlike labelled and blank products are, head by head."""
        if not isinstance(self.predictor, Embedder):
            return []
        products = self.catalogue.products(sample.rows)
        features = embed(
            self.predictor, products, reporter=self.reporter, description="Comparing with blanks"
        )
        heads = self.catalogue.taxonomy.heads_of_slots(self.catalogue.category_codes[sample.rows])
        heads = np.where((features != 0).any(axis=1)[:, None], heads, -1)  # what cannot be read
        return compare_blanks(heads, sample.labels, features, sample.groups)

    def _groups(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Equal numbers for products with like photos."""
        if not len(rows):
            return np.empty(0, dtype=np.int64)
        if self.split is not None and self.split.groups is not None:
            return self.split.groups[rows]
        return find_groups(self.catalogue, rows, reporter=self.reporter)
