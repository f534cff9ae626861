"""A teacher's predictions on the products that a student learns from, made once and stored.

The teacher can be any predictor. Its answers are written in parts, so that a resumed training makes
only the missing ones. Heads and values are matched by name; those that only the teacher has are
ignored.

Shapes: B products, C categories, A slots, V values; of the student's taxonomy.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from facetry.errors import PredictorMismatch
from facetry.evaluation.held_out import HeldOut
from facetry.evaluation.metrics import predict
from facetry.models.folder import ModelFolder, open_folder
from facetry.predictions import Predictions, Predictor
from facetry.runtime.files import writing
from facetry.runtime.progress import Reporter
from facetry.runtime.resumable import JobKind, open_or_resume
from facetry.taxonomy import Taxonomy
from facetry.training.config import TeachConfig
from facetry.training.data import rows_to_learn
from facetry.training.targets.distillation import ANSWERS
from facetry.training.tracking.files import write_note

_ANSWERS_JOB = JobKind(command="train", works_in_place=True)
_PART_SIZE = 2048  # products in a part of the answers
_FINGERPRINT_LENGTH = 16  # digits of the teacher's fingerprint that are stored
_MIN_SHARED = 0.5  # below it the teacher favours values that the student lacks: no answer is used

Answers = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True, eq=False)
class Translation:
    """Maps a student's slots and values to those of the teacher's taxonomy; -1 where it has none."""

    own: Taxonomy
    slots: NDArray[np.int64]  # C+1 A; the last row is for an unknown category
    values: NDArray[np.int64]  # C+1 A V

    @classmethod
    def between(cls, own: Taxonomy, their: Taxonomy) -> "Translation":
        """Match by name; a head of which fewer than two values match is ignored."""
        shape = (len(own.categories) + 1, own.num_slots, own.num_values)
        slots, values = np.full(shape[:2], -1), np.full(shape, -1)
        for row, category in enumerate(own.categories):
            theirs = their.heads_of(category) if category in their.category_indices else ()
            their_slots = {head.attribute: index for index, head in enumerate(theirs)}
            for slot, head in enumerate(own.heads_of(category)):
                if (their_slot := their_slots.get(head.attribute)) is None:
                    continue
                known = {value: index for index, value in enumerate(theirs[their_slot].values)}
                found = [known.get(value, -1) for value in head.values]
                if sum(index >= 0 for index in found) > 1:
                    slots[row, slot], values[row, slot, : len(found)] = their_slot, found
        return cls(own=own, slots=slots, values=values)

    @property
    def num_heads(self) -> int:
        """How many heads of the student the teacher has too."""
        return int((self.slots >= 0).sum())

    def __call__(self, predictions: Predictions, labels: NDArray[np.int16]) -> Answers:
        """Probabilities (B, A, V) over the student's values, all 0 where there is no answer.

        There is none either where the label (B, A), -1 if unknown, is a value the teacher lacks.
        """
        codes = self.own.encode_categories(predictions.categories)
        slots, values = self.slots[codes], self.values[codes]  # B A, B A V
        rows = np.arange(len(predictions))[:, None, None]
        found = predictions.probabilities[rows, slots[..., None], values]
        found = np.where(values >= 0, found, np.float32(0))
        shared = found.sum(axis=-1, keepdims=True)
        own = np.take_along_axis(values, np.maximum(labels, 0)[..., None].astype(np.int64), axis=-1)
        is_known = (own >= 0) | (labels < 0)[..., None]
        is_answer = (shared >= _MIN_SHARED) & is_known
        answers: Answers = np.where(is_answer, found / np.maximum(shared, 1e-12), 0).astype(np.float32)
        return answers


def predict_teacher(
    config: TeachConfig,
    held_out: HeldOut,
    folder: Path,
    load: Callable[[ModelFolder], Predictor],
    reporter: Reporter,
) -> None:
    """Write the teacher's answers on the products to learn from into `folder`; resumable.

    Raises:
        ModelFolderError: the teacher is no model folder, or a damaged one.
        HeldOutLearned: the teacher learned from held-out products.
        PredictorMismatch: the teacher has none of the student's heads.
        FolderMismatch: the stored answers are another teacher's.
    """
    model = open_folder(config.model)
    held_out.refuse_leaks(config.model, "teach.model")
    fingerprint = model.fingerprint[:_FINGERPRINT_LENGTH]
    answers = folder / ANSWERS
    with open_or_resume(answers, {"teacher": fingerprint}, _ANSWERS_JOB, owner=folder.parent):
        facts = f"{model.kind}, checksum {fingerprint}"
        write_note(folder, "teacher", f"{config.model.name} ({facts}), share {config.share:g}")
        _write_missing_parts(config, held_out, answers, partial(load, model), reporter)


def _write_missing_parts(
    config: TeachConfig,
    held_out: HeldOut,
    folder: Path,
    load: Callable[[], Predictor],
    reporter: Reporter,
) -> None:
    """Write the parts of the answers that `folder` lacks."""
    catalogue = held_out.catalogue
    rows = rows_to_learn(catalogue, held_out.split, unlabelled=config.unlabelled)
    parts = {start: rows[start : start + _PART_SIZE] for start in range(0, len(rows), _PART_SIZE)}
    missing = {start: part for start, part in parts.items() if not _part_file(folder, start).is_file()}
    if not missing:
        return
    teacher = load()
    translation = Translation.between(catalogue.taxonomy, teacher.taxonomy)
    if not translation.num_heads:
        raise PredictorMismatch(
            f"The teacher in {config.model} has no head in common with the catalogue.",
            hint="Heads are matched by the names of category and attribute, and values by theirs.",
        )
    reporter.say(f"The teacher knows {translation.num_heads} of {catalogue.taxonomy.num_heads} heads.")
    for start, part in missing.items():
        predictions = predict(
            teacher, catalogue.products(part), reporter=reporter, description="Teaching"
        )
        with writing(_part_file(folder, start)) as draft, draft.open("wb") as file:
            np.save(file, translation(predictions, catalogue.labels[part]))


def _part_file(folder: Path, start: int) -> Path:
    return folder / f"{start:08}.npy"
