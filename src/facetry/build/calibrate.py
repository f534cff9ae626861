"""Calibrates a predictor: probabilities on its validation part, promises on labels that nothing used."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from facetry.batch.fill.cells import require_own_labels
from facetry.build.cross_fit import predict_out_of_fold
from facetry.build.load import load_plain
from facetry.build.novelty import learn_novelty
from facetry.catalogue.catalogue import Catalogue
from facetry.catalogue.split import Split, find_groups
from facetry.confidence.calibration import Calibration, calibrate, read_calibration
from facetry.confidence.cells import LabelledCells
from facetry.confidence.fit import fit_map
from facetry.confidence.mapping import CalibrationMap, Floats
from facetry.confidence.novelty import Novelty, with_novelty
from facetry.confidence.rare_values import fit_biases
from facetry.confidence.selection import BlankTest, compare_blanks
from facetry.errors import HeldOutLearned, NotEnoughData, SettingError
from facetry.evaluation.held_out import own_split, trained_ids
from facetry.evaluation.metrics import embed, predict
from facetry.models.folder import ModelFolder, open_folder
from facetry.predictions import Embedder, Predictions, Predictor
from facetry.product import Product
from facetry.runtime.progress import SILENT, Reporter


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
    blanks: Sequence[BlankTest]


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
        NotEnoughData: there is no labelled product to calibrate on.
        SettingError: `is_cross_fit` with a model or a table that does not allow it.
    """
    model = open_folder(folder)
    catalogue.require_sound()
    catalogue.require_photos()
    require_own_labels(catalogue)
    split = own_split(model.path, catalogue)
    if is_cross_fit and split is None:
        raise SettingError(
            f"{catalogue.source.table.name} is not the table that the model in {model.path} was trained "
            "on.",
            hint="Leave out --cross-fit: all of its labelled products can be used as they are.",
        )
    rows = _rows_of(model, catalogue, split, reporter, is_cross_fit=is_cross_fit)
    predictor = load_plain(model)
    earlier = read_calibration(model)
    if earlier:
        mapping, biases = earlier.map, earlier.submission_biases
    else:
        mapping, biases = _fit_own(predictor, catalogue, split, reporter)
    novelty = earlier.novelty if earlier else None
    if novelty is None and split is not None:
        novelty = learn_novelty(predictor, catalogue, split, reporter)
    evidence = _Evidence(
        predictor=predictor,
        catalogue=catalogue,
        split=split,
        mapping=mapping,
        biases=biases,
        novelty=novelty,
        reporter=reporter,
    )
    if is_cross_fit:
        assert split is not None
        predictions = predict_out_of_fold(model, predictor, catalogue, split, rows, reporter)
        found = evidence.from_predictions(predictions, rows, "cross-fitted on what it was trained on")
    else:
        found = evidence.from_rows(rows)
    found.calibration.save(model)
    return found


def calibrate_new(
    predictor: Predictor, catalogue: Catalogue, split: Split, reporter: Reporter
) -> Calibration | None:
    """The calibration of a predictor that was just made; none if its split has no validation part.

    Without a calibration part there is no evidence for promises.
    """
    if not len(split.rows("validation")):
        return None
    mapping, biases = _fit_own(predictor, catalogue, split, reporter)
    evidence = _Evidence(
        predictor=predictor,
        catalogue=catalogue,
        split=split,
        mapping=mapping,
        biases=biases,
        novelty=learn_novelty(predictor, catalogue, split, reporter),
        reporter=reporter,
        tests_blanks=False,
    )
    rows = split.rows("calibration")
    return evidence.from_rows(rows[catalogue.is_labelled[rows]]).calibration


def _rows_of(
    model: ModelFolder,
    catalogue: Catalogue,
    split: Split | None,
    reporter: Reporter,
    *,
    is_cross_fit: bool,
) -> NDArray[np.int64]:
    """The labelled rows to calibrate on."""
    if split is None:
        rows = _unlearned(model, catalogue, reporter)
    elif is_cross_fit:
        rows = np.concatenate([split.rows(part) for part in ("train", "calibration")])
    else:
        rows = split.rows("calibration")
    labelled: NDArray[np.int64] = rows[catalogue.is_labelled[rows]]
    if not len(labelled):
        what = "has no labelled product" if split is None else "is divided without a calibration part"
        raise NotEnoughData(
            f"{catalogue.source.table.name} {what}.",
            hint="Name a table of labelled products that the model was not trained on; a frozen model "
            "can also be calibrated with --cross-fit.",
        )
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


def _fit_own(
    predictor: Predictor, catalogue: Catalogue, split: Split | None, reporter: Reporter
) -> tuple[CalibrationMap, Floats | None]:
    """The map and the submission's biases, fitted on the model's validation part.

    Without that part the map changes nothing, and there are no biases.
    """
    rows = split.rows("validation") if split else np.empty(0, dtype=np.int64)
    if not len(rows):
        return CalibrationMap.identity(predictor.taxonomy), None
    products = catalogue.products(rows)
    predictions = predict(predictor, products, reporter=reporter, description="Calibrating")
    groups = split.groups[rows] if split and split.groups is not None else None
    cells = labelled_cells(predictions, products, groups)
    mapping = fit_map(cells)
    return mapping, fit_biases(mapping.calibrated(cells))


def labelled_cells(
    predictions: Predictions, products: Sequence[Product], groups: NDArray[np.int64] | None = None
) -> LabelledCells:
    """The labelled cells of predicted products; `groups` (B) are equal for like photos."""
    labels = predictions.taxonomy.encode_labels(products)
    own = np.arange(len(products)) if groups is None else groups
    return LabelledCells.of(predictions, labels, own)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Evidence:
    """Gathers the evidence for promises of a predictor; `biases` are those of the submission."""

    predictor: Predictor
    catalogue: Catalogue
    split: Split | None
    mapping: CalibrationMap
    biases: Floats | None
    novelty: Novelty | None
    reporter: Reporter
    tests_blanks: bool = True

    def from_rows(self, rows: NDArray[np.int64]) -> Calibrated:
        """That of some rows of the catalogue, which the predictor has not learned from."""
        part = "all labelled products" if self.split is None else "the calibration part"
        products = self.catalogue.products(rows)
        predictor = with_novelty(self.predictor, self.novelty)
        predictions = predict(predictor, products, reporter=self.reporter, description="Calibrating")
        return self.from_predictions(predictions, rows, part)

    def from_predictions(
        self, predictions: Predictions, rows: NDArray[np.int64], part: str
    ) -> Calibrated:
        """That of predictions of some rows: one product of those with like photos."""
        groups = self._groups(rows)
        labels = self.catalogue.known_labels(rows)
        labels = np.where(self.catalogue.is_random[rows], labels, -1)
        before = LabelledCells.of(predictions, labels, groups)
        after = LabelledCells.of(calibrate(predictions, self.mapping), labels, groups)
        facts = {
            "table": self.catalogue.source.table.name,
            "products": f"{part}: {len(rows):,}, of which {len(np.unique(groups)):,} unlike each other",
        }
        calibration = Calibration(
            map=self.mapping,
            evidence=after.evidence(),
            facts=facts,
            submission_biases=self.biases,
            novelty=self.novelty,
        )
        return Calibrated(
            calibration=calibration,
            before=before,
            after=after,
            blanks=self._blanks(predictions, labels, rows, groups),
        )

    def _blanks(
        self,
        predictions: Predictions,
        labels: NDArray[np.int64],
        rows: NDArray[np.int64],
        groups: NDArray[np.int64],
    ) -> list[BlankTest]:
        """How unlike labelled and blank products are, head by head."""
        if not self.tests_blanks or not isinstance(self.predictor, Embedder):
            return []
        products = self.catalogue.products(rows)
        features = embed(
            self.predictor, products, reporter=self.reporter, description="Comparing with blanks"
        )
        return compare_blanks(predictions, labels, features, groups)

    def _groups(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Equal numbers for products with like photos."""
        if not len(rows):
            return np.empty(0, dtype=np.int64)
        if self.split is not None and self.split.groups is not None:
            return self.split.groups[rows]
        return find_groups(self.catalogue, rows, reporter=self.reporter)
